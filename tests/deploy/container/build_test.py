#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The image built as the README has it: everything in containers, nothing from this machine."""
import podman
import readme_test
from suite import Case, main, run

TAG = 'localhost/sluice-test:whole'


class Build(Case):
    def test_the_readmes_command_builds_an_image_that_serves(self):
        written = [c for c in readme_test.commands('container') if c.startswith('podman build ')]
        self.assertEqual(len(written), 1)
        self.assertRegex(written[0], r' -t sluice \.$')
        # No layers: a first stage that the engine keeps has no name by which it could be removed.
        command = written[0].replace(
            '-t sluice', f'--network host --layers=false --label sluice-test=1 -t {TAG}')
        podman.base_image()
        run('sh', '-ec', command, cwd=podman.TREE, env=podman.ENGINE, timeout=1700)
        with podman.Container('whole', TAG, options=podman.HARDENED) as c:
            self.assertIn('disk0', c.execute('sluice', 'ls', 'nbd://127.0.0.1:10809'))


if __name__ == '__main__':
    main(seconds=1780)
