#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the system below refuses: no space left, no io_uring, files that are not what was asked."""
import ctypes
import os
import platform
import struct

import wire
from disks import loop_device, mounted
from server import Server, refuses
from suite import Case, MIB, main, run, sparse_file
from wire import connect

PAGE = b'\x77' * 4096


class NoSpace(Case):
    def test_R21_enospc_on_a_sparse_file_fails_the_one_write(self):
        self.need_root()
        image = sparse_file(self.path('fs.img'), 32 * MIB)
        run('mke2fs', '-q', '-t', 'ext4', '-m', '0', image)
        device = self.enterContext(loop_device(image))
        folder = self.enterContext(mounted(device, self.path('fs')))
        with Server('serve', '--create', '256MiB', f'{folder}/disk.img') as server:
            with connect(server.address) as c:
                self.assertEqual(c.write(0, PAGE), 0)
                failed = None
                for i in range(1, 256):
                    error = c.write(i * MIB, b'\x33' * MIB)
                    if error:
                        self.assertEqual(error, wire.ENOSPC)
                        failed = i
                        break
                    self.assertLess(i, 64, 'the file system is larger than it is')
                self.assertEqual(c.read(0, 4096), PAGE)
                self.assertEqual(c.read((failed - 1) * MIB, MIB), b'\x33' * MIB)
                self.assertEqual(c.write(0, b'\x44' * 4096), 0, 'rewriting needs no space')
                self.assertEqual(c.call(wire.FLUSH), 0)
                self.assertEqual(c.call(wire.TRIM, MIB, 8 * MIB), 0)
                self.assertEqual(c.write(failed * MIB, b'\x55' * MIB), 0, 'trim gave space back')


class IoUringRefused(Case):
    """A container's seccomp profile, made here by hand: the system call fails as it does there."""

    def refuse_with(self, errno_value):
        def install():
            load, jump_equal, ret = 0x20, 0x15, 0x06
            io_uring_setup = 425
            program = b''.join(struct.pack('HBBI', *i) for i in (
                (load, 0, 0, 0), (jump_equal, 0, 1, io_uring_setup),
                (ret, 0, 0, 0x00050000 | errno_value), (ret, 0, 0, 0x7fff0000)))
            buffer = ctypes.create_string_buffer(program)
            filter_program = struct.pack('HxxxxxxP', 4, ctypes.addressof(buffer))
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
            assert libc.prctl(22, 2, filter_program) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        return install

    def test_no_io_uring_is_a_clear_error_that_names_the_cure(self):
        self.assertIn(platform.machine(), ('x86_64', 'aarch64'))
        for number in (38, 1):  # ENOSYS, EPERM
            status, error = refuses('serve', '--nbd', '127.0.0.1:0', 'memory:1MiB',
                                    preexec_fn=self.refuse_with(number))
            self.assertEqual(status, 1, error)
            self.assertIn('io_uring', error)
            self.assertIn('seccomp', error)
            self.assertIn('io_uring_disabled', error)


class Refusals(Case):
    """Each wrong start is refused with exit 1 and a message that names the culprit."""

    def assert_refused(self, *arguments, names):
        status, error = refuses('serve', '--nbd', '127.0.0.1:0', *arguments)
        self.assertEqual(status, 1, error)
        self.assertIn(names, error)

    def test_a_missing_file_is_not_made_without_create(self):
        self.assert_refused(self.path('missing.img'), names='missing.img')
        self.assertFalse(os.path.exists(self.path('missing.img')))

    def test_create_refuses_a_file_of_another_size(self):
        sparse_file(self.path('disk.img'), MIB)
        self.assert_refused('--create', '2MiB', self.path('disk.img'), names='disk.img')
        self.assertEqual(os.path.getsize(self.path('disk.img')), MIB)

    def test_a_disk_in_use_is_refused(self):
        image = sparse_file(self.path('disk.img'), MIB)
        with Server('serve', image):
            self.assert_refused(image, names='disk.img')

    def test_a_mounted_device_is_refused(self):
        self.need_root()
        image = sparse_file(self.path('fs.img'), 32 * MIB)
        run('mke2fs', '-q', '-t', 'ext4', image)
        device = self.enterContext(loop_device(image))
        self.enterContext(mounted(device, self.path('fs')))
        self.assert_refused(device, names=device)

    def test_plain_tcp_beyond_loopback_needs_insecure_tcp(self):
        status, error = refuses('serve', '--nbd', '0.0.0.0:0', 'memory:1MiB')
        self.assertNotEqual(status, 0)
        self.assertIn('insecure-tcp', error)
        with Server('serve', '--insecure-tcp', '--nbd', '0.0.0.0:0', 'memory:1MiB') as server:
            with connect(('127.0.0.1', server.address[1])) as c:
                self.assertEqual(c.size, MIB)

    def test_plain_grpc_and_plain_http_beyond_loopback_are_refused_by_name(self):
        for arguments, name in ((('--grpc', '127.0.0.1:0'), 'grpc'),
                                (('--http', '0.0.0.0:0'), 'http')):
            status, error = refuses('serve', *arguments, 'memory:1MiB')
            self.assertNotEqual(status, 0)
            self.assertIn(name, error)


if __name__ == '__main__':
    main()
