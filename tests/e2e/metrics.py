# SPDX-License-Identifier: Apache-2.0
"""The HTTP door of a server, and a real Prometheus beside it.

    page = Metrics(server)
    page.sum('sluice_requests_total', export='disk', operation='read')
"""
import collections
import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse

from suite import eventually

PROMETHEUS, PROMTOOL = '/usr/bin/prometheus', '/usr/bin/promtool'
SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')


def http_address(server):
    host, port = re.search(r' http=(\S+)', server.ready).group(1).rsplit(':', 1)
    return host.strip('[]'), int(port)


def fetch(address, path, method='GET'):
    """(status, body, headers) of one request."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


class Metrics:
    """One scrape, parsed: {name: {((label, value), ...): value}}."""

    def __init__(self, server):
        status, self.text, headers = fetch(http_address(server), '/metrics')
        assert status == 200, (status, self.text)
        assert headers['Content-Type'].startswith('text/plain; version=0.0.4'), headers
        self.families = collections.defaultdict(dict)
        for line in self.text.splitlines():
            if line.startswith('#'):
                continue
            match = SAMPLE.match(line)
            assert match, f'no sample: {line!r}'
            labels = tuple(sorted(LABEL.findall(match.group(2) or '')))
            family = self.families[match.group(1)]
            assert labels not in family, f'twice: {line!r}'
            family[labels] = float(match.group(3))

    def series(self, name, **labels):
        wanted = set(labels.items())
        return {k: v for k, v in self.families.get(name, {}).items() if wanted <= set(k)}

    def sum(self, name, **labels):
        return sum(self.series(name, **labels).values())

    def one(self, name, **labels):
        found = self.series(name, **labels)
        assert len(found) == 1, (name, labels, found)
        return next(iter(found.values()))

    def values(self, name, label):
        """What that label has for values in this family."""
        return {dict(k)[label] for k in self.families.get(name, {}) if label in dict(k)}


class Prometheus:
    """A Prometheus that scrapes `targets` every second, in a folder of its own."""

    def __init__(self, folder, targets, rules=()):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.address = free.getsockname()
        config = {'global': {'scrape_interval': '1s', 'evaluation_interval': '1s'},
                  'rule_files': list(rules),
                  'scrape_configs': [{'job_name': 'sluice',
                                      'static_configs': [{'targets': list(targets)}]}]}
        path = os.path.join(folder, 'prometheus.yml')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(config, file)  # JSON is YAML
        self.log = open(os.path.join(folder, 'prometheus.log'), 'w+', encoding='utf-8')
        self.process = subprocess.Popen(
            [PROMETHEUS, f'--config.file={path}', f'--storage.tsdb.path={folder}/tsdb',
             f'--web.listen-address={self.address[0]}:{self.address[1]}'],
            stdout=self.log, stderr=self.log)
        eventually(self._is_ready, 60, 'Prometheus is ready')

    def _is_ready(self):
        assert self.process.poll() is None, self._log_text()
        try:
            return fetch(self.address, '/-/ready')[0] == 200
        except OSError:
            time.sleep(0.1)
            return False

    def _log_text(self):
        self.log.seek(0)
        return self.log.read()[-3000:]

    def get(self, path, **parameters):
        _, body, _ = fetch(self.address, f'/api/v1/{path}?{urllib.parse.urlencode(parameters)}')
        answer = json.loads(body)
        assert answer['status'] == 'success', (path, parameters, answer)
        return answer['data']

    def query(self, expression):
        """[(labels, value)] of an instant query; anything but a vector or scalar is an error."""
        data = self.get('query', query=expression)
        if data['resultType'] == 'scalar':
            return [({}, float(data['result'][1]))]
        assert data['resultType'] == 'vector', (expression, data['resultType'])
        return [(r['metric'], float(r['value'][1])) for r in data['result']]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
