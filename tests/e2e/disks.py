# SPDX-License-Identifier: Apache-2.0
"""Things a server can be given as a disk. Each is a context manager that cleans up after itself."""
import contextlib
import os
import re
import signal
import subprocess
import time

from suite import eventually, run


@contextlib.contextmanager
def loop_device(path, block_size=512, direct=True):
    """A loop device over a file of ours."""
    device = run('losetup', '-f', '--show', f'--direct-io={"on" if direct else "off"}', '-b',
                 str(block_size), path).strip()
    try:
        yield device
    finally:
        eventually(lambda: subprocess.run(['losetup', '-d', device], check=False,
                                          stderr=subprocess.DEVNULL).returncode == 0,
                   what=f'losetup -d {device}')


@contextlib.contextmanager
def mounted(device, folder, *options):
    os.makedirs(folder, exist_ok=True)
    run('mount', *options, device, folder)
    try:
        yield folder
    finally:
        run('umount', folder)


class Nbdkit:
    """A stock NBD server below ours: the source of faults and of an independent log."""

    def __init__(self, folder, *arguments):
        self.socket = os.path.join(folder, 'nbdkit.sock')
        self.process = subprocess.Popen(
            ['nbdkit', '-f', '--exit-with-parent', '-U', self.socket, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.mounts = []  # processes that serve files from it
        eventually(lambda: os.path.exists(self.socket), what='nbdkit')

    def stall(self, mounts=False):
        """Every request it has or gets stays unanswered until resume(); with `mounts`, so does
        whatever the file systems on it are asked."""
        for process in [self.process, *(self.mounts if mounts else ())]:
            process.send_signal(signal.SIGSTOP)
            eventually(lambda pid=process.pid: set(self._thread_states(pid)) == {'T'},
                       what='its stop')

    @staticmethod
    def _thread_states(pid):
        tasks = f'/proc/{pid}/task'
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/stat', encoding='ascii') as f:
                yield f.read().rsplit(') ', 1)[1][0]

    def resume(self):
        for process in (*self.mounts, self.process):
            process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.resume()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def fuse_file(folder, nbdkit):
    """A file in a FUSE mount whose every operation is a request to nbdkit."""
    mount = os.path.join(folder, 'fuse')
    os.makedirs(mount)
    process = subprocess.Popen(['nbdfuse', mount + '/disk', '--unix', nbdkit.socket],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    nbdkit.mounts.append(process)
    try:
        eventually(lambda: os.path.exists(mount + '/disk'), what='nbdfuse')
        yield mount + '/disk'
    finally:
        nbdkit.resume()
        gone = subprocess.run(['fusermount3', '-u', mount], stderr=subprocess.DEVNULL, check=False)
        if gone.returncode != 0:
            subprocess.run(['fusermount3', '-u', '-z', mount], check=False)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class NbdkitLog:
    """The log filter's file as events (time, connection, id, action, fields); an action's return is
    an event of its own, named '...Flush'."""

    LINE = re.compile(r'(\S+ \S+) connection=(\d+) (\.\.\.)?(\w+) id=(\d+)(.*)')

    def __init__(self, path):
        self.path = path

    def events(self):
        with open(self.path, encoding='utf-8') as f:
            for match in map(self.LINE.match, f):
                if match:
                    stamp, connection, ret, action, number, rest = match.groups()
                    yield stamp, int(connection), int(number), (ret or '') + action, rest

    def flushes(self):
        """How many flushes have come back with success."""
        return sum(1 for e in self.events() if e[3] == '...Flush' and 'return=0' in e[4])

    def last(self, action):
        """Index of the last event of that action; -1 when there is none."""
        return max((i for i, e in enumerate(self.events()) if e[3] == action), default=-1)


class DiskStats:
    """The kernel's own counts of a device (/proc/diskstats) since this object was made."""

    def __init__(self, device):
        self.name = os.path.basename(device)
        self.before = self._fields()

    def _fields(self):
        time.sleep(0.05)
        with open('/proc/diskstats', encoding='ascii') as f:
            for line in f:
                fields = line.split()
                if fields[2] == self.name:
                    return [int(x) for x in fields[3:]]
        raise AssertionError(f'{self.name} is not in /proc/diskstats')

    def writes(self):
        """Writes completed plus writes merged."""
        return self._more(4) + self._more(5)

    def flushes(self):
        return self._more(15)

    def _more(self, field):
        return self._fields()[field] - self.before[field]
