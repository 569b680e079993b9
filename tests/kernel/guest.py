# SPDX-License-Identifier: Apache-2.0
"""A real Linux kernel in a process (machine.py), as a context manager.

    with Guest(self.tmp, UserMode()) as guest:
        guest.run('uname -r')

/tmp and /run are its own and empty, /mnt is for mounting. It runs in network and PID namespaces of
its own that end with it, whatever ends the test: a tap device joins it (GUEST) to its network
namespace (HOST), where enter() puts a server.
"""
import base64
import ctypes
import os
import queue
import select
import signal
import subprocess
import threading
import time

HOST, GUEST = '192.0.2.1', '192.0.2.2'
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

# The namespace's side. The machine is its first process, so its children cannot outlive it.
START = f'''
set -e
ip link set lo up
ip tuntap add tap0 mode tap $1
ip addr add {HOST}/30 dev tap0
ip link set tap0 up
shift
exec "$@"
'''

# The guest's first process: what a distribution's init would set up, then one command a line. The
# answer is one line too: a marker, the number, the exit status, the output.
INIT = '''#!/usr/bin/bash
# SPDX-License-Identifier: Apache-2.0
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8
{begin}
ip link set lo up; ip addr add {address}/30 dev {interface}; ip link set {interface} up
stty raw -echo
echo "@guest@ 0 0 "
while read -r number command; do
  base64 -d <<<"$command" >/tmp/command
  bash /tmp/command >/tmp/output.$number 2>&1 </dev/null
  echo "@guest@ $number $? $(base64 -w0 /tmp/output.$number)"
done
'''


class Failed(AssertionError):
    """A command in the guest exits otherwise than it should."""


class Guest:
    def __init__(self, folder, machine, boot_seconds=60):
        self.machine = machine
        self.number = 0
        self.silent = False
        self.log = []
        self.lines = queue.Queue()
        with open(os.path.join(folder, 'init'), 'w', encoding='utf-8') as f:
            f.write(INIT.format(begin=machine.begin(), address=GUEST,
                                interface=machine.INTERFACE))
        os.chmod(f.name, 0o755)
        self.process = subprocess.Popen(
            ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc',
             'sh', '-c', START, 'sh', machine.TAP, *machine.start(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self._answer(boot_seconds)

    def _read(self):
        for line in self.process.stdout:
            text = line.decode(errors='replace').strip()
            marker, _, answer = text.rpartition('@guest@ ')
            if marker or '@guest@' not in text:
                self.log.append(marker or text)
            if answer and '@guest@' in text:
                self.lines.put(answer)
        self.lines.put(None)

    def _answer(self, seconds):
        try:
            line = None if self.silent else self.lines.get(timeout=seconds)
        except queue.Empty:
            self.silent = True  # for good: whoever asks it again need not wait
            raise AssertionError(f'the guest is silent for {seconds} s\n{self.tail()}') from None
        if line is None:
            raise AssertionError(f'the guest has ended, or hangs\n{self.tail()}')
        number, status, *output = line.split(' ', 2)
        assert int(number) == self.number, f'answer {number} to command {self.number}'
        return int(status), base64.b64decode(''.join(output)).decode(errors='replace')

    def tail(self):
        return '\n'.join(self.log[-20:])

    def enter(self):
        """For preexec_fn: makes the calling process live in the guest's network namespace."""
        with open(f'/proc/{self.process.pid}/ns/net', 'rb') as namespace:
            if LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), 'setns')

    def start(self, script):
        """Sends the guest a script and does not wait; finish() does."""
        self.number += 1
        command = base64.b64encode(script.encode()).decode()
        self.process.stdin.write(f'{self.number} {command}\n'.encode())
        self.process.stdin.flush()

    def finish(self, seconds=60):
        """(exit status, output) of the script that was started."""
        return self._answer(seconds)

    def attempt(self, script, seconds=60):
        """Runs a bash script; (exit status, stdout and stderr)."""
        self.start(script)
        return self.finish(seconds)

    def run(self, script, seconds=60):
        """Runs a bash script that must succeed, each of its commands; what it prints."""
        status, output = self.attempt(f'set -eo pipefail\n{script}', seconds)
        if status != 0:
            raise Failed(f'in the guest, exit {status}:\n{script}\n{output[-3000:]}\n'
                         f'{self.kernel_log()[-2000:]}')
        return output.strip()

    def kernel_log(self):
        return self.attempt('dmesg | tail -n 60')[1]

    def load_nbd(self):
        """The driver; devices may have 8 partitions each."""
        self.run(f'insmod {self.machine.nbd_module()} max_part=8 nbds_max=4')

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed and self.process.poll() is None and self.lines.empty():
            print(f'--- the end of the guest\'s kernel log\n{self._try_log()}---')
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.reader.join(10)
        self.process.stdout.close()

    def _try_log(self):
        try:
            return self.kernel_log()
        except AssertionError as error:
            return str(error)
