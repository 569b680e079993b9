#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The service manager's side: sockets that it made before us, and the sign of life it waits for."""
import ctypes
import os
import shutil
import socket
import threading
import urllib.request

import rpc
from server import Server, refuses
from suite import Case, MIB, eventually, main, pattern, run, sparse_file
from wire import connect

# As a service manager does it: descriptors from 3 on, and LISTEN_PID, which is the server's own.
HAND_OVER = 'export LISTEN_PID=$$; exec "$0" "$@"'


def listening(family, address):
    s = socket.socket(family)
    s.bind(address)
    s.listen(16)
    return s


def free_port():
    with listening(socket.AF_INET, ('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


class Manager:
    """Holds sockets open, {name: socket}, and starts servers that inherit them."""

    def __init__(self, sockets):
        self.sockets = sockets

    def options(self):
        """What subprocess.Popen needs to start `sh -c HAND_OVER sluiced ...`."""
        def place():
            spare = [os.dup(s.fileno()) for s in self.sockets.values()]
            for i, fd in enumerate(spare):
                os.dup2(fd, 3 + i)
        return {'preexec_fn': place, 'close_fds': False,
                'env': {**os.environ, 'LISTEN_FDS': str(len(self.sockets)),
                        'LISTEN_FDNAMES': ':'.join(self.sockets)}}

    def start(self, *arguments):
        return Server(*arguments, through=('sh', '-c', HAND_OVER), **self.options())

    def refuses(self, *arguments):
        return refuses(*arguments, through=('sh', '-c', HAND_OVER), **self.options())


class Activation(Case):
    def unix(self, name):
        s = listening(socket.AF_UNIX, self.path(name))
        self.addCleanup(s.close)
        return s

    def test_the_first_connection_starts_it(self):
        port = free_port()
        seen = {}

        def first_client():
            client = eventually(lambda: self.try_connect(port), what='a socket that listens')
            with client:
                seen['size'] = client.size
        thread = threading.Thread(target=first_client)
        thread.start()
        activate = shutil.which('systemd-socket-activate')
        with Server('serve', 'memory:4MiB', through=(
                activate, '-l', f'127.0.0.1:{port}', '--fdname=nbd'), start_seconds=60) as server:
            thread.join()
            self.assertEqual(server.ready, f'ready nbd=127.0.0.1:{port}\n')
            self.assertEqual(seen['size'], 4 * MIB)

    @staticmethod
    def try_connect(port):
        try:
            return connect(('127.0.0.1', port))
        except ConnectionRefusedError:
            return None

    def test_a_restart_is_seen_as_a_pause_and_not_as_a_refusal(self):
        image = sparse_file(self.path('disk.img'), 8 * MIB)
        manager = Manager({'nbd': self.unix('nbd.sock')})
        data = pattern(0, MIB)
        with manager.start('serve', image) as server:
            with connect(server.address) as c:
                self.assertEqual(c.write(0, data), 0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect(self.path('nbd.sock'))  # nobody serves: the manager's backlog holds it
        waiting.settimeout(20)
        with manager.start('serve', image) as server:
            self.assertEqual(waiting.recv(8), b'NBDMAGIC')
            with connect(server.address) as c:
                self.assertEqual(c.read(0, MIB), data)

    def test_each_door_takes_its_sockets_and_leaves_their_files(self):
        watched = listening(socket.AF_INET, ('127.0.0.1', 0))
        self.addCleanup(watched.close)
        manager = Manager({'grpc': self.unix('grpc.sock'), 'nbd': self.unix('nbd.sock'),
                           'http': watched})
        with manager.start('serve', '--state-dir', self.path('state'), 'memory:1MiB') as server:
            self.assertEqual(server.ready, f'ready nbd=unix:{self.path("nbd.sock")} '
                                           f'grpc=unix:{self.path("grpc.sock")} '
                                           f'http=127.0.0.1:{watched.getsockname()[1]}\n')
            with urllib.request.urlopen('http://{}:{}/readyz'.format(*watched.getsockname()),
                                        timeout=20) as answer:
                self.assertEqual(answer.status, 200)
            run('nbdinfo', server.uri())
            with rpc.Channel(server) as channel:
                channel.open('disk').close()
            self.assertEqual(server.stop(), 0)
        for name in ('nbd.sock', 'grpc.sock'):
            self.assertTrue(os.path.exists(self.path(name)), name)

    def test_a_killed_server_leaves_the_sockets_to_its_successor(self):
        manager = Manager({'nbd': self.unix('nbd.sock')})
        with manager.start('serve', 'memory:1MiB') as server:
            server.kill()
        with manager.start('serve', 'memory:1MiB') as server, connect(server.address) as c:
            self.assertEqual(c.size, MIB)

    def test_a_socket_of_no_door_or_beyond_what_is_allowed_is_refused(self):
        anywhere = listening(socket.AF_INET, ('0.0.0.0', 0))
        self.addCleanup(anywhere.close)
        for sockets, cure in (({'x.socket': self.unix('a.sock')}, 'FileDescriptorName=nbd'),
                              ({'nbd': anywhere}, 'insecure_tcp')):
            status, error = Manager(sockets).refuses('serve', 'memory:1MiB')
            self.assertEqual(status, 1, error)
            self.assertIn(cure, error)
            self.assertEqual(error.count('\n'), 1, error)

    def test_sockets_meant_for_another_process_are_left_alone(self):
        environment = {**os.environ, 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'nbd',
                       'LISTEN_PID': str(os.getpid())}
        with Server('serve', 'memory:1MiB', env=environment) as server:
            self.assertRegex(server.ready, r'nbd=127\.0\.0\.1:\d+')


class Told(Case):
    def test_the_service_manager_hears_ready_and_stopping(self):
        for path in (self.path('notify'), f'\0sluice-notify-{os.getpid()}'):
            with self.subTest(path), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(path)
                manager.settimeout(10)
                environment = {**os.environ, 'NOTIFY_SOCKET': path.replace('\0', '@')}
                with Server('serve', 'memory:1MiB', env=environment) as server:
                    self.assertEqual(manager.recv(200).decode(),
                                     f'READY=1\nSTATUS={server.ready.strip()}')
                    manager.setblocking(False)
                    self.assertRaises(BlockingIOError, manager.recv, 200)
                    manager.settimeout(10)
                    self.assertEqual(server.stop(), 0)
                    self.assertEqual(manager.recv(200), b'STOPPING=1\nSTATUS=draining')


class StoppedThread:
    """The newest thread of a process (a reactor's, once it serves), held by ptrace(2) alone."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, process):
        self.tid = max(int(tid) for tid in os.listdir(f'/proc/{process.pid}/task'))
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ask(self, request):
        if self.ptrace(request, self.tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f'ptrace {request:#x}')

    def __enter__(self):
        self.ask(self.SEIZE)
        self.ask(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_):
        self.ask(self.DETACH)


class SignsOfLife(Case):
    def setUp(self):
        super().setUp()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(self.path('notify'))
        self.manager.settimeout(20)

    def start(self, **variables):
        return Server('serve', '--reactors', '2', 'memory:1MiB', env={
            **os.environ, 'NOTIFY_SOCKET': self.path('notify'), **variables})

    def heard(self):
        return self.manager.recv(500).decode()

    def test_a_watched_server_gives_signs_of_life_until_it_stops(self):
        with self.start(WATCHDOG_USEC='400000'):
            self.assertTrue(self.heard().startswith('READY=1\n'))
            for _ in range(3):
                self.assertEqual(self.heard(), 'WATCHDOG=1')

    def test_one_reactor_that_is_stuck_ends_the_signs_of_life(self):
        with self.start(WATCHDOG_USEC='400000') as server:
            eventually(lambda: self.heard() == 'WATCHDOG=1')
            with StoppedThread(server.process):
                self.manager.settimeout(2)
                with self.assertRaises(TimeoutError):
                    for _ in range(4):  # first comes what was on its way
                        self.heard()
            self.manager.settimeout(20)
            self.assertEqual(self.heard(), 'WATCHDOG=1')

    def test_nobody_who_watches_nothing_said(self):
        with self.start():
            self.assertTrue(self.heard().startswith('READY=1\n'))
            self.manager.settimeout(1)
            self.assertRaises(TimeoutError, self.heard)


if __name__ == '__main__':
    main()
