#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/compose.yaml as it lies there: both doors from another container, and a real Prometheus
that scrapes the server, has the alert rules and answers the dashboard's every query."""
import glob
import json
import os
import re
import socket
import urllib.parse
import urllib.request

import podman
from suite import Case, eventually, main, run

DEPLOY = os.path.join(podman.TREE, 'deploy')
PROJECT = 'sluice-test-compose'
PROMETHEUS = 'localhost/sluice-test:prometheus'


def setUpModule():
    podman.sluice_image()
    folder = os.path.join(DEPLOY, 'prometheus')
    podman.build(PROMETHEUS, os.path.join(folder, 'Containerfile'), context=folder)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return str(s.getsockname()[1])


class Compose(Case):
    def setUp(self):
        super().setUp()
        self.http, self.prometheus = free_port(), free_port()
        self.environment = {
            **podman.ENGINE, 'SLUICE_IMAGE': podman.IMAGE, 'SLUICE_PROMETHEUS_IMAGE': PROMETHEUS,
            'SLUICE_NBD_PORT': free_port(), 'SLUICE_HTTP_PORT': self.http,
            'SLUICE_PROMETHEUS_PORT': self.prometheus}
        self.addCleanup(self.down)
        self.compose('up', '-d')

    def compose(self, *arguments):
        return run('podman-compose', '-p', PROJECT, '-f', os.path.join(DEPLOY, 'compose.yaml'),
                   *arguments, env=self.environment, timeout=300)

    def down(self):
        self.compose('down', '-v', '-t', '40')
        if podman.exists('network', f'{PROJECT}_default'):
            podman.podman('network', 'rm', '-f', f'{PROJECT}_default')

    @staticmethod
    def get(port, path):
        with urllib.request.urlopen(f'http://127.0.0.1:{port}{path}', timeout=20) as answer:
            return answer.read().decode()

    def ask(self, path, **parameters):
        """Prometheus' answer to a call of its API."""
        query = urllib.parse.urlencode(parameters)
        answer = json.loads(self.get(self.prometheus, f'/api/v1/{path}?{query}'))
        self.assertEqual(answer['status'], 'success')
        return answer['data']

    def value(self, query):
        result = self.ask('query', query=query)['result']
        return float(result[0]['value'][1]) if result else None

    def test_both_doors_serve_the_client_and_prometheus_watches(self):
        client = f'{PROJECT}_client_1'
        status = podman.podman('wait', client).strip()
        self.assertEqual(status, '0', podman.log(client))
        self.assertIn('byte for byte', podman.log(client))

        self.assertIn('sluice_', self.get(self.http, '/metrics'))
        eventually(lambda: self.value('up{job="sluice"}') == 1, 60, 'a scrape')
        self.rules_are_loaded_and_silent()
        self.the_dashboard_has_answers()

    def rules_are_loaded_and_silent(self):
        with open(os.path.join(DEPLOY, 'prometheus/alerts.yml'), encoding='utf-8') as f:
            written = set(re.findall(r'alert: (\w+)', f.read()))
        rules = [r for g in self.ask('rules')['groups'] for r in g['rules']]
        self.assertTrue(written)
        self.assertEqual({r['name'] for r in rules if r['type'] == 'alerting'}, written)
        for rule in rules:
            self.assertEqual(rule.get('lastError', ''), '', rule['name'])
        firing = [a['labels'] for a in self.ask('alerts')['alerts'] if a['state'] == 'firing']
        self.assertEqual(firing, [])

    def the_dashboard_has_answers(self):
        queries = set()
        for path in glob.glob(os.path.join(DEPLOY, 'grafana/*.json')):
            with open(path, encoding='utf-8') as f:
                for panel in json.load(f)['panels']:
                    queries |= {t['expr'] for t in panel.get('targets', ())}
        self.assertTrue(queries)
        for query in queries:
            # What Grafana fills in: any window, any of a variable's values.
            query = re.sub(r'\$__(rate_)?interval|\$__range', '1m', query)
            query = re.sub(r'\$\{?\w+\}?', '.*', query)
            with self.subTest(query):
                self.ask('query', query=query)


if __name__ == '__main__':
    main(seconds=580)
