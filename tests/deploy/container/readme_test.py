#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's blocks: `sh container` on this machine, `sh machine` on one that systemd runs. Each
command as written, in order; building is another suite's (build_test, and tests/run)."""
import os
import re
import subprocess

import compose_test
import podman
import systemd_test
from suite import Case, main, run

NAMES = (('container', 'sluice'), ('volume', 'sluice-data'), ('container', 'deploy_client_1'),
         ('network', 'deploy_default'), ('image', 'localhost/sluice'))
BUILD = re.compile(r'podman build |cmake |cd build/release && cpack')


def commands(kind):
    with open(os.path.join(podman.TREE, 'README.md'), encoding='utf-8') as f:
        for block in re.findall(rf'^```sh {kind}\n(.*?)^```', f.read(), re.M | re.S):
            for line in block.splitlines():
                yield re.sub(r'\s+#.*', '', line)


class Readme(Case):
    def nothing_of_the_users_is_in_the_way(self):
        for kind, name in NAMES:
            if podman.exists(kind, name):
                self.fail(f'a {kind} {name} is there: remove it first, the README makes one')

    @staticmethod
    def clean_up():
        for command in ('rm -f -v -i sluice', 'volume rm -f sluice-data',
                        'network rm -f deploy_default', 'rmi -f localhost/sluice:latest'):
            subprocess.run(['podman', *command.split()], env=podman.ENGINE, check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def test_container_commands(self):
        compose_test.setUpModule()
        self.nothing_of_the_users_is_in_the_way()
        self.addCleanup(self.clean_up)
        podman.podman('tag', podman.IMAGE, 'localhost/sluice:latest')
        ran = [c for c in commands('container') if not BUILD.match(c)]
        self.assertGreater(len(ran), 8)
        for command in ran:
            with self.subTest(command):
                run('sh', '-ec', command, cwd=podman.TREE, timeout=300, env={
                    **podman.ENGINE, 'SLUICE_IMAGE': podman.IMAGE,
                    'SLUICE_PROMETHEUS_IMAGE': compose_test.PROMETHEUS})

    def test_commands_on_a_machine_with_systemd(self):
        systemd_test.setUpModule()
        written = list(commands('machine'))
        self.assertGreater(len(written), 4)
        with systemd_test.Machine('readme') as m:
            m.execute('sh', '-ec', 'mkdir -p /build && ln -s /packages /build/release')
            for command in written:
                with self.subTest(command):
                    m.execute('sh', '-ec', f'cd / && {command}')


if __name__ == '__main__':
    main(seconds=580)
