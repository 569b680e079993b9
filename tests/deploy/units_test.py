#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The systemd units as they lie in the tree: sound, tight, and of one mind with their config."""
import configparser
import os
import re
import shutil

from server import BINARY
from suite import Case, main, run

DEPLOY = os.path.realpath(os.path.join(os.path.dirname(__file__), '../../deploy'))
UNITS = os.path.join(DEPLOY, 'systemd')
EXPOSURE_MAX = 2.0  # systemd-analyze's scale: 0 is the tightest, 10 no sandbox at all
SOCKETS = {'sluiced.socket': 'nbd', 'sluiced-grpc.socket': 'grpc'}


def unit(name):
    class Lists(dict):
        """Keys may repeat: all their values are kept."""
        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                self[key].extend(value)
            else:
                super().__setitem__(key, value)
    parser = configparser.RawConfigParser(strict=False, dict_type=Lists)
    parser.optionxform = str
    parser.read(os.path.join(UNITS, name))
    return {s: {k: v.split('\n') for k, v in parser[s].items()} for s in parser.sections()}


class Units(Case):
    def test_systemd_finds_nothing_wrong(self):
        for name in os.listdir(UNITS):
            shutil.copy(os.path.join(UNITS, name), self.tmp)
        service = self.path('sluiced.service')
        with open(service, encoding='utf-8') as f:
            text = f.read()
        self.assertIn('ExecStart=/usr/bin/sluiced ', text)
        with open(service, 'w', encoding='utf-8') as f:
            f.write(text.replace('/usr/bin/sluiced', BINARY))
        run('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no',
            *(self.path(name) for name in ('sluiced.service', *SOCKETS)))

    def test_systemd_finds_nothing_wrong_with_a_keepers_service(self):
        with open(os.path.join(UNITS, 'sluice-attach@.service'), encoding='utf-8') as f:
            text = f.read()
        self.assertIn('ExecStart=/usr/bin/sluice attach ', text)
        with open(self.path('sluice-attach@nbd0.service'), 'w', encoding='utf-8') as f:
            f.write(text.replace('/usr/bin/sluice', BINARY[:-1]))
        run('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', f.name)

    def test_the_service_is_tight(self):
        report = run('systemd-analyze', 'security', '--offline=true', '--no-pager',
                     os.path.join(UNITS, 'sluiced.service'))
        exposure = float(re.search(r'exposure level for sluiced\.service: ([\d.]+)',
                                   report).group(1))
        self.assertLessEqual(exposure, EXPOSURE_MAX, report)

    def test_the_manager_is_told_and_watches(self):
        service = unit('sluiced.service')['Service']
        self.assertEqual(service['Type'], ['notify'])
        self.assertGreater(int(service['WatchdogSec'][0]), 0)

    def test_each_socket_says_whose_door_it_is_and_where_the_config_has_it(self):
        with open(os.path.join(UNITS, 'sluiced.textproto'), encoding='utf-8') as f:
            config = f.read()
        for name, door in SOCKETS.items():
            socket = unit(name)['Socket']
            self.assertEqual(socket['FileDescriptorName'], [door])
            self.assertEqual(socket['Service'], ['sluiced.service'])
            block = re.search(rf'^{door} {{(.*)}}$', config, re.M).group(1)
            said = [a.removeprefix('unix:') for a in re.findall(r'listen: "([^"]*)"', block)]
            self.assertEqual(socket['ListenStream'], said, name)

    def test_the_configs_that_are_shipped_are_good(self):
        for name in ('systemd/sluiced.textproto', 'container.textproto', 'example.textproto'):
            self.assertEqual(run(BINARY, '--check-config', '--config',
                                 os.path.join(DEPLOY, name)), 'the config is good\n')


if __name__ == '__main__':
    main()
