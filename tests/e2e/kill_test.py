#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Death of the server under load: sudden (R1, R7), orderly (A4), and of a client (promise 6)."""
import random
import signal
import threading
import time

import wire
from disks import Nbdkit, fuse_file
from server import Server
from suite import Case, MIB, SHORT, main, sparse_file
from workload import BLOCK, Writer

ROUNDS = 2 if SHORT else 20
CONNECTIONS = 4
BLOCKS = 256  # of each connection


class Loaded(Case):
    def start_writers(self, address, former=()):
        """New writers, or the successors of former ones on the blocks as those left them."""
        writers = ([w.successor(address) for w in former]
                   or [Writer(address, i * BLOCKS, BLOCKS, seed=i) for i in range(CONNECTIONS)])
        for writer in writers:
            writer.start()
        return writers

    def check_writers(self, address, writers):
        with wire.connect(address) as connection:
            for writer in writers:
                self.assertEqual(writer.check(connection), [])


class Kill(Loaded):
    def kill_rounds(self, serve):
        answered = 0
        writers = []
        for _ in range(ROUNDS):
            server = serve()
            writers = self.start_writers(server.address, writers)
            time.sleep(random.uniform(0.05, 0.8))
            server.kill()
            for writer in writers:
                writer.join(30)
                answered += writer.answered
            began = time.monotonic()
            with serve() as again:
                self.assertLess(time.monotonic() - began, 10 if SHORT else 2, 'A5: restart')
                self.check_writers(again.address, writers)
        self.assertGreater(answered, ROUNDS * 50, 'the load was no load')

    def test_R1_R7_every_answered_write_is_there_after_kill_9(self):
        image = sparse_file(self.path('disk.img'), 16 * MIB)
        self.kill_rounds(lambda: Server('serve', image))

    def test_R1_R7_also_on_the_page_cache(self):
        image = sparse_file(self.path('disk.img'), 16 * MIB)
        self.kill_rounds(lambda: Server('serve', '--buffered', '--bufq', 'deadline', image))

    def test_R1_R7_also_on_a_stripe(self):
        legs = [sparse_file(self.path(f'd{i}'), 16 * MIB) for i in range(3)]
        config = 'nbd { listen: "127.0.0.1:0" }\n'
        for i, leg in enumerate(legs):
            config += f'disk {{ name: "d{i}" path: "{leg}" }}\n'
        config += '''
            volume { name: "v" stripe { chunk_bytes: 65536 leg: "d0" leg: "d1" leg: "d2" } }
            export { name: "v" volume: "v" }
            '''
        self.kill_rounds(lambda: Server(config=config))

    def test_A5_the_same_port_is_served_again_at_once(self):
        image = sparse_file(self.path('disk.img'), 16 * MIB)
        server = Server('serve', image)
        for _ in range(ROUNDS):
            writers = self.start_writers(server.address)
            time.sleep(0.1)
            server.kill()
            server = Server('serve', '--nbd', server.addresses[0], image)
            for writer in writers:
                writer.join(30)
        self.assertEqual(server.stop(), 0)

    def test_A5_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(self):
        address = f'unix:{self.path("nbd.sock")}'
        serve = ('serve', '--nbd', address)
        for _ in range(ROUNDS):
            Server(*serve, 'memory:1MiB').kill()
        with Server(*serve, 'memory:1MiB'):
            with self.assertRaisesRegex(AssertionError, 'is not ready'):
                Server(*serve, 'memory:1MiB')
            with wire.connect(self.path('nbd.sock')) as c:
                self.assertEqual(c.read(0, 512), bytes(512))


class Terminate(Loaded):
    def test_A4_sigterm_under_load_loses_nothing_and_resets_nobody(self):
        image = sparse_file(self.path('disk.img'), 16 * MIB)
        writers = []
        for _ in range(1 if SHORT else 5):
            server = Server('serve', image)
            writers = self.start_writers(server.address, writers)
            time.sleep(0.5)
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(), 0, server.tail())
            for writer in writers:
                writer.join(30)
                self.assertIsNone(writer.lost)
                self.assertTrue(writer.ended_in_order)
                self.assertLessEqual(set(writer.refused), {wire.ESHUTDOWN})
                self.assertGreater(writer.answered, 0)
            with Server('serve', image) as again:
                self.check_writers(again.address, writers)

    def test_A4_a_sigterm_at_any_moment_of_a_handshake_ends_in_order(self):
        for turn in range(10 if SHORT else 100):
            with Server('serve', 'memory:1MiB') as server:
                with wire.connect(server.address), wire.Wire(server.address) as halfway:
                    halfway.send_option(wire.OPT_GO, wire.Wire.info_data())
                    time.sleep(turn * 20e-6)

    def test_A4_an_idle_server_leaves_at_once_with_connections_open(self):
        server = Server('serve', 'memory:1MiB')
        idle = [self.enterContext(wire.connect(server.address)) for _ in range(5)]
        self.enterContext(wire.Wire(server.address))
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, 5)
        for connection in idle:
            self.assertTrue(connection.at_end())


class Stalled(Case):
    """Below the server a drive that answers when the test lets it."""

    SIZE = 4 * MIB

    def setUp(self):
        super().setUp()
        self.need_root()
        self.image = sparse_file(self.path('backing.img'), self.SIZE)
        self.nbdkit = self.enterContext(Nbdkit(self.tmp, 'file', self.image))
        self.file = self.enterContext(fuse_file(self.tmp, self.nbdkit))

    def serve(self, *options):
        """A server whose drive is resumed however the test ends, so that it can end too."""
        server = self.enterContext(Server('serve', *options, self.file))
        self.enterContext(Resumed(self.nbdkit))
        return server

    def stalled_write(self, server, data, offset=0):
        """A connection with one write in flight on the stalled drive."""
        connection = self.enterContext(wire.connect(server.address))
        self.nbdkit.stall()
        connection.request(wire.WRITE, 1, offset, len(data), payload=data)
        time.sleep(0.3)
        return connection

    def test_A4_drain_answers_what_is_in_flight_and_refuses_what_is_new(self):
        server = self.serve()
        handshaking = self.enterContext(wire.Wire(server.address))
        idle = self.enterContext(wire.connect(server.address))
        busy = self.stalled_write(server, b'\x11' * 4096)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        busy.request(wire.WRITE, 2, 8192, 4096, payload=b'\x22' * 4096)
        self.assertEqual(busy.simple(), (2, wire.ESHUTDOWN))
        self.assertTrue(idle.at_end(), 'nothing is in flight there: an orderly end at once')
        self.assertEqual(handshaking.option(wire.OPT_GO, wire.Wire.info_data())[-1][0],
                         wire.ERR_SHUTDOWN)
        self.nbdkit.resume()
        self.assertEqual(busy.simple(), (1, 0))
        self.assertTrue(busy.at_end())
        self.assertEqual(server.wait(), 0)
        with open(self.image, 'rb') as f:
            self.assertEqual(f.read(4096), b'\x11' * 4096)
            f.seek(8192)
            self.assertEqual(f.read(4096), bytes(4096))

    def test_A4_a_second_signal_ends_the_drain_with_exit_1(self):
        server = self.serve()
        self.stalled_write(server, bytes(4096))
        server.signal(signal.SIGTERM)
        time.sleep(0.5)
        self.assertTrue(server.alive())
        server.signal(signal.SIGTERM)
        time.sleep(0.5)
        self.nbdkit.resume()  # a process leaves only when the kernel has let go of its I/O
        self.assertEqual(server.wait(), 1)

    def test_A4_a_drain_longer_than_its_timeout_ends_with_exit_1(self):
        server = self.serve('--drain-timeout', '1')
        self.stalled_write(server, bytes(4096))
        server.signal(signal.SIGTERM)
        time.sleep(2)
        self.nbdkit.resume()
        self.assertEqual(server.wait(), 1)

    def test_no_late_ghosts_of_a_dead_connection_full_of_unread_writes(self):
        """Promise 6: what the successor wrote stays, although its predecessor had megabytes of
        writes queued in the server, in the kernel's socket buffer and half sent when it died."""
        server = self.serve('--nbd', '127.0.0.1:0')
        old = self.stalled_write(server, b'\xaa' * BLOCK)
        old.socket.settimeout(0.5)
        blocks = self.SIZE // BLOCK
        try:
            for i in range(20 * blocks):
                old.request(wire.WRITE, 2 + i, i % blocks * BLOCK, BLOCK, payload=b'\xaa' * BLOCK)
        except TimeoutError:
            pass
        else:
            self.fail('the stalled server reads without bound')
        old.close()
        admitted = []
        successor = threading.Thread(
            target=lambda: admitted.append(wire.connect(server.address, timeout=60)), daemon=True)
        successor.start()
        time.sleep(1)
        self.nbdkit.resume()
        successor.join(60)
        new = self.enterContext(admitted[0])
        for i in range(0, blocks, 64):
            self.assertEqual(new.write(i * BLOCK, b'\xbb' * BLOCK * 64), 0)
        for _ in range(3):
            time.sleep(0.5)
            self.assertTrue(new.read(0, self.SIZE) == b'\xbb' * self.SIZE, 'a ghost wrote')

    def test_a_hung_drive_fails_its_requests_and_other_exports_live_on(self):
        config = f'''
            nbd {{ listen: "127.0.0.1:0" }}
            disk {{ name: "hung" path: "{self.file}" io_timeout_s: 1 }}
            disk {{ name: "ram" memory_bytes: {MIB} }}
            export {{ name: "hung" volume: "hung" }}
            export {{ name: "ram" volume: "ram" }}
            '''
        server = self.enterContext(Server(config=config))
        self.enterContext(Resumed(self.nbdkit))
        hung = self.enterContext(wire.connect(server.address, 'hung'))
        ram = self.enterContext(wire.connect(server.address, 'ram'))
        self.nbdkit.stall()
        hung.request(wire.READ, 1, 0, 4096)
        self.assertEqual(ram.read(0, 4096), bytes(4096))
        began = time.monotonic()
        self.assertEqual(hung.simple(), (1, wire.EIO))
        self.assertLess(time.monotonic() - began, 8)
        self.assertEqual(ram.read(0, 4096), bytes(4096))


class Resumed:
    def __init__(self, nbdkit):
        self.nbdkit = nbdkit

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.nbdkit.resume()


if __name__ == '__main__':
    main()
