#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes a loaded server: what it asks for is there, our alert rules are at
rest, and every query of the Grafana dashboard is answered -- with data, but for the panels that
say they are empty until something happens."""
import json
import os
import re
import tempfile
import threading
import time

import wire
from metrics import Metrics, Prometheus, http_address
from rpc import SHARED, Channel
from server import Server
from suite import Case, KIB, MIB, eventually, main, pattern, sparse_file
from wire import Wire, connect

DEPLOY = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../../deploy')
VARIABLES = {'$instance': '.*', '$export': '.*', '$disk': '.*', '$__rate_interval': '10s'}


def dashboard():
    with open(os.path.join(DEPLOY, 'grafana/sluice.json'), encoding='utf-8') as file:
        return json.load(file)


def dashboard_variables():
    """{name: (family, label)}: what Grafana offers for a variable is that label's values."""
    return {v['name']: re.fullmatch(r'label_values\((\w+), (\w+)\)', v['query']).groups()
            for v in dashboard()['templating']['list'] if v['type'] == 'query'}


def dashboard_queries():
    """(panel, may it be empty, expression) of every target."""
    for panel in dashboard()['panels']:
        for target in panel.get('targets', []):
            expression = target['expr']
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert '$' not in expression, f'{panel["title"]}: {expression}'
            rate = 'rate(' in expression
            yield panel['title'], rate and 'empty until' in panel['description'].lower(), expression


def told(labels):
    """The values of those labels that tell one line of a panel from another."""
    return ' '.join(v for k, v in sorted(labels.items())
                    if k not in ('__name__', 'instance', 'job'))


class Load(threading.Thread):
    """Reads, writes in bursts of neighbours, flushes and trims over NBD, and a little over gRPC."""

    def __init__(self, server, channel):
        super().__init__(daemon=True)
        self.server, self.session = server, channel.open(mode=SHARED)
        self.halt = threading.Event()
        self.turn_may_begin = threading.Lock()
        self.failed = None

    def run(self):
        try:
            with connect(self.server.address) as client:
                turn = 0
                while not self.halt.is_set():
                    with self.turn_may_begin:
                        self._work(client, turn)
                    turn += 1
                    self.halt.wait(0.01)
        except Exception as failed:  # told by stop()
            self.failed = failed

    def _work(self, client, turn):
        data = pattern(0, 4 * KIB)
        at = turn % 32 * 64 * KIB
        client.send(b''.join(Wire.header(wire.WRITE, i + 1, at + i * 4096, 4096) + data
                             for i in range(16)))
        for _ in range(16):
            assert client.simple().error == 0
        client.read(at, 64 * KIB)
        if turn % 8 == 0:
            assert client.call(wire.FLUSH) == 0
            assert client.call(wire.TRIM, at, 4096) == 0
            assert client.call(wire.READ, 1 << 40, 512) == wire.EINVAL
            self.session.write(at, data)
            self.session.read(at, 4096)

    def paused(self):
        return self.turn_may_begin

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.halt.set()
        self.join(30)
        if self.failed:
            raise self.failed


class Scraped(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix='sluice-e2e-'))
        cls.server = cls.enterClassContext(Server(
            'serve', '--http', '127.0.0.1:0', '--nbd', '127.0.0.1:0', '--grpc',
            f'unix:{folder}/grpc.sock', '--state-dir', f'{folder}/state', '--name', 'disk',
            sparse_file(f'{folder}/disk.img', 16 * MIB)))
        cls.channel = cls.enterClassContext(Channel(cls.server))
        cls.load = cls.enterClassContext(Load(cls.server, cls.channel))
        host, port = http_address(cls.server)
        cls.prometheus = cls.enterClassContext(Prometheus(
            folder, [f'{host}:{port}'], [os.path.join(DEPLOY, 'prometheus/alerts.yml')]))
        # Some scrapes, so that there are rates.
        eventually(lambda: (cls.prometheus.query('count_over_time(up{job="sluice"}[1m])')
                            or [({}, 0)])[0][1] >= 8, 60, 'eight scrapes')

    def value(self, expression):
        found = self.prometheus.query(expression)
        self.assertEqual(len(found), 1, (expression, found))
        return found[0][1]

    def test_what_an_operator_asks_is_answered(self):
        self.assertEqual(self.value('up{job="sluice"}'), 1)
        targets = self.prometheus.get('targets')['activeTargets']
        self.assertEqual([t['lastError'] for t in targets], [''])
        self.assertGreater(self.value('sum(rate(sluice_requests_total{door="nbd"}[10s]))'), 10)
        self.assertGreater(self.value('sum(rate(sluice_requests_total{door="grpc"}[10s]))'), 0)
        latency = self.value('histogram_quantile(0.99, sum by (le) '
                             '(rate(sluice_request_duration_seconds_bucket[10s])))')
        self.assertTrue(1e-6 < latency < 10, latency)
        riders = self.value('sum(rate(sluice_disk_carrier_requests_sum[10s])) '
                            '/ sum(rate(sluice_disk_carrier_requests_count[10s]))')
        self.assertTrue(2 <= riders <= 16, riders)
        self.assertLess(self.value('scrape_duration_seconds{job="sluice"}'), 5)

        with self.load.paused():
            time.sleep(2.5)
            there = Metrics(self.server).sum('sluice_requests_total')
            self.assertEqual(self.value('sum(sluice_requests_total)'), there)

    def test_the_alert_rules_are_loaded_and_at_rest(self):
        groups = self.prometheus.get('rules')['groups']
        rules = [rule for group in groups for rule in group['rules']]
        self.assertEqual({rule['health'] for rule in rules} - {'ok', 'unknown'}, set())
        self.assertIn('SluiceFlushFailed', {rule['name'] for rule in rules})
        self.assertEqual([rule['name'] for rule in rules if rule['state'] == 'firing'], [])

    def test_every_query_of_the_dashboard_is_answered(self):
        shown = 0
        for panel, may_be_empty, expression in dashboard_queries():
            with self.subTest(panel=panel, expression=expression):
                found = self.prometheus.query(expression)
                if not may_be_empty:
                    self.assertTrue(found, 'no data')
                for _, value in found:
                    self.assertEqual(value, value, 'not a number')
                print(f'{panel:36} ' + '; '.join(
                    f'{told(labels)} {value:.4g}' for labels, value in found[:6]))
                shown += 1
        self.assertGreater(shown, 30)

    def test_each_variable_of_the_dashboard_has_values(self):
        for name, (family, label) in dashboard_variables().items():
            with self.subTest(name):
                values = self.prometheus.get(f'label/{label}/values', **{'match[]': family})
                self.assertEqual(values, [{'instance': ':'.join(map(str, http_address(
                    self.server)))}.get(name, 'disk')])


class Dashboard(Case):
    def test_the_dashboard_names_only_what_there_is(self):
        names = {name for _, _, e in dashboard_queries()
                 for name in re.findall(r'\b(?:sluice|process)_\w+', e)}
        known = set(re.findall(r'"((?:sluice|process)_\w+)"', self.exposition()))
        for name in names:
            self.assertIn(re.sub(r'_(bucket|sum|count)$', '', name), known)

    @staticmethod
    def exposition():
        with open(os.path.join(DEPLOY, '../server/http/exposition.cc'), encoding='utf-8') as file:
            return file.read()


if __name__ == '__main__':
    main()
