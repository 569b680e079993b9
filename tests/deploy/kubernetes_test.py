#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes manifests: by the schema, of one mind with each other, and tight."""
import os
import re

import manifests
from server import BINARY
from suite import Case, main, run, write_file

DRAIN_SECONDS = 30  # limits.drain_timeout_s


class Manifests(Case):
    def setUp(self):
        super().setUp()
        self.of = manifests.objects()
        self.pod = self.of['StatefulSet']['spec']['template']
        self.container = self.pod['spec']['containers'][0]
        self.ports = {p['name']: p['containerPort'] for p in self.container['ports']}

    def test_every_file_of_the_folder_is_put_together(self):
        self.assertEqual(set(self.of), {'ConfigMap', 'StatefulSet', 'Service', 'NetworkPolicy',
                                        'PodDisruptionBudget'})
        self.assertEqual(len(os.listdir(manifests.FOLDER)), len(self.of) + 1)

    def test_what_breaks_a_schema_is_found(self):
        text = manifests.resources()
        for right, wrong in (('replicas: 1', 'replicas: "one"'), ('kind: Service', 'kind: Servant'),
                             ('maxUnavailable: 0', 'maxUnavailable: [0]')):
            self.assertIn(right, text)
            text = text.replace(right, wrong)
        findings = '\n'.join(manifests.check(text)[1])
        for what in ('replicas', 'Servant', 'maxUnavailable'):
            self.assertIn(what, findings)

    def test_each_selector_finds_the_pods(self):
        labels = self.pod['metadata']['labels']
        spec = {kind: o.get('spec') for kind, o in self.of.items()}
        for selector in (spec['StatefulSet']['selector']['matchLabels'],
                         spec['Service']['selector'],
                         spec['NetworkPolicy']['podSelector']['matchLabels'],
                         spec['PodDisruptionBudget']['selector']['matchLabels']):
            self.assertLessEqual(selector.items(), labels.items())
        self.assertEqual(spec['StatefulSet']['serviceName'], self.of['Service']['metadata']['name'])

    def test_each_port_is_one_of_the_containers_and_of_the_config(self):
        for port in self.of['Service']['spec']['ports']:
            self.assertEqual(self.ports[port['targetPort']], port['port'])
        for rule in self.of['NetworkPolicy']['spec']['ingress']:
            self.assertTrue(rule['from'], 'an empty from lets everybody in')
            for port in rule['ports']:
                self.assertIn(port['port'], self.ports)
        config = self.of['ConfigMap']['data']['sluiced.textproto']
        for name, port in self.ports.items():
            self.assertRegex(config, rf'(?m)^{name} {{ listen: "0\.0\.0\.0:{port}"')

    def test_the_config_is_good_and_lies_where_the_server_looks(self):
        config = self.of['ConfigMap']['data']['sluiced.textproto']
        write_file(self.path('config'), config.encode())
        run(BINARY, '--check-config', '--config', self.path('config'))
        mounted = {m['name']: m['mountPath'] for m in self.container['volumeMounts']}
        self.assertEqual(self.container['args'], ['--config',
                                                  f'{mounted["config"]}/sluiced.textproto'])
        for path in re.findall(r'"/([a-z]+)/', config):
            self.assertIn(f'/{path}', [re.match(r'/[a-z]+', m).group(0)
                                       for m in mounted.values()])
        spec = self.of['StatefulSet']['spec']
        declared = {v['name'] for v in self.pod['spec']['volumes']} | {
            v['metadata']['name'] for v in spec['volumeClaimTemplates']}
        self.assertEqual(set(mounted), declared)

    def test_it_has_no_right_that_it_does_not_need(self):
        spec, inside = self.pod['spec'], self.container['securityContext']
        self.assertTrue(spec['securityContext']['runAsNonRoot'])
        self.assertEqual(spec['securityContext']['seccompProfile']['type'], 'Localhost')
        self.assertFalse(spec['automountServiceAccountToken'])
        self.assertEqual(inside['capabilities'], {'drop': ['ALL']})
        self.assertTrue(inside['readOnlyRootFilesystem'])
        self.assertFalse(inside['allowPrivilegeEscalation'])

    def test_probes_ask_over_http_and_a_stop_leaves_time_to_drain(self):
        for probe, path in (('livenessProbe', '/healthz'), ('readinessProbe', '/readyz')):
            self.assertEqual(self.container[probe]['httpGet'], {'path': path, 'port': 'http'})
        self.assertGreater(self.pod['spec']['terminationGracePeriodSeconds'], DRAIN_SECONDS)


if __name__ == '__main__':
    main()
