#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""On a machine that systemd runs and where Sluice is installed: the unit and the line of fstab as
they are shipped, and the commands of the README as they are written."""
import os
import re

from rig import KernelCase, MIB, SERVER, SLUICE, TREE, Systemd, main

UNIT = 'sluice-attach@nbd0.service'
MOUNT = 'srv-data.mount'
# What a package and an administrator put where it belongs.
INSTALLED = f'''
ln -sf {SLUICE} {SERVER} /usr/bin/
cp {TREE}/deploy/systemd/sluice-attach@.service /usr/lib/systemd/system/
mkdir -p /etc/sluice/attach /srv/data
cp {TREE}/deploy/attach/nbd0 /etc/sluice/attach/
cat {TREE}/deploy/attach/fstab >>/etc/fstab
'''
STATES = f'systemctl show --property ActiveState --value {UNIT} {MOUNT}'
MOUNTED = 'findmnt -n -o SOURCE,FSTYPE /srv/data'
GONE = f'[ -z "$({MOUNTED})" ]; [ ! -e /sys/block/nbd0/pid ]; [ ! -e /run/sluice-attach/nbd0 ]'


class Installed(KernelCase):
    MACHINE = Systemd(INSTALLED)

    def states(self):
        return self.run_in(STATES).split()

    def test_a_device_is_attached_mounted_kept_unmounted_and_detached_by_its_units(self):
        self.run_in(f'systemctl start --no-block {UNIT}\n'
                    f'until [[ $(systemctl is-active {UNIT}) = activating ]]; do sleep 0.1; done')
        server = self.serve_disk(64 * MIB)
        # The job ends with READY=1, which is the device's.
        self.run_in(f'systemctl start {UNIT}; [ -e /sys/block/nbd0/pid ]; mkfs.ext4 -q /dev/nbd0\n'
                    'mount /srv/data')
        self.assertEqual(self.run_in(MOUNTED).split(), ['/dev/nbd0', 'ext4'])
        self.write_tree('/srv/data')
        server.kill()
        self.serve_disk(64 * MIB)
        self.run_in('echo kept >/srv/data/file; sync /srv/data/file')
        self.assertEqual(self.states(), ['active', 'active'])
        self.run_in(f'systemctl stop {UNIT}; {GONE}')
        self.assertEqual(self.states(), ['inactive', 'inactive'])
        # What a boot does.
        self.run_in(f'systemctl enable {UNIT}; systemctl start remote-fs.target\n'
                    f'until {MOUNTED}; do sleep 0.1; done')
        self.check_tree('/srv/data')
        self.assertEqual(self.run_in('cat /srv/data/file'), 'kept')
        # And a shutdown.
        self.run_in(f'systemctl stop remote-fs.target {UNIT}; {GONE}')
        self.check_kernel_log()

    def test_the_readmes_five_lines_lead_to_a_mounted_file_system(self):
        with open(os.path.join(TREE, 'README.md'), encoding='utf-8') as readme:
            ours, stock = re.findall(r'^```sh kernel\n(.*?)^```', readme.read(), re.M | re.S)
        self.assertEqual(len(ours.splitlines()), 5)
        self.addCleanup(self.clean_up)
        self.run_in(f'{ours}\n[[ $(findmnt -n -o SOURCE,FSTYPE /mnt) =~ ^/dev/nbd0\\ +ext4 ]]\n'
                    'echo kept >/mnt/file; umount /mnt; sluice detach nbd0\n'
                    f'{stock}\nmount /dev/nbd0 /mnt; grep kept /mnt/file; umount /mnt\n'
                    'nbd-client -d /dev/nbd0; kill $(pidof sluiced)')


if __name__ == '__main__':
    main()
