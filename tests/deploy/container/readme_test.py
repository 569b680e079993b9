#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's blocks: `sh container` on this machine, `sh machine` and `sh server` on one that
systemd runs. Each command as written, in order; building is another suite's (build_test, and
tests/run)."""
import os
import re
import subprocess

import compose_test
import podman
import systemd_test
from certs import Authority
from suite import Case, eventually, main, run

NAMES = (('container', 'sluice'), ('volume', 'sluice-data'), ('container', 'deploy_client_1'),
         ('network', 'deploy_default'), ('image', 'localhost/sluice'))
BUILD = re.compile(r'podman build |cmake |cd build/release && cpack')


def blocks(kind):
    with open(os.path.join(podman.TREE, 'README.md'), encoding='utf-8') as f:
        for block in re.findall(rf'^```sh {kind}\n(.*?)^```', f.read(), re.M | re.S):
            yield [re.sub(r'\s+#.*', '', line) for line in block.splitlines()]


def commands(kind):
    return [command for block in blocks(kind) for command in block]


class ByHand:
    """A server that runs in the foreground of a machine's terminal, until the next is started."""

    def __init__(self, machine):
        self.machine = machine
        self.running = False

    def start(self, command):
        self.stop()
        self.running = True
        self.machine.execute('sh', '-ec', f'cd /root; {command} >log 2>&1 & echo $! >/root/pid')
        eventually(lambda: 'ready ' in self.machine.try_(('cat', '/root/log')), 20, command)

    def stop(self):
        if self.running:
            self.machine.execute('sh', '-ec', 'kill $(cat /root/pid); '
                                 'while kill -0 $(cat /root/pid); do sleep 0.1; done 2>/dev/null')


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
        written = commands('machine')
        self.assertGreater(len(written), 4)
        with systemd_test.Machine('readme') as m:
            m.execute('sh', '-ec', 'mkdir -p /build && ln -s /packages /build/release')
            for command in written:
                with self.subTest(command):
                    m.execute('sh', '-ec', f'cd / && {command}')

    def test_servers_by_hand_and_the_commands_that_talk_to_them(self):
        systemd_test.setUpModule()
        authority = Authority(self.tmp, 'ca')
        server = authority.issue('server')
        secrets = {'server.pem': server.cert, 'server.key': server.key, 'ca.pem': authority.cert}
        written = list(blocks('server'))
        self.assertGreater(len(written), 4)
        for block in written:
            with self.subTest(block), systemd_test.Machine('readme-by-hand') as m:
                for name, path in secrets.items():
                    podman.podman('cp', path, f'{m.name}:/root/{name}')
                m.execute('truncate', '-s', '1G', '/srv/disk.img')
                # What starts no server talks to the packages' own.
                if not any(command.startswith('sluiced ') for command in block):
                    m.systemctl('start', 'sluiced')
                by_hand = ByHand(m)
                for command in block:
                    if command.startswith('sluiced '):
                        by_hand.start(command)
                    else:
                        m.execute('sh', '-ec', command)


if __name__ == '__main__':
    main(seconds=580)
