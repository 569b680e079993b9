#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An export grows while its server runs, under a file system mounted from it."""
import os
import re

from rig import GRPC, HOST, KernelCase, MIB, SLUICE, main

HOUR = 3600


class Growth(KernelCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.guest:
            cls.guest.load_nbd()

    def grow_disk(self, size):
        os.truncate(self.image, size)
        self.say('disk', 'rescan', 'disk')

    def mount_ext4(self, export, *options):
        self.run_in(f'{SLUICE} attach --connections 2 {" ".join(options)} nbd://{HOST}/{export} '
                    'nbd0\nmkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt')
        self.write_tree()

    def assert_follows(self, size):
        """The device and its file system reach `size`, and what is written there is kept."""
        self.run_in(f'while (( SECONDS < 30 )); do\n'
                    f'  [ $(cat /sys/block/nbd0/size) = {size // 512} ] && exit 0; sleep 0.1\n'
                    f'done; {SLUICE} attached; exit 1')
        self.run_in('resize2fs /dev/nbd0\nhead -c 24M /dev/urandom >/mnt/filler; sync -f /mnt\n'
                    'sha256sum /mnt/filler >/tmp/filler; echo 3 >/proc/sys/vm/drop_caches\n'
                    'sha256sum --quiet -c /tmp/filler; rm /mnt/filler\n'
                    f'dd if=/dev/nbd0 of=/dev/null bs=4096 skip={size // 4096 - 1} iflag=direct')
        self.check_tree()
        said = self.run_in('dumpe2fs -h /dev/nbd0 2>/dev/null')
        blocks, block = (int(re.search(rf'^Block {what}: +([0-9]+)', said, re.M).group(1))
                         for what in ('count', 'size'))
        self.assertEqual(blocks * block, size)

    def detach(self):
        self.run_in(f'umount /mnt; e2fsck -fn /dev/nbd0; {SLUICE} detach nbd0')
        self.check_kernel_log()

    def test_an_ext4_follows_a_slice_and_its_disk_as_the_grpc_door_tells(self):
        self.serve_disk(128 * MIB)
        self.say('volume', 'create', 'slice', 'part', 'disk', '--offset', '1M', '--size', '64M')
        self.say('export', 'create', 'part', 'part')
        self.mount_ext4('part', '--poll', str(HOUR), '--server', GRPC, '--insecure-tcp')
        self.say('volume', 'grow', 'part', '--size', '96M')
        self.assert_follows(96 * MIB)
        self.grow_disk(192 * MIB)
        self.say('volume', 'grow', 'part', '--size', '191M')
        self.assert_follows(191 * MIB)
        self.detach()

    def test_an_ext4_follows_a_rescanned_disk_as_the_grpc_door_tells(self):
        self.serve_disk(64 * MIB)
        self.mount_ext4('disk', '--poll', str(HOUR), '--server', GRPC, '--insecure-tcp')
        self.grow_disk(128 * MIB)
        self.assert_follows(128 * MIB)
        self.detach()

    def test_an_ext4_follows_a_rescanned_disk_without_a_grpc_door_by_asking(self):
        self.serve_disk(64 * MIB)
        self.mount_ext4('disk', '--poll', '1')
        self.grow_disk(128 * MIB)
        self.assert_follows(128 * MIB)
        self.detach()


if __name__ == '__main__':
    main()
