# SPDX-License-Identifier: Apache-2.0
"""The real sluiced as a context manager.

    with Server('serve', 'memory:64MiB') as server:
        run('nbdinfo', server.uri())

Leaving the block drains it by SIGTERM and fails unless it exits 0; a sanitizer's report or a failed
check in its log fails the test wherever it was stopped.
"""
import os
import re
import select
import signal
import subprocess
import tempfile
import time

BUILT = os.path.join(os.path.dirname(__file__), '../../build/release/bin')
BINARY = os.path.join(os.environ.get('SLUICE_BIN') or BUILT, 'sluiced')
REPORTS = re.compile(r'AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer|CHECK failed')


class Server:
    """One process. Without an address it serves NBD on a free loopback port. `through` is a command
    that starts it, and gives it its sockets."""

    def __init__(self, *arguments, config=None, start_seconds=20, through=(), **popen):
        self.arguments = list(arguments)
        if config is not None:
            self._config = tempfile.NamedTemporaryFile('w', suffix='.textproto')
            self._config.write(config)
            self._config.flush()
            self.arguments = ['--config', self._config.name] + self.arguments
        elif '--nbd' not in arguments and arguments[0] == 'serve' and not through:
            self.arguments += ['--nbd', '127.0.0.1:0']
        self.log = tempfile.TemporaryFile('w+')
        self.ready = ''
        self.addresses = []
        self.process = subprocess.Popen([*through, BINARY, *self.arguments], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True, **popen)
        self._await_ready(start_seconds)

    def _await_ready(self, seconds):
        deadline = time.monotonic() + seconds
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if readable else ''
        if not line.startswith('ready '):
            self.process.kill()
            self.process.wait()
            raise AssertionError(f'sluiced {" ".join(self.arguments)} is not ready after '
                                 f'{seconds + time.monotonic() - deadline:.1f} s: '
                                 f'{line!r}\n{self.text()}')
        self.ready = line
        self.addresses = re.findall(r'\bnbd=(\S+)', line)

    @property
    def address(self):
        """(host, port) or a unix socket's path."""
        first = self.addresses[0]
        if first.startswith('unix:'):
            return first[len('unix:'):]
        host, port = first.rsplit(':', 1)
        return host.strip('[]'), int(port)

    def uri(self, export=''):
        if isinstance(self.address, str):
            return f'nbd+unix:///{export}?socket={self.address}'
        return f'nbd://{self.address[0]}:{self.address[1]}/{export}'

    def text(self):
        """What it has logged so far."""
        self.log.seek(0)
        return self.log.read()

    def status_mib(self, key):
        """A size of its process, as proc(5) names it in /proc/PID/status."""
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
            return int(re.search(rf'^{key}:\s+(\d+) kB', f.read(), re.M).group(1)) / 1024

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=60):
        """Waits for the process to end; its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f'sluiced did not end in {seconds} s\n{self.tail()}') from None
        report = REPORTS.search(self.text())
        if report:
            raise AssertionError(f'sluiced reports {report.group(0)}\n{self.tail(8000)}')
        return status

    def tail(self, size=3000):
        return self.text()[-size:]

    def kill(self):
        """As the power switch of the process: kill -9."""
        self.process.kill()
        return self.wait()

    def stop(self):
        """Drains it and returns the exit status."""
        if self.alive():
            self.process.terminate()
        return self.wait()

    def stats(self):
        """The newest counters of each disk: {disk: {counter: value}}. A live server is asked."""
        seen = self.text().count('stats ')
        if self.alive():
            self.signal(signal.SIGUSR1)
            deadline = time.monotonic() + 10
            while self.text().count('stats ') == seen and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.05)
        disks = {}
        for line in re.findall(r'\bstats (.*)', self.text()):
            pairs = dict(re.findall(r'(\w+)=(\S+)', line))
            disks[pairs.pop('disk')] = {k: int(v) for k, v in pairs.items() if v.isdigit()}
        return disks

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if not self.alive():
            if not failed:
                self.wait()
            return
        if failed:
            self.process.kill()
            self.process.wait()
            print(f'--- the end of the log of sluiced {" ".join(self.arguments)}\n{self.tail()}---')
            return
        status = self.stop()
        if status != 0:
            raise AssertionError(f'sluiced exits {status}\n{self.tail()}')


def refuses(*arguments, seconds=20, through=(), **popen):
    """Starts sluiced where it must refuse: (exit status, stderr)."""
    done = subprocess.run([*through, BINARY, *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=seconds, check=False, **popen)
    return done.returncode, done.stderr
