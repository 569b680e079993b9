#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All connections of a device carry its data: on a kernel that has as many CPUs."""
import json
import os

from rig import HOST, KernelCase, MIB, PARTS, PORT, SLUICE, TREE, URI, Emulated, main

# With more of them a new device stalls now and then until its requests time out, without a server's
# doing: the answers have arrived in the guest, whose driver does not wake up for them.
CPUS = 2
# Of every CPU one, at once: the driver sends what a CPU submits over that CPU's connection.
WRITE = f'''
for cpu in {{0..{CPUS - 1}}}; do
  taskset -c $cpu dd if=/dev/urandom of=/mnt/$cpu bs=64K count=16 oflag=direct status=none &
  writers+=($!)
done
for writer in "${{writers[@]}}"; do wait $writer; done
sha256sum /mnt/? >/tmp/written; sync -f /mnt
'''
READ = f'''
for cpu in {{0..{CPUS - 1}}}; do
  taskset -c $cpu dd if=/mnt/$cpu of=/dev/null bs=64K iflag=direct status=none &
  readers+=($!)
done
for reader in "${{readers[@]}}"; do wait $reader; done
sha256sum --quiet -c /tmp/written
'''
PROGRAMS = (SLUICE, 'cat', 'cmp', 'cp', 'dd', 'e2fsck', 'find', 'grep', 'mkfs.ext4', 'mv',
            'nbd-client', 'sha256sum', 'sort', 'sync', 'taskset', 'umount', 'wc', 'xargs')


class Connections(KernelCase):
    MACHINE = Emulated(CPUS, PROGRAMS, [os.path.join(TREE, part) for part in PARTS.split()])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.guest:
            cls.guest.load_nbd()

    def assert_all_carry(self, what):
        """The server has CPUS connections, each of which has had a fair part of the data."""
        sessions = json.loads(self.say('session', 'list', '--json'))
        carried = [int(session.get(what, 0)) for session in sessions]
        self.assertEqual(len(carried), CPUS, sessions)
        self.assertGreaterEqual(min(carried), MIB, carried)

    def write_with(self, attach):
        self.run_in(f'{attach}; mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt')
        self.write_tree()
        self.run_in(WRITE)
        self.assert_all_carry('written_bytes')

    def read_with(self, attach):
        self.run_in(f'{attach}; e2fsck -fn /dev/nbd0; mount /dev/nbd0 /mnt')
        self.run_in(READ)
        self.check_tree()
        self.assert_all_carry('read_bytes')

    def test_what_all_our_connections_wrote_all_of_nbd_client_read(self):
        self.serve_disk(64 * MIB)
        self.write_with(f'{SLUICE} attach --connections {CPUS} {URI}/disk nbd0')
        self.run_in(f'umount /mnt; {SLUICE} detach nbd0')
        self.read_with(f'nbd-client {HOST} {PORT} /dev/nbd0 -N disk -C {CPUS}')
        self.run_in('umount /mnt; nbd-client -d /dev/nbd0')
        self.check_kernel_log()
        self.run_in('! dmesg | grep "timed out"')  # a request that was lost, and sent again


if __name__ == '__main__':
    main()
