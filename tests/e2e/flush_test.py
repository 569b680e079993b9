#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Promise 2 and R2, R3, R6 against a drive that keeps its own log and fails on command."""
import os

import wire
from disks import DiskStats, Nbdkit, NbdkitLog, fuse_file, loop_device
from server import Server
from suite import Case, MIB, main, sparse_file
from wire import connect

SIZE = 16 * MIB
PAGE = b'\x5a' * 4096


class OnLoggedDrive(Case):
    """server -> FUSE file -> nbdkit, whose log says when a flush reached the drive."""

    OPTIONS = ()

    def setUp(self):
        super().setUp()
        self.need_root()
        sparse_file(self.path('backing.img'), SIZE)
        nbdkit = self.enterContext(Nbdkit(self.tmp, '--filter=log', 'file',
                                          self.path('backing.img'), f'logfile={self.path("log")}'))
        self.log = NbdkitLog(self.path('log'))
        self.disk = self.enterContext(self.drive(nbdkit))
        self.server = self.enterContext(Server('serve', *self.OPTIONS, self.disk))
        self.client = self.enterContext(connect(self.server.address))

    def drive(self, nbdkit):
        return fuse_file(self.tmp, nbdkit)

    def assert_flushed_by(self, action):
        """After the action is answered, the drive has all writes, then finished a flush."""
        before = self.log.flushes()
        self.assertEqual(action(), 0)
        self.assertGreater(self.log.flushes(), before)
        self.assertGreater(self.log.last('...Flush'), self.log.last('Write'))

    def test_R3_flush_is_answered_only_after_a_flush_reached_the_drive(self):
        for i in range(16):
            self.assertEqual(self.client.write(i * 65536, PAGE), 0)
            self.assert_flushed_by(lambda: self.client.call(wire.FLUSH))

    def test_R2_fua_is_answered_only_after_a_flush_reached_the_drive(self):
        for i in range(16):
            self.assert_flushed_by(lambda i=i: self.client.write(i * 65536, PAGE, wire.FUA))
        self.assert_flushed_by(lambda: self.client.write(512, b'\1' * 512, wire.FUA))

    def test_R2_fua_holds_for_zeroes(self):
        self.client.write(0, PAGE * 4)
        for flags in (wire.FUA, wire.FUA | wire.NO_HOLE):
            before = self.log.flushes()
            self.assertEqual(self.client.call(wire.ZEROES, 4096, 4096, flags), 0)
            self.assertGreater(self.log.flushes(), before)
        self.assertEqual(self.client.read(0, 16384), PAGE + bytes(4096) + PAGE * 2)

    def test_R3_a_flush_on_one_connection_covers_writes_answered_on_another(self):
        with connect(self.server.address) as other:
            self.assertEqual(other.write(0, PAGE), 0)
            self.assert_flushed_by(lambda: self.client.call(wire.FLUSH))

    def test_R3_pipelined_writes_and_flushes_are_answered_in_a_true_order(self):
        """Writes answered before a flush is sent are on the drive when that flush is answered."""
        for turn in range(8):
            for i in range(32):
                self.client.request(wire.WRITE, i, (turn * 32 + i) * 4096, 4096, payload=PAGE)
            for _ in range(32):
                self.assertEqual(self.client.simple().error, 0)
            self.assert_flushed_by(lambda: self.client.call(wire.FLUSH))


class OnLoggedDriveBuffered(OnLoggedDrive):
    OPTIONS = ('--buffered',)


class OnLoggedLoopDevice(OnLoggedDrive):
    """As above with a real block device between: its cache flush becomes an fsync of the file."""

    def drive(self, nbdkit):
        file = super().drive(nbdkit)
        return loop_over(self.enterContext(file))


def loop_over(file):
    return loop_device(file, block_size=4096, direct=False)


class OnTrimmableLoopDevice(Case):
    """A drive that trims; the kernel counts the flushes it has finished."""

    def test_R2_fua_holds_for_trim_and_zeroes(self):
        self.need_root()
        device = self.enterContext(loop_device(sparse_file(self.path('disk.img'), SIZE)))
        server = self.enterContext(Server('serve', device))
        client = self.enterContext(connect(server.address))
        self.assertTrue(client.transmission_flags & wire.FLAG_TRIM)
        for command in (wire.TRIM, wire.ZEROES):
            for offset, length in ((0, 65536), (MIB - 512, 1024)):
                with self.subTest(command=command, length=length):
                    self.assertEqual(client.write(offset, b'\x5a' * length), 0)
                    kernel = DiskStats(device)
                    self.assertEqual(client.call(command, offset, length), 0)
                    self.assertEqual(kernel.flushes(), 0)
                    self.assertEqual(client.call(command, offset, length, wire.FUA), 0)
                    self.assertGreater(kernel.flushes(), 0)


class FlushFails(Case):
    """A drive whose flush fails while a trigger file exists (nbdkit's eval plugin)."""

    def setUp(self):
        super().setUp()
        self.need_root()
        backing, self.trigger = sparse_file(self.path('backing.img'), SIZE), self.path('trigger')
        self.count = self.path('count')
        self.nbdkit = self.enterContext(Nbdkit(
            self.tmp, 'eval', f'get_size=echo {SIZE}',
            f'pread=dd if={backing} skip=$4 count=$3 iflag=skip_bytes,count_bytes status=none',
            f'pwrite=dd of={backing} seek=$4 oflag=seek_bytes conv=notrunc status=none',
            'can_write=exit 0', 'can_flush=exit 0', 'thread_model=echo serialize_all_requests',
            f'flush=echo >> {self.count}; '
            f'if [ -e {self.trigger} ]; then echo EIO no luck >&2; exit 1; fi'))

    def flushes(self):
        return os.path.getsize(self.count) if os.path.exists(self.count) else 0

    def break_flush(self):
        with open(self.trigger, 'w', encoding='ascii'):
            pass

    def mend_flush(self):
        os.unlink(self.trigger)

    def assert_sticky(self, server, *clients):
        """With the drive mended every flush and FUA still fails, for good and without asking the
        drive; reads go on; and the server's exit status tells that not all is stable."""
        self.assertFalse(os.path.exists(self.trigger))
        asked = self.flushes()
        for _ in range(3):
            for client in clients:
                self.assertEqual(client.call(wire.FLUSH), wire.EIO)
                self.assertEqual(client.write(4096, PAGE, wire.FUA), wire.EIO)
        self.assertEqual(self.flushes(), asked)
        for client in clients:
            client.read(0, 4096)
            client.close()
        self.assertEqual(server.stop(), 1)
        self.assertRegex(server.text(), '(?i)flush')

    def test_R6_one_failed_flush_fails_on_all_connections_and_keeps_failing(self):
        with Server('serve', self.enterContext(fuse_file(self.tmp, self.nbdkit))) as server:
            with connect(server.address) as a, connect(server.address) as b:
                self.assertEqual(a.write(0, PAGE), 0)
                self.assertEqual(a.call(wire.FLUSH), 0)
                self.break_flush()
                self.assertEqual(b.write(0, PAGE), 0)
                self.assertEqual(a.call(wire.FLUSH), wire.EIO)
                self.mend_flush()
                with connect(server.address) as late:
                    self.assert_sticky(server, b, a, late)

    def test_R6_a_failed_fua_flush_is_a_failed_flush(self):
        with Server('serve', self.enterContext(fuse_file(self.tmp, self.nbdkit))) as server:
            with connect(server.address) as a, connect(server.address) as b:
                self.break_flush()
                self.assertEqual(a.write(0, PAGE, wire.FUA), wire.EIO)
                self.mend_flush()
                self.assert_sticky(server, b, a)

    def test_R6_a_failed_buffered_fua_on_a_block_device_is_a_failed_flush(self):
        """On a page-cache disk a FUA write's error may be another write's, consumed."""
        file = self.enterContext(fuse_file(self.tmp, self.nbdkit))
        device = self.enterContext(loop_over(file))
        with Server('serve', '--buffered', device) as server:
            with connect(server.address) as a, connect(server.address) as b:
                self.assertEqual(b.write(65536, PAGE), 0)
                self.break_flush()
                self.assertEqual(a.write(0, PAGE, wire.FUA), wire.EIO)
                self.mend_flush()
                self.assert_sticky(server, b, a)

    def test_R6_a_restart_is_the_operators_act_that_clears_it(self):
        file = self.enterContext(fuse_file(self.tmp, self.nbdkit))
        with Server('serve', file) as server:
            with connect(server.address) as c:
                c.write(0, PAGE)
                self.break_flush()
                self.assertEqual(c.call(wire.FLUSH), wire.EIO)
                self.mend_flush()
                self.assert_sticky(server, c)
        with Server('serve', file) as server:
            with connect(server.address) as c:
                self.assertEqual(c.write(0, PAGE), 0)
                self.assertEqual(c.call(wire.FLUSH), 0)


class WriteFails(Case):
    """A drive whose writes fail while a trigger file exists (nbdkit's error filter)."""

    def test_R20_failed_writes_get_eio_and_the_next_ones_succeed(self):
        self.need_root()
        sparse_file(self.path('backing.img'), SIZE)
        trigger = self.path('trigger')
        nbdkit = self.enterContext(Nbdkit(
            self.tmp, '--filter=error', 'file', self.path('backing.img'), 'error=EIO',
            'error-pwrite-rate=100%', f'error-pwrite-file={trigger}'))
        file = self.enterContext(fuse_file(self.tmp, nbdkit))
        with Server('serve', file) as server, connect(server.address) as c:
            self.assertEqual(c.write(0, PAGE), 0)
            with open(trigger, 'w', encoding='ascii'):
                pass
            for i in range(32):
                c.request(wire.WRITE, i, i * 4096, 4096, payload=b'\1' * 4096)
            self.assertEqual(sorted(c.simple() for _ in range(32)),
                             [(i, wire.EIO) for i in range(32)])
            self.assertEqual(c.read(0, 4096), PAGE)
            os.unlink(trigger)
            self.assertEqual(c.write(0, b'\2' * 4096), 0)
            self.assertEqual(c.call(wire.FLUSH), 0)
            self.assertEqual(c.read(0, 4096), b'\2' * 4096)


if __name__ == '__main__':
    main()
