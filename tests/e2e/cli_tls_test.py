#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice` on another machine than the server: over mutual TLS, with a certificate's rights."""
import os
from unittest import mock

import certs
import h2
from cli_test import Operator
from server import Server
from suite import MIB, main, pattern, write_file

CONFIG = '''
nbd {{ listen: "127.0.0.1:0" }}
grpc {{ listen: "127.0.0.1:0"
  tls {{ cert: "{server.cert}" key: "{server.key}" client_ca: "{ca}" admin: "ops" }} }}
state_dir: "{tmp}/state"
disk {{ name: "d0" memory_bytes: 16777216 bufq: "fcfs" }}
export {{ name: "data" volume: "d0" }}
export {{ name: "hers" volume: "d0" allow: "her" }}
'''


class Remote(Operator):
    """A server that is reached by TLS alone, with one certificate that may control it."""

    def start(self):
        self.authority = certs.Authority(self.tmp, 'ca')
        self.ops, self.vm7 = self.authority.issue('ops'), self.authority.issue('vm7')
        self.server = self.enterContext(Server(config=CONFIG.format(
            tmp=self.tmp, ca=self.authority.cert,
            server=self.authority.issue_server(file='server'))))
        self.address = f'localhost:{h2.address_of(self.server)[1]}'
        self.uri = f'sluice://{self.address}/data'

    def by(self, who, authority=None):
        """The options of who shows that certificate."""
        return ('--tls-ca', (authority or self.authority).cert, '--tls-cert', who.cert,
                '--tls-key', who.key)

    def written(self, name):
        with open(self.path(name), 'rb') as f:
            return f.read()


class Control(Remote):
    def test_is_for_the_certificates_that_the_config_names(self):
        ops = self.by(self.ops)
        self.assertIn('d0', self.say('--server', self.address, *ops, 'disk', 'list'))
        self.say(*ops, 'disk', 'swap', 'd0', 'deadline')
        self.assertEqual(self.told(*ops, 'disk', 'show', 'd0')['strategy'], 'deadline')
        self.say(*ops, 'export', 'create', 'more', 'd0', '--read-only')
        self.assertIn('export_created', self.say(*ops, 'events', '--json'))
        for words in (('disk', 'list'), ('disk', 'swap', 'd0', 'fcfs'), ('ls',), ('events',),
                      ('session', 'list'), ('drain',)):
            with self.subTest(words):
                refusal = self.cure(*self.by(self.vm7), *words)
                self.assertIn('"vm7"', refusal)
                self.assertIn('may not control this server: grpc.tls.admin', refusal)
        self.assertEqual(self.told(*ops, 'disk', 'show', 'd0')['strategy'], 'deadline')

    def test_takes_the_certificate_from_the_environment(self):
        with mock.patch.dict(os.environ, SLUICE_TLS_CA=self.authority.cert,
                             SLUICE_TLS_CERT=self.ops.cert, SLUICE_TLS_KEY=self.ops.key):
            self.assertEqual([d['spec']['name'] for d in self.told('disk', 'list')], ['d0'])
            self.assertEqual(self.say('complete', '--', 'disk', 'show', '').split(), ['d0'])

    def test_what_is_wrong_with_the_certificates_is_told_with_its_cure(self):
        other = certs.Authority(self.tmp, 'other')
        for options, says in ((self.by(other.issue('ops')), 'TLS'),
                              (self.by(self.ops, other), 'TLS'),
                              (self.by(self.authority.issue('ops', days=-1)), 'TLS'),
                              (('--insecure-tcp',), 'TLS')):
            with self.subTest(options):
                self.assertIn(says, self.cure(*options, 'disk', 'list'))
        self.assertIn('--tls-ca', self.cure('disk', 'list', status=2))
        self.assertIn('--tls-key', self.cure(*self.by(self.ops)[:4], 'disk', 'list', status=2))
        missing = certs.Issued(self.path('none'), self.ops.key)
        self.assertIn(missing.cert, self.cure(*self.by(missing), 'disk', 'list', status=2))


class Data(Remote):
    def test_is_moved_by_whoever_the_export_is_for(self):
        data = pattern(0, 4 * MIB)
        source = write_file(self.path('in'), data)
        vm7 = self.by(self.vm7)
        self.say(*vm7, 'copy', source, self.uri, '--quiet', '--verify')  # by messages of a MiB
        self.say(*vm7, 'copy', self.uri, self.path('image'), '--quiet')
        self.assertEqual(self.written('image')[:4 * MIB], data)
        self.say(*vm7, 'read', self.uri, '--offset', '1M', '--length', '1M', '--output',
                 self.path('out'))
        self.assertEqual(self.written('out'), data[MIB:2 * MIB])
        self.say(*vm7, 'write', 'data', '--input', self.path('out'), '--flush')
        self.assertTrue(self.told(*vm7, 'verify', self.uri, self.server.uri('data'))['equal'])
        self.assertIn('data', self.say(*vm7, 'map', self.uri))
        self.assertEqual(self.told(*vm7, 'stat', self.uri)['size_bytes'], 16 * MIB)

    def test_without_certificates_the_options_are_named(self):
        source = write_file(self.path('in'), pattern(0, MIB))
        for words in (('read', self.uri), ('stat', self.uri), ('map', self.uri),
                      ('write', self.uri, '--input', source), ('copy', source, self.uri),
                      ('copy', self.uri, self.path('out')), ('verify', source, self.uri),
                      ('bench', self.uri)):
            with self.subTest(words):
                refusal = self.cure(*words)
                self.assertIn('--tls-ca, --tls-cert and --tls-key', refusal)
                self.assertEqual(refusal.count('\n'), 1, refusal)
        self.assertIn('--tls-key', self.cure(*self.by(self.vm7)[:4], 'map', self.uri))

    def test_speaks_for_itself_where_tls_fails(self):
        other = self.by(self.vm7, certs.Authority(self.tmp, 'other'))
        self.assertEqual(self.cure(*other, 'read', self.uri).count('\n'), 1)

    def test_is_not_there_for_others(self):
        hers = f'sluice://{self.address}/hers'
        self.say(*self.by(self.authority.issue('her')), 'read', hers, '--length', 512, '--output',
                 self.path('out'))
        self.assertIn('hers', self.cure(*self.by(self.vm7), 'read', hers))


if __name__ == '__main__':
    main()
