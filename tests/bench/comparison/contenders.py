# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared: how each is started, and which cache it goes through.

    with contenders.start('qemu-nbd', site, 'disk', 'unix') as server:
        print(server.uri, server.pid)

`site` (a Site) knows the binaries, the files and the scratch folder. A server that cannot start
raises Unable with the reason.
"""
import collections
import contextlib
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../e2e'))
from server import Server  # noqa: E402

START_SECONDS = 10
NULL_BYTES = 4 << 30
MEMORY_BYTES = 64 << 20  # small: the warm-up touches every page
EXPORT = 'x'

# kind: sluice, peer or limit. cache: 'direct' (O_DIRECT), 'page' (the page cache), '' (no matter).
Contender = collections.namedtuple('Contender', 'name kind cache')
ALL = {c.name: c for c in (
    Contender('sluice', 'sluice', 'direct'),
    Contender('sluice-buffered', 'sluice', 'page'),
    Contender('sluice-asleep', 'sluice', 'direct'),
    Contender('sluice-ungathered', 'sluice', 'direct'),
    Contender('sluice-4x8', 'sluice', 'direct'),
    Contender('nbdkit', 'peer', 'page'),
    Contender('nbdkit-cached', 'peer', 'page'),
    Contender('qemu-nbd', 'peer', 'direct'),
    Contender('qemu-sd', 'peer', 'direct'),
    Contender('nbd-server', 'peer', 'page'),
    Contender('limit-dev', 'limit', ''),
    Contender('limit-wire', 'limit', ''),
    Contender('limit-wire-4x8', 'limit', ''),
    Contender('limit-ping', 'limit', ''),
)}
PEERS = tuple(c.name for c in ALL.values() if c.kind == 'peer')
DIRECT_PEERS = tuple(c.name for c in ALL.values() if c.kind == 'peer' and c.cache == 'direct')
PAGE_PEERS = tuple(c.name for c in ALL.values() if c.kind == 'peer' and c.cache == 'page')

# Where things are: bin, the build's folder of programs; scratch, a folder for sockets and logs;
# files, {'tmpfs': path, 'disk': path}.
Site = collections.namedtuple('Site', 'bin scratch files')
Running = collections.namedtuple('Running', 'uri pid stats address')


class Unable(Exception):
    """Why a contender could not take part."""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Door:
    """Where a server shall listen: a fresh unix socket or a free loopback port."""

    serial = 0

    def __init__(self, site, transport):
        Door.serial += 1
        self.unix = transport == 'unix'
        self.path = os.path.join(site.scratch, f's{Door.serial}')
        self.port = None if self.unix else free_port()

    def address(self):
        return self.path if self.unix else ('127.0.0.1', self.port)

    def uri(self):
        if self.unix:
            return f'nbd+unix:///{EXPORT}?socket={self.path}'
        return f'nbd://127.0.0.1:{self.port}/{EXPORT}'

    def pick(self, unix, tcp):
        return [a.format(path=self.path, port=self.port) for a in (unix if self.unix else tcp)]

    def answers(self):
        with socket.socket(socket.AF_UNIX if self.unix else socket.AF_INET) as s:
            s.settimeout(1)
            return s.connect_ex(self.address()) == 0


def nbdkit(_, door, path, cached=False):
    where = door.pick(['-U', '{path}'], ['-i', '127.0.0.1', '-p', '{port}'])
    backing = ['file', path] if path else ['null', str(NULL_BYTES)]
    return ['nbdkit', '-f', *where, *backing, *([] if cached or not path else ['cache=none'])]


def nbdkit_cached(_, door, path):
    return nbdkit(_, door, path, cached=True)


def qemu_nbd(_, door, path):
    where = door.pick(['-k', '{path}'], ['-b', '127.0.0.1', '-p', '{port}'])
    backing = ['-f', 'raw', '--cache=none', '--aio=io_uring', path] if path else [
        '--image-opts', f'driver=null-co,size={NULL_BYTES},read-zeroes=on']
    return ['qemu-nbd', '-t', '-e', '0', '-x', EXPORT, *where, *backing]


def qemu_sd(_, door, path):
    where = door.pick(['addr.type=unix,addr.path={path}'],
                      ['addr.type=inet,addr.host=127.0.0.1,addr.port={port}'])[0]
    file = f'driver=file,node-name=f,filename={path},cache.direct=on,aio=io_uring'
    null = f'driver=null-co,node-name=d,size={NULL_BYTES},read-zeroes=on'
    backing = ['--blockdev', null] if path is None else [
        '--blockdev', file, '--blockdev', 'driver=raw,node-name=d,file=f']
    return ['qemu-storage-daemon', *backing, '--nbd-server', f'{where},max-connections=0',
            '--export', f'type=nbd,id=e,node-name=d,name={EXPORT},writable=on']


def nbd_server(_, door, path):
    """It has no foreground mode: its process is found by its pid file."""
    where = door.pick(['unixsock = {path}'], ['listenaddr = 127.0.0.1', 'port = {port}'])
    with open(door.path + '.conf', 'w', encoding='utf-8') as f:
        f.write('\n'.join(['[generic]', *where, f'[{EXPORT}]', f'exportname = {path}',
                           'flush = true', 'fua = true', '']))
    return ['nbd-server', '-C', door.path + '.conf', '-p', door.path + '.pid']


def limit_wire(site, door, _, poll_us=0):
    return [os.path.join(site.bin, 'limit_wire'), '--size', str(NULL_BYTES), '--poll', str(poll_us),
            *door.pick(['unix:{path}'], ['127.0.0.1:{port}'])]


COMMANDS = {'nbdkit': nbdkit, 'nbdkit-cached': nbdkit_cached, 'qemu-nbd': qemu_nbd,
            'qemu-sd': qemu_sd, 'nbd-server': nbd_server,
            'limit-wire': limit_wire, 'limit-wire-4x8': limit_wire}


def sluice_config(name, door, backing, path):
    listen = f'unix:{door.path}' if door.unix else f'127.0.0.1:{door.port}'
    disk = {'null': f'null_bytes: {NULL_BYTES}', 'memory': f'memory_bytes: {MEMORY_BYTES}'}.get(
        backing, f'path: "{path}"')
    if name == 'sluice-buffered':
        disk += ' buffered: true'
    if name == 'sluice-ungathered':
        disk += ' gather: false'
    poll = 'poll_us: 0\n' if name == 'sluice-asleep' else ''
    return (f'nbd {{ listen: "{listen}" }}\ndisk {{ name: "d" {disk} }}\n'
            f'export {{ name: "{EXPORT}" volume: "d" }}\n{poll}')


@contextlib.contextmanager
def start_sluice(name, site, door, backing, path, **popen):
    os.environ['SLUICE_BIN'] = site.bin
    try:
        server = Server(config=sluice_config(name, door, backing, path), **popen)
    except (AssertionError, OSError) as e:
        raise Unable(str(e)) from None
    with server:
        yield Running(door.uri(), server.process.pid, server.stats, door.address())


def daemon_pid(door):
    """Of a server that went to the background: this process, a subreaper, is its parent then."""
    with contextlib.suppress(FileNotFoundError), open(door.path + '.pid', encoding='utf-8') as f:
        return int(f.read())
    return None


def await_door(door, process, log):
    deadline = time.monotonic() + START_SECONDS
    while not door.answers():
        daemon = process.args[0] == 'nbd-server'
        if process.poll() is not None and (process.returncode or not daemon):
            log.seek(0)
            raise Unable(f'exit {process.returncode}: {log.read().strip()[-300:]}')
        if time.monotonic() > deadline:
            raise Unable(f'does not answer in {START_SECONDS} s')
        time.sleep(0.01)


def end(pid, process=None):
    """Ends one process that this one started, and waits for it."""
    for number in (15, 9):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, number)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                gone = process.poll() is not None if process else os.waitpid(pid, os.WNOHANG)[0]
                if gone:
                    return
                time.sleep(0.005)


@contextlib.contextmanager
def start_command(command, door, **popen):
    with open(door.path + '.log', 'w+', encoding='utf-8') as log:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       **popen)
        except OSError as e:
            raise Unable(str(e)) from None
        try:
            await_door(door, process, log)
            yield Running(door.uri(), daemon_pid(door) or process.pid, None, door.address())
        finally:
            end(process.pid, process)
            if daemon_pid(door):
                end(daemon_pid(door))


@contextlib.contextmanager
def start(name, site, backing, transport, cpu=None, poll_us=0):
    """A running server over `backing` ('null', 'memory' (ours alone), 'tmpfs' or 'disk'), on one
    CPU if told so. `poll_us` is how long limit-wire polls; real servers have their own ways."""
    door = Door(site, transport)
    path = site.files.get(backing)
    popen = {'start_new_session': True}
    if cpu is not None:
        popen['preexec_fn'] = lambda: os.sched_setaffinity(0, {cpu})
    if ALL[name].kind == 'sluice':
        running = start_sluice(name, site, door, backing, path, **popen)
    else:
        more = {'poll_us': poll_us} if name == 'limit-wire' else {}
        running = start_command(COMMANDS[name](site, door, path, **more), door, **popen)
    with running as server:
        yield server
