#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The SDK as a stranger gets it: installed, found by CMake and pkg-config, its examples run."""
import os
import re

from server import BINARY, Server
from suite import Case, main

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.dirname(os.path.dirname(os.path.abspath(BINARY)))
EXAMPLES = os.path.join(ROOT, 'client/examples')


class Install(Case):
    def setUp(self):
        super().setUp()
        self.prefix = self.path('prefix')
        for component in ('library', 'sdk'):
            self.assert_runs('cmake', '--install', BUILD, '--component', component, '--prefix',
                             self.prefix)
        found = [folder for folder, _, files in os.walk(self.prefix) if 'libsluice.so' in files]
        self.assertEqual(len(found), 1)
        self.libraries = found[0]

    def run_all(self, folder):
        path = self.path('grpc.sock')
        with Server('serve', '--name', 'disk', '--nbd', '127.0.0.1:0', '--grpc', f'unix:{path}',
                    '--state-dir', self.path('state'), 'memory:16MiB') as server:
            for uri in (server.uri('disk'), f'sluice+unix:///disk?socket={path}'):
                for name, says in (('hello', 'what was written was read'),
                                   ('pipeline', '8 of 8 parts are right'),
                                   ('queue', 'all is well')):
                    out = self.assert_runs(os.path.join(folder, name), uri,
                                           env={'LD_LIBRARY_PATH': self.libraries})
                    self.assertEqual(out, says + '\n')

    def test_cmake_finds_it(self):
        build = self.path('build')
        self.assert_runs('cmake', '-S', EXAMPLES, '-B', build,
                         f'-DCMAKE_PREFIX_PATH={self.prefix}')
        self.assert_runs('cmake', '--build', build)
        self.run_all(build)

    def test_pkg_config_finds_it(self):
        flags = self.assert_runs('pkg-config', '--cflags', '--libs', 'sluice', env={
            'PKG_CONFIG_PATH': os.path.join(self.libraries, 'pkgconfig'),
            'PATH': os.environ['PATH']}).split()
        for source in os.listdir(EXAMPLES):
            name, dot, kind = source.partition('.')
            compiler = {'cc': ['g++', '-std=c++20'], 'c': ['gcc']}.get(kind)
            if compiler and dot:
                self.assert_runs(*compiler, '-Wall', '-Wextra', '-Werror',
                                 os.path.join(EXAMPLES, source), '-o', self.path(name), *flags)
        self.run_all(self.tmp)

    def test_it_shows_its_own_names_alone(self):
        library = os.path.join(self.libraries, 'libsluice.so')
        names = self.assert_runs('nm', '-DC', '--defined-only', library)
        for line in names.splitlines():
            kind, symbol = line.split(' ', 2)[1:]
            self.assertNotIn('absl::', symbol)
            self.assertNotIn('sdk_v1::internal', symbol)
            if kind not in 'WVu':  # of weak ones, the standard library's templates
                self.assertRegex(symbol, r'^(?:[\w ]+ for )?(sluice::sdk_v1::|sluice_)')
        for folder, _, files in os.walk(os.path.join(self.prefix, 'include')):
            for name in files:
                with open(os.path.join(folder, name), encoding='utf-8') as f:
                    self.assertIsNone(re.search(r'absl|grpc|protobuf', f.read()), name)


if __name__ == '__main__':
    main()
