#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The server is killed, and comes back larger, under a mounted, busy file system."""
import os
import time

from rig import KernelCase, MIB, SLUICE, URI, main

# Writes files of random content one after the other, each durable before its checksum is noted in
# the guest's memory, until /tmp/stop is there.
WRITER = r'''
import hashlib, os
number = 0
with open('/tmp/durable', 'w') as durable:
    while not os.path.exists('/tmp/stop'):
        data = os.urandom(4096 + number * 7919 % 300000)
        name = f'/mnt/{number}'
        with open(name, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open('/mnt', os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        print(hashlib.sha256(data).hexdigest(), '', name, file=durable, flush=True)
        number += 1
'''
PROGRESS = 'wc -l </tmp/durable'


class Restart(KernelCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.guest:
            cls.guest.load_nbd()

    def kill_twice(self, connections):
        server = self.serve('--create', '256MiB')
        self.run_in(f'rm -f /tmp/stop; {SLUICE} attach --timeout 3 --connections {connections} '
                    f'{URI} nbd0; mkfs.ext4 -q /dev/nbd0; mount /dev/nbd0 /mnt\n'
                    f"cat >/tmp/writer.py <<'END'\n{WRITER}\nEND\n"
                    'python3 /tmp/writer.py >/tmp/writer 2>&1 &')
        for _ in range(2):
            self.await_writes()
            server.kill()
            time.sleep(0.5)
            os.truncate(self.image, os.path.getsize(self.image) + 32 * MIB)
            server = self.serve()
        self.await_writes()
        self.assertEqual(self.size_in_guest(), 320 * MIB)
        self.run_in('resize2fs /dev/nbd0')  # as it is mounted and written
        self.await_writes()
        self.run_in('touch /tmp/stop; while pgrep -f writer.py; do sleep 0.1; done')
        self.assertEqual(self.run_in('cat /tmp/writer'), '', 'the writer was never refused')
        self.run_in('umount /mnt; e2fsck -fn /dev/nbd0; mount /dev/nbd0 /mnt\n'
                    'sha256sum --quiet -c /tmp/durable')
        blocks, size = self.run_in(
            r'tune2fs -l /dev/nbd0 | sed -n "s/^Block \(count\|size\): *//p"').split()
        self.assertEqual(int(blocks) * int(size), 320 * MIB)
        self.run_in(f'umount /mnt; {SLUICE} detach nbd0')
        self.check_kernel_log()

    def await_writes(self, more=20):
        """Until so many more files are durable."""
        begun = int(self.run_in(f'until [ -e /tmp/durable ]; do sleep 0.1; done; {PROGRESS}'))
        self.run_in(f'while (( SECONDS < 60 )); do [ $({PROGRESS}) -ge {begun + more} ] && exit 0; '
                    'sleep 0.2; done; cat /tmp/writer; exit 1', 90)

    def test_kill_9_twice_loses_nothing_fsynced_over_one_connection(self):
        self.kill_twice(1)

    def test_kill_9_twice_loses_nothing_fsynced_over_four_connections(self):
        self.kill_twice(4)


if __name__ == '__main__':
    main()
