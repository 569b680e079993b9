#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian packages as cpack makes them of this build: what is in them and what they want."""
import os
import shutil

from server import BINARY
from suite import Case, main, run

BUILD = os.path.dirname(os.path.dirname(os.path.abspath(BINARY)))
README = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../../README.md')
COMMAND = 'cd build/release && cpack'  # as the README has it
HOLDS = {
    'sluice-server': {
        'etc/sluice/sluiced.textproto', 'usr/bin/sluiced', 'usr/lib/sysusers.d/sluice.conf',
        'usr/lib/systemd/system/sluiced.service', 'usr/lib/systemd/system/sluiced.socket',
        'usr/lib/systemd/system/sluiced-grpc.socket', 'usr/share/man/man8/sluiced.8.gz',
        'usr/share/doc/sluice-server/config.proto'},
    'sluice': {'usr/bin/sluice'},
    'libsluice0': {'usr/lib/libsluice.so.0'},
    'libsluice-dev': {'usr/lib/libsluice.so', 'usr/include/sluice/sluice.h',
                      'usr/lib/cmake/sluice/sluice-config.cmake',
                      'usr/lib/pkgconfig/sluice.pc'},
}
SCRIPTS = ('postinst', 'prerm', 'postrm')


class Packages(Case):
    def setUp(self):
        super().setUp()
        # Where cpack is called, packages are made: beside a copy of what it reads of the build.
        made = self.path('build/release')
        os.makedirs(made)
        shutil.copy(os.path.join(BUILD, 'CPackConfig.cmake'), made)
        with open(README, encoding='utf-8') as f:
            self.assertIn(f'\n{COMMAND}\n', f.read())
        run('sh', '-ec', COMMAND, cwd=self.tmp, timeout=250)
        self.debs = {name.split('_')[0]: os.path.join(made, name)
                     for name in os.listdir(made) if name.endswith('.deb')}

    def field(self, package, name):
        return run('dpkg-deb', '-f', self.debs[package], name).strip()

    def unpack(self, package):
        run('dpkg-deb', '-R', self.debs[package], self.path(package))
        return {os.path.relpath(os.path.join(folder, name), self.path(package))
                for folder, _, names in os.walk(self.path(package)) for name in names}

    def test_each_holds_its_own_wants_what_it_links_and_harms_nobody(self):
        self.assertEqual(set(self.debs), set(HOLDS))
        owner = {}
        for package, files in HOLDS.items():
            held = {f for f in self.unpack(package) if not f.startswith('DEBIAN/')}
            self.assertLessEqual(files, held, package)
            for path in held:
                self.assertEqual(owner.setdefault(path, package), package, path)
            self.assertIn(f'usr/share/doc/{package}/copyright', held)
            for script in SCRIPTS:
                if os.path.exists(self.path(f'{package}/DEBIAN/{script}')):
                    run('sh', '-n', self.path(f'{package}/DEBIAN/{script}'))

        self.assertIn('libgrpc++1', self.field('sluice-server', 'Depends'))
        self.assertIn('liburing2', self.field('sluice-server', 'Depends'))
        self.assertNotIn('liburing2', self.field('sluice', 'Depends'))
        self.assertEqual(self.field('libsluice-dev', 'Depends'),
                         f'libsluice0 (= {self.field("libsluice0", "Version")})')
        with open(self.path('sluice-server/DEBIAN/conffiles'), encoding='utf-8') as f:
            self.assertEqual(f.read(), '/etc/sluice/sluiced.textproto\n')
        packed = self.path('sluice-server/usr/bin/sluiced')
        self.assertEqual(run(packed, '--version'), run(BINARY, '--version'))
        self.assertLess(os.path.getsize(packed), os.path.getsize(BINARY), 'it is stripped')


if __name__ == '__main__':
    main()
