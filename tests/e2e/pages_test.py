#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the build installs for people: man pages and the shells' completion."""
import glob
import gzip
import os
import re
import subprocess

from bench_test import SLUICE
from suite import Case, main, run

BUILD = os.path.dirname(os.path.dirname(SLUICE))


class Installed(Case):
    def setUp(self):
        super().setUp()
        for component in ('client', 'server'):
            run('cmake', '--install', BUILD, '--component', component, '--prefix', self.tmp)
        self.pages = {}
        for path in glob.glob(self.path('share/man/man?/*.gz')):
            with gzip.open(path, 'rt', encoding='utf-8') as f:
                self.pages[os.path.basename(path)[:-len('.gz')]] = f.read()

    def test_there_is_a_page_for_each_command(self):
        help_text = run(SLUICE, '--help')
        commands = re.findall(r'^  ([a-z]+)[, ]', help_text, re.M)
        self.assertIn('disk', commands)
        for name in [f'sluice-{c}.1' for c in commands] + ['sluice.1', 'sluiced.8',
                                                           'sluice-config.5']:
            self.assertIn(name, self.pages)

    def test_formatters_have_nothing_to_complain_of(self):
        for name, text in self.pages.items():
            with self.subTest(name):
                for command in (['mandoc', '-Tlint', '-W', 'warning'],
                                ['groff', '-man', '-Tutf8', '-ww', '-z']):
                    done = subprocess.run(command, input=text, text=True, check=False,
                                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                    self.assertEqual((done.returncode, done.stdout), (0, ''))

    def test_pages_tell_what_the_help_and_the_schema_tell(self):
        def shown(name):
            done = run('mandoc', '-Tutf8', input=self.pages[name])
            return re.sub(r'\s+', ' ', re.sub('.\b', '', done))
        for option in re.findall(r'^  (--[a-z-]+)', run(SLUICE, 'bench', '--help'), re.M):
            self.assertIn(option, shown('sluice-bench.1'))
        for words in ('sluice disk swap NAME STRATEGY', '--no-wait', 'EXAMPLES'):
            self.assertIn(words, shown('sluice-disk.1') + shown('sluice-top.1'))
        self.assertIn('--drain-timeout S', shown('sluiced.8'))
        for words in ('drain_timeout_s', 'disk_roots', 'chunk_bytes', 'A power of two'):
            self.assertIn(words, shown('sluice-config.5'))

    def test_completion_is_where_the_shells_look(self):
        run('bash', '-n', self.path('share/bash-completion/completions/sluice'))
        run('zsh', '-n', self.path('share/zsh/site-functions/_sluice'))
        run('fish', '-n', self.path('share/fish/vendor_completions.d/sluice.fish'))


if __name__ == '__main__':
    main()
