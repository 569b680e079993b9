#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README as a newcomer meets it: every command of its sh blocks, run as written, in order."""
import os
import re
import select
import signal
import socket
import subprocess
import time

import grpc
from rpc import Service
from suite import GIB, Case, main, run

TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
QUICKSTART = 'deploy/quickstart'
ASIDE = os.path.join(TREE, 'build/aside')
MADE = ('build/quickstart/disk.img', 'demo.img', 'copy.img')  # by the README's commands


# Fences and who runs what is in them: nobody (it is shown), this suite, tests/deploy/container,
# tests/kernel.
FENCES = {'text', 'yaml', 'sh', 'sh container', 'sh machine', 'sh server', 'sh kernel'}


def commands():
    with open(os.path.join(TREE, 'README.md'), encoding='utf-8') as f:
        blocks = re.findall(r'^```sh\n(.*?)^```', f.read(), re.M | re.S)
    for block in blocks:
        yield from (re.sub(r'\s+#.*', '', line) for line in block.splitlines())


class Quickstart:
    """deploy/quickstart running in its terminal until Ctrl-C."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([QUICKSTART, *arguments], cwd=TREE,
                                        stdout=subprocess.PIPE, start_new_session=True)
        output = ''
        deadline = time.monotonic() + 200
        while 'In another terminal' not in output:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(left, 0))
            piece = os.read(self.process.stdout.fileno(), 65536).decode() if ready else ''
            if not piece:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise AssertionError(f'quickstart says only {output!r}')
            output += piece
        self.uri = re.search(r'nbd://[^\s,]+', output).group(0)
        self.grpc = re.search(r'unix:([^\s,]+)', output).group(1)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)  # as the terminal does on Ctrl-C
        status = self.process.wait(30)
        if not failed and status != 0:
            raise AssertionError(f'quickstart exits {status}')


class Newcomer(Case):
    def set_aside(self, name):
        """Moves a file of the user's away until the test is over. One that an interrupted run left
        there is still the user's, and what stands in its place is that run's."""
        path, aside = os.path.join(TREE, name), os.path.join(ASIDE, os.path.basename(name))
        os.makedirs(ASIDE, exist_ok=True)
        if os.path.exists(path) and not os.path.exists(aside):
            os.rename(path, aside)
        self.addCleanup(self.put_back, path, aside)

    @staticmethod
    def put_back(path, aside):
        if os.path.exists(aside):
            os.replace(aside, path)
        elif os.path.exists(path):
            os.unlink(path)

    def assert_port_is_free(self, port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', port))
            except OSError as error:
                self.fail(f'port {port}: {error}; is {QUICKSTART} still running? end it first')

    def assert_serves_grpc(self, quickstart):
        """The export is told of by the other door too."""
        path = os.path.realpath(os.path.join(TREE, quickstart.grpc))
        with grpc.insecure_channel(f'unix:{path}') as channel:
            exports = Service(channel, 'Export', 'export').ListExports().exports
        self.assertEqual([(each.spec.name, each.geometry.size_bytes) for each in exports],
                         [('disk', GIB)])

    def test_every_command_of_the_readme_runs_as_written(self):
        written = list(commands())
        self.assertEqual(written[0], QUICKSTART)
        self.assertGreater(len(written), 8)
        self.assert_port_is_free(10809)
        staged = {**os.environ, 'DESTDIR': self.path('installed')}
        for name in MADE:
            self.set_aside(name)
        with Quickstart() as quickstart:
            self.assert_serves_grpc(quickstart)
            for command in written[1:]:
                with self.subTest(command):
                    run('sh', '-ec', command, cwd=TREE, env=staged)
            for name in MADE:
                self.assertTrue(os.path.exists(os.path.join(TREE, name)), name)

    def test_every_block_of_the_readme_is_one_that_somebody_runs_or_is_marked_as_text(self):
        with open(os.path.join(TREE, 'README.md'), encoding='utf-8') as f:
            fences = re.findall(r'^```(.*)$', f.read(), re.M)
        self.assertEqual(len(fences) % 2, 0)
        self.assertLessEqual(set(fences[::2]), FENCES)
        self.assertEqual(set(fences[1::2]), {''})

    def test_quickstart_serves_another_image_on_a_free_port_and_keeps_it(self):
        image = self.path('mine.img')
        with Quickstart('--image', image, '--size', '64MiB', '--port', '0', '--grpc',
                        self.path('grpc.sock')) as first:
            self.assertNotIn(':10809', first.uri)
            run('mke2fs', '-q', '-t', 'ext4', '-d', os.path.join(TREE, 'core'),
                self.path('fs.img'), '64M')
            run('nbdcopy', self.path('fs.img'), first.uri)
        with Quickstart('--image', image, '--port', '0', '--grpc',
                        self.path('grpc.sock')) as second:
            run('nbdcopy', second.uri, self.path('back.img'))
        run('cmp', self.path('fs.img'), self.path('back.img'))
        run('e2fsck', '-fn', image)


if __name__ == '__main__':
    main()
