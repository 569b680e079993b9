#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stock nbd-client on a real kernel."""
from rig import HOST, KernelCase, MIB, PORT, SERVER, TREE, main

CONNECT = f'nbd-client {HOST} {PORT} /dev/nbd0'


class StockClient(KernelCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.guest:
            cls.guest.load_nbd()

    def test_an_ext4_written_over_one_connection_is_whole_over_four(self):
        self.serve('--create', '256MiB')
        self.run_in(f'{CONNECT}; mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt')
        self.write_tree()
        self.run_in(f'umount /mnt; nbd-client -d /dev/nbd0\n'
                    f'{CONNECT} -C 4; e2fsck -fn /dev/nbd0; mount /dev/nbd0 /mnt')
        self.check_tree()
        self.run_in('umount /mnt; nbd-client -d /dev/nbd0')
        self.check_kernel_log()

    def test_an_xfs_on_a_named_export_and_fstrim_gives_space_back(self):
        self.serve(config=f'''
            nbd {{ listen: "{HOST}:{PORT}" insecure_tcp: true }}
            disk {{ name: "small" memory_bytes: 1048576 }}
            disk {{ name: "big" path: "{self.image}" create_bytes: {320 * MIB} }}
            export {{ name: "small" volume: "small" }}
            export {{ name: "big" volume: "big" }}''')
        self.run_in(f'{CONNECT} -N small')
        self.assertEqual(self.size_in_guest(), MIB)
        self.run_in(f'nbd-client -d /dev/nbd0; {CONNECT} -N big\n'
                    'mkfs.xfs -q /dev/nbd0; mount /dev/nbd0 /mnt')
        self.write_tree()
        self.run_in('head -c 64M /dev/urandom >/mnt/big; sync -f /mnt')
        full = self.used()
        self.run_in('rm /mnt/big; sync -f /mnt; fstrim /mnt')
        self.assertLess(self.used(), full - 60 * MIB)
        self.check_tree()
        self.run_in('umount /mnt; xfs_repair -n /dev/nbd0; nbd-client -d /dev/nbd0')
        self.check_kernel_log()

    def test_partitions_are_found_again(self):
        self.serve('--create', '128MiB')
        self.run_in(f'{CONNECT}; echo -e ",32M\\n,," | sfdisk -q /dev/nbd0\n'
                    'mkfs.ext4 -q -L first /dev/nbd0p1; mkfs.ext4 -q -L second /dev/nbd0p2\n'
                    'mount /dev/nbd0p2 /mnt; echo kept >/mnt/file; umount /mnt\n'
                    f'nbd-client -d /dev/nbd0; {CONNECT}')
        self.assertEqual(self.run_in('blkid -p -o value -s LABEL /dev/nbd0p1 /dev/nbd0p2; '
                                     'mount /dev/nbd0p2 /mnt; cat /mnt/file').split(),
                         ['first', 'second', 'kept'])

    def test_blkdiscard_gives_space_back_and_zeroes_read_as_zeroes(self):
        self.serve('--create', '64MiB')
        self.run_in(f'{CONNECT}; head -c 64M /dev/urandom >/dev/nbd0; sync /dev/nbd0')
        full = self.used()
        self.run_in('blkdiscard -o 32M -l 16M /dev/nbd0')
        self.assertLess(self.used(), full - 15 * MIB)
        self.run_in('blkdiscard -z -o 8M -l 8M /dev/nbd0\n'
                    'cmp -n 8M -i 8M:0 /dev/nbd0 /dev/zero; ! cmp -n 8M /dev/nbd0 /dev/zero')

    def test_over_a_unix_socket(self):
        self.run_in(f'{SERVER} serve --nbd unix:/run/nbd.sock memory:64MiB >/tmp/ready 2>&1 &\n'
                    'until grep -q ready /tmp/ready; do sleep 0.1; done\n'
                    'nbd-client -unix /run/nbd.sock /dev/nbd1; mkfs.ext4 -q /dev/nbd1\n'
                    'mount /dev/nbd1 /mnt; echo kept >/mnt/file; umount /mnt; mount /dev/nbd1 /mnt')
        self.assertEqual(self.run_in('cat /mnt/file; umount /mnt; nbd-client -d /dev/nbd1 2>&1\n'
                                     'kill %% 2>/dev/null || kill $(pidof sluiced)'), 'kept')

    def test_a_line_of_nbdtab_names_the_device(self):
        self.serve('--create', '64MiB')
        self.run_in(f'mkdir -p /tmp/etc; cp {TREE}/deploy/attach/nbdtab /tmp/etc/\n'
                    'mount --bind /tmp/etc /etc; trap "umount /etc" EXIT; nbd-client nbd0')
        self.assertEqual(self.size_in_guest(), 64 * MIB)


if __name__ == '__main__':
    main()
