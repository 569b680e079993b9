#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The image, run with no right that it does not need: what it is, serves, survives and refuses."""
import contextlib
import json
import os
import threading
import urllib.request

import podman
from podman import HARDENED, Container, Volume
from suite import Case, MIB, eventually, main, pattern, run, write_file
from wire import Closed, connect

NBD, HTTP = 10809, 10811
PUBLISHED = (*HARDENED, '-p', f'127.0.0.1::{NBD}')
MB = 1000 * 1000
OVER_BASE_MB = 120


def setUpModule():
    podman.sluice_image()


def uri(container):
    return 'nbd://{}:{}/'.format(*container.port(NBD))


class Image(Case):
    def serve(self, name, *command, options=PUBLISHED, image=podman.IMAGE):
        return self.enterContext(Container(name, image, *command, options=options))

    def with_data(self, name):
        volume = self.enterContext(Volume(name))
        return (*PUBLISHED, '-v', f'{volume.name}:/data')

    def test_it_is_small_and_says_what_it_is(self):
        image, base = (json.loads(podman.podman('image', 'inspect', ref))[0]
                       for ref in (podman.IMAGE, f'localhost/{podman.BASE}'))
        over = (image['Size'] - base['Size']) / MB
        print(f'image: {image["Size"] / MB:.0f} MB, {over:.0f} MB over its base')
        self.assertLessEqual(over, OVER_BASE_MB)
        config = image['Config']
        self.assertEqual(config['User'], '10001:10001')
        self.assertEqual(config['StopSignal'], 'SIGTERM')
        self.assertEqual(set(config['Volumes']), {'/data', '/run/sluice'})
        self.assertIn('Test', image.get('Healthcheck') or config.get('Healthcheck'))
        for label in ('title', 'description', 'licenses'):
            self.assertTrue(config['Labels'][f'org.opencontainers.image.{label}'])

    def test_it_runs_without_a_right_and_serves_stock_clients_and_ours(self):
        c = self.serve('hardened')
        status = dict(line.split(':\t', 1) for line in
                      c.execute('cat', '/proc/1/status').splitlines() if ':\t' in line)
        self.assertEqual(status['Uid'].split(), ['10001'] * 4)
        for held in ('CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
            self.assertEqual(int(status[held], 16), 0, held)
        self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
        with self.assertRaisesRegex(AssertionError, 'Read-only file system'):
            c.execute('touch', '/etc/x')

        source, copy = self.path('fs.img'), self.path('copy.img')
        run('mke2fs', '-q', '-t', 'ext4', '-d', os.path.join(podman.TREE, 'core'), source, '64M')
        run('nbdcopy', source, uri(c))
        run('nbdcopy', uri(c), copy)
        run('cmp', '-n', str(64 * MIB), source, copy)
        run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', copy, uri(c))
        sluice = os.path.join(podman.BUILD, 'bin/sluice')
        run(sluice, 'copy', '--verify', source, uri(c))
        self.run_an_sdk_program(c)

    def run_an_sdk_program(self, container):
        for component in ('library', 'sdk'):
            run('cmake', '--install', podman.BUILD, '--prefix', self.path('sdk'), '--component',
                component)
        libraries = next(f for f, _, names in os.walk(self.path('sdk'))
                         if 'libsluice.so' in names)
        run('g++', '-std=c++20', os.path.join(podman.TREE, 'client/examples/hello.cc'), '-o',
            self.path('hello'), '-I', self.path('sdk/include'), '-L', libraries, '-lsluice')
        self.assertEqual(run(self.path('hello'), uri(container),
                             env={'LD_LIBRARY_PATH': libraries}), 'what was written was read\n')

    def test_it_is_watched_over_http(self):
        c = self.serve('http', options=(*PUBLISHED, '-p', f'127.0.0.1::{HTTP}'))
        with connect(c.port(NBD)) as client:
            self.assertEqual(client.write(0, pattern(0, 4096)), 0)
        for path, says in (('/healthz', ''), ('/readyz', ''), ('/metrics', 'sluice_')):
            url = 'http://{}:{}{}'.format(*c.port(HTTP), path)
            with urllib.request.urlopen(url, timeout=20) as answer:
                self.assertEqual(answer.status, 200)
                self.assertIn(says, answer.read().decode())

    def test_its_health_is_whether_it_answers(self):
        c = self.serve('health')
        self.assertTrue(eventually(c.healthy))
        podman.podman('kill', '-s', 'STOP', c.name)
        self.assertFalse(c.healthy())
        podman.podman('kill', '-s', 'CONT', c.name)
        self.assertTrue(eventually(c.healthy))

    def test_where_io_uring_is_refused_it_names_the_profile_and_stops(self):
        with open(podman.SECCOMP, encoding='utf-8') as f:
            profile = json.load(f)
        profile['syscalls'].pop()  # the three calls that the profile adds
        profile.update(defaultAction='SCMP_ACT_ERRNO', defaultErrnoRet=1, defaultErrno='EPERM')
        eperm = write_file(self.path('eperm.json'), json.dumps(profile).encode())
        for name, options in (('enosys', ()), ('eperm', ('--security-opt', f'seccomp={eperm}'))):
            with self.subTest(name):
                c = self.serve(name, options=('--cap-drop', 'all', *options))
                self.assertEqual(c.exit_status(), 1)
                lines = [x for x in c.log().splitlines() if x.startswith('sluiced: ')]
                self.assertEqual(len(lines), 1, c.log())
                self.assertIn('deploy/seccomp.json', lines[0])

    def test_stop_answers_what_is_in_flight_and_exits_0(self):
        options = self.with_data('drain')
        c = self.serve('drain', options=options)
        written = []

        def write_on():
            with connect(c.port(NBD)) as client, contextlib.suppress(Closed, OSError):
                for i in range(100000):
                    if client.write(i * 4096 % (64 * MIB), pattern(0, 4096, seed=i)) != 0:
                        return
                    written.append(i)
        writer = threading.Thread(target=write_on)
        writer.start()
        eventually(lambda: len(written) > 50)
        self.assertEqual(c.stop(), 0)
        writer.join()
        last = {i * 4096 % (64 * MIB): i for i in written}
        again = self.serve('drained', options=options)
        with connect(again.port(NBD)) as client:
            for offset, i in last.items():
                self.assertEqual(client.read(offset, 4096), pattern(0, 4096, seed=i))

    def test_a_new_version_takes_over_the_volume_of_the_old_one(self):
        newer = podman.sluice_image('localhost/sluice-test:newer', '--label', 'version=newer')
        options = self.with_data('upgrade')
        data = pattern(0, MIB)
        with Container('old', podman.IMAGE, options=options) as old:
            with connect(old.port(NBD)) as client:
                self.assertEqual(client.write(0, data), 0)
            self.assertEqual(old.stop(), 0)
        with Container('new', newer, options=options) as new:
            with connect(new.port(NBD)) as client:
                self.assertEqual(client.read(0, MIB), data)
                self.assertEqual(client.write(MIB, data), 0)
            podman.podman('kill', '-s', 'KILL', new.name)
        back = self.serve('back', options=options)
        with connect(back.port(NBD)) as client:
            self.assertEqual(client.read(0, 2 * MIB), data + data)

    def test_one_command_serves_what_it_names(self):
        c = self.serve('command', 'serve', '--nbd', f'0.0.0.0:{NBD}', '--insecure-tcp',
                       'memory:16MiB')
        with connect(c.port(NBD)) as client:
            self.assertEqual(client.size, 16 * MIB)

    def test_the_profile_is_the_distributions_own_and_three_calls(self):
        with open(podman.SECCOMP, encoding='utf-8') as f:
            shipped = json.load(f)
        self.assertEqual(shipped, json.loads(run(os.path.join(podman.TREE, 'deploy/seccomp'))))


if __name__ == '__main__':
    main(seconds=580)
