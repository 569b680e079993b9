#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice attach`, `detach` and `attached` on a real kernel."""
import json
import os
import signal

from rig import HOST, KernelCase, MIB, PORT, SLUICE, URI, main

# Growth is seen, and a lost request sent again, within seconds.
ATTACH = f'{SLUICE} attach --timeout 3 --poll 1'

# Hears a keeper as a service manager does.
MANAGER = r'''
import os, signal, socket, subprocess, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind('/run/notify')
manager.settimeout(30)
keeper = subprocess.Popen(sys.argv[1:], env={**os.environ, 'NOTIFY_SOCKET': '/run/notify'})
print(manager.recv(99).decode(), os.path.exists('/sys/block/nbd0/pid'))
print(manager.recv(99).decode())
keeper.terminate()
print(manager.recv(99).decode(), keeper.wait(30))
'''


class Attach(KernelCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.guest:
            cls.no_driver = cls.guest.attempt(f'{SLUICE} attach {URI}')
            cls.guest.load_nbd()

    def attached(self):
        return json.loads(self.run_in(f'{SLUICE} attached --json'))

    def await_in_guest(self, condition, seconds=30):
        """Until the bash condition is true in the guest."""
        self.run_in(f'while (( SECONDS < {seconds} )); do {condition} && exit 0; sleep 0.2; done\n'
                    f'{SLUICE} attached; exit 1', seconds + 30)

    def test_an_ext4_is_whole_after_detaching_and_attaching_with_four_connections(self):
        self.serve('--create', '256MiB')
        device = self.run_in(f'{ATTACH} {URI}')
        self.assertEqual(device, '/dev/nbd0')
        self.run_in('mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt')
        self.write_tree()
        self.assert_fails(f'{SLUICE} detach nbd0', 'in use', 'unmount it first')
        self.run_in(f'umount /mnt; {SLUICE} detach nbd0; {ATTACH} --connections 4 {URI}/ nbd1\n'
                    'e2fsck -fn /dev/nbd1; mount /dev/nbd1 /mnt')
        self.check_tree()
        shown, = self.attached()
        self.assertEqual((shown['device'], shown['connections'], shown['live_connections'],
                          shown['state'], shown['mounts'], shown['size_bytes']),
                         ('/dev/nbd1', 4, 4, 'attached', ['/mnt'], 256 * MIB))
        self.run_in(f'umount /mnt; {SLUICE} detach /dev/nbd1')
        self.assertEqual(self.attached(), [])
        self.assertEqual(self.run_in('ls /run/sluice-attach'), '')
        self.check_kernel_log()

    def test_an_xfs_is_trimmed_and_grows_while_mounted(self):
        self.serve_and_attach_xfs()
        self.write_tree()
        self.run_in('head -c 64M /dev/urandom >/mnt/big; sync -f /mnt')
        full = self.used()
        self.run_in('rm /mnt/big; sync -f /mnt; fstrim /mnt')
        self.assertLess(self.used(), full - 60 * MIB)
        self.first.stop()
        os.truncate(self.image, 640 * MIB)
        self.serve()
        self.await_in_guest(f'[ $(cat /sys/block/nbd0/size) = {640 * MIB // 512} ]')
        self.run_in('xfs_growfs /mnt')
        self.assertGreater(int(self.run_in('df --output=size -B1 /mnt | tail -1')),
                           500 * MIB)  # df does not count the log
        self.check_tree()
        self.run_in(f'umount /mnt; xfs_repair -n /dev/nbd0; {SLUICE} detach nbd0')
        self.check_kernel_log()

    def serve_and_attach_xfs(self):
        self.first = self.serve('--create', '320MiB')
        self.run_in(f'{ATTACH} {URI} nbd0; mkfs.xfs -q /dev/nbd0; mount /dev/nbd0 /mnt')

    def test_partitions_and_block_size_and_read_only_are_the_devices(self):
        self.serve('--create', '64MiB')
        self.run_in(f'{ATTACH} {URI} nbd0; echo ,, | sfdisk -q /dev/nbd0\n'
                    f'mkfs.ext4 -q -L part /dev/nbd0p1; {SLUICE} detach nbd0\n'
                    f'{ATTACH} --read-only {URI} nbd0')
        self.assertEqual(self.run_in('blkid -p -o value -s LABEL /dev/nbd0p1; '
                                     'cat /sys/block/nbd0/ro').split(), ['part', '1'])
        self.assert_fails('blkdiscard -f /dev/nbd0', 'not permitted')
        self.run_in(f'{SLUICE} detach nbd0; {ATTACH} --block-size 4096 {URI} nbd0')
        self.assertEqual(self.run_in('cat /sys/block/nbd0/queue/logical_block_size'), '4096')

    def test_what_cannot_be_attached_is_told_with_its_cure(self):
        status, output = self.no_driver
        self.assertEqual(status, 1)
        self.assertIn('modprobe nbd', output)
        self.assert_fails(f'{SLUICE} attach {URI}', 'is the server up?')
        self.serve('--create', '64MiB')
        self.assert_fails(f'{SLUICE} attach {URI}/other', 'no export "other"')
        self.assert_fails(f'setpriv --reuid 65534 {SLUICE} attach {URI}', 'as root')
        self.assert_fails(f'{SLUICE} attach --block-size 8192 {URI}', '512, 1024, 2048 or 4096')
        self.assert_fails(f'{SLUICE} detach nbd0', 'not attached', 'sluice attached')
        self.run_in(f'nbd-client {HOST} {PORT} /dev/nbd0')
        self.assert_fails(f'{SLUICE} attach {URI} nbd0', '/dev/nbd0 is taken')
        self.assertEqual(self.attached()[0]['state'], 'no keeper')
        self.run_in(f'{SLUICE} detach nbd0; {SLUICE} attach {URI} nbd0')
        self.assert_fails(f'{SLUICE} attach {URI} nbd0', 'has a keeper', 'sluice detach nbd0')

    def test_a_server_that_comes_later_is_awaited(self):
        self.guest.start(f'{ATTACH} --wait 30 {URI} nbd0')
        self.serve('--create', '64MiB')
        self.assertEqual(self.guest.finish(), (0, '/dev/nbd0\n'))

    def test_ctrl_c_ends_the_wait_for_a_server(self):
        status, output = self.guest.attempt(
            f'timeout --preserve-status -s INT 1 {SLUICE} attach --wait 20 {URI} nbd0; '
            'status=$?; echo "after $SECONDS s"; exit $status')
        self.assertEqual(status, 128 + signal.SIGINT)
        self.assertLess(int(output.split()[1]), 10, output)

    def test_detach_detaches_also_when_the_keeper_is_killed_meanwhile(self):
        self.serve('--create', '64MiB')
        self.run_in(f'{ATTACH} {URI} nbd0\n'
                    'until keeper=$(sed -n "s/^pid //p" /run/sluice-attach/nbd0); [ "$keeper" ]\n'
                    'do sleep 0.1; done\n'
                    f'kill -STOP $keeper; {SLUICE} detach nbd0 & detach=$!; sleep 1\n'
                    'kill -0 $detach; [ -e /sys/block/nbd0/pid ]; kill -9 $keeper; wait $detach\n'
                    '[ ! -e /sys/block/nbd0/pid ]; [ ! -e /run/sluice-attach/nbd0 ]')

    def test_a_keeper_that_is_killed_has_a_successor_under_a_mounted_file_system(self):
        first = self.serve('--create', '64MiB')
        self.run_in(f'{ATTACH} {URI} nbd0; mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt\n'
                    'echo before >/mnt/file; sync /mnt/file\n'
                    f'kill -9 $(sed -n "s/^pid //p" /run/sluice-attach/nbd0)')
        self.await_in_guest(f'{SLUICE} attached | grep -q "no keeper"')
        self.run_in(f'{ATTACH} {URI} nbd0')
        first.kill()
        self.serve()
        self.run_in('echo after >>/mnt/file; sync /mnt/file')
        self.assertEqual(self.run_in('cat /mnt/file').split(), ['before', 'after'])
        self.check_kernel_log()

    def test_an_export_that_came_back_smaller_is_not_taken(self):
        first = self.serve('--create', '64MiB')
        self.run_in(f'{ATTACH} --foreground --give-up 6 {URI} nbd0 >/tmp/keeper 2>&1 &')
        self.await_in_guest('grep -q /dev/nbd0 /tmp/keeper')
        first.stop()
        os.truncate(self.image, 32 * MIB)
        self.serve()
        self.await_in_guest('grep -q "gone for longer" /tmp/keeper')
        self.assertIn('shrunk to 33554432 bytes', self.run_in('cat /tmp/keeper'))
        self.assertEqual(self.attached(), [])

    def test_a_server_gone_for_long_ends_in_eio_and_not_in_a_hang(self):
        first = self.serve('--create', '64MiB')
        self.run_in(f'{ATTACH} --give-up 2 {URI} nbd0')
        first.stop()
        self.assert_fails('dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct',
                          'Input/output error')
        self.assertEqual(self.attached(), [])

    def test_sigterm_waits_for_a_file_system_and_then_detaches(self):
        self.serve('--create', '64MiB')
        self.run_in(f'{ATTACH} {URI} nbd0; mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt\n'
                    f'kill -{int(signal.SIGTERM)} $(sed -n "s/^pid //p" /run/sluice-attach/nbd0)')
        self.await_in_guest(f'{SLUICE} attached | grep -q detaching')
        self.run_in('echo kept >/mnt/file; sync /mnt/file; umount /mnt')
        self.await_in_guest('[ ! -e /sys/block/nbd0/pid ]')
        self.await_in_guest('[ ! -e /run/sluice-attach/nbd0 ]')
        self.check_kernel_log()

    def test_a_service_manager_is_told_when_the_device_is_there(self):
        self.serve('--create', '64MiB')
        self.run_in(f"cat >/tmp/manager.py <<'END'\n{MANAGER}\nEND")
        told = self.run_in(f'python3 /tmp/manager.py {ATTACH} --foreground {URI} nbd0 2>/dev/null')
        self.assertEqual([line for line in told.splitlines() if line],
                         ['/dev/nbd0', 'READY=1 True', 'STATUS=attached, 1 of 1 connections',
                          'STOPPING=1 0'])
        self.assertEqual(self.attached(), [])


if __name__ == '__main__':
    main()
