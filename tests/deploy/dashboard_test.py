#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Grafana dashboard as it lies in the tree: whoever imports it sees every panel, knows what it
shows in which unit, and can tell its lines apart. Its queries are run by tests/e2e/prometheus_test.
"""
import json
import os
import re

from suite import Case, main

DASHBOARD = os.path.join(os.path.dirname(os.path.realpath(__file__)),
                         '../../deploy/grafana/sluice.json')
COLUMNS = 24  # of Grafana's grid
# Grafana's names of units, by what a query yields.
UNITS = ((r'bytes_total\{.*\[\$__rate_interval', {'Bps'}),
         (r'_seconds_(bucket|sum)|process_start_time_seconds', {'s'}),
         (r'_resident_memory_bytes', {'bytes'}),
         (r'_total\{[^/]*\)[^/]*/ ', {'short'}),
         (r'_ratio|depth\{|pool_free_bytes', {'percentunit'}),
         (r'cpu_seconds_total', {'short'}),
         (r'rate\(\w+_total', {'reqps', 'ops', 'iops', 'cps'}),
         (r'', {'short'}))
BUILT_IN = {'__rate_interval'}


def unit(panel, target):
    """Of a query's values: the panel's, unless an override names this query."""
    for override in panel['fieldConfig']['overrides']:
        if override['matcher'] == {'id': 'byFrameRefID', 'options': target['refId']}:
            return {p['id']: p['value'] for p in override['properties']}['unit']
    return panel['fieldConfig']['defaults']['unit']


class Dashboard(Case):
    def setUp(self):
        super().setUp()
        with open(DASHBOARD, encoding='utf-8') as f:
            self.dashboard = json.load(f)
        self.panels = [p for p in self.dashboard['panels'] if p['type'] != 'row']
        self.assertGreater(len(self.panels), 20)

    def each_target(self, judge):
        for panel in self.panels:
            self.assertTrue(panel['targets'], panel['title'])
            for target in panel['targets']:
                with self.subTest(panel=panel['title'], query=target['refId']):
                    judge(panel, target)

    def test_no_panel_hides_another(self):
        taken = {}
        for panel in self.dashboard['panels']:
            at = panel['gridPos']
            self.assertLessEqual(at['x'] + at['w'], COLUMNS, panel['title'])
            for x in range(at['x'], at['x'] + at['w']):
                for y in range(at['y'], at['y'] + at['h']):
                    other = taken.setdefault((x, y), panel['title'])
                    self.assertEqual(other, panel['title'])
        for name in ('id', 'title'):
            values = [p[name] for p in self.dashboard['panels']]
            self.assertTrue(all(values))
            self.assertEqual(len(values), len(set(values)), f'each has a {name} of its own')

    def test_each_query_has_the_unit_of_what_it_yields(self):
        def judge(panel, target):
            fitting = next(units for pattern, units in UNITS if re.search(pattern, target['expr']))
            self.assertIn(unit(panel, target), fitting)
        self.each_target(judge)

    def test_each_line_says_what_it_is(self):
        def judge(panel, target):
            if panel['type'] == 'stat':
                return
            legend = target['legendFormat']
            self.assertTrue(legend)
            named = set(re.findall(r'\{\{(\w+)\}\}', legend))
            groups = [set(re.split(r', *', g)) - {'le'}
                      for g in re.findall(r'\bby \((.*?)\)', target['expr'])]
            for group in groups:
                self.assertEqual(named, group)
            if 'sum' not in target['expr']:
                self.assertIn('instance', named, 'each server has a line')
        self.each_target(judge)

    def test_each_variable_is_there_and_used(self):
        text = json.dumps(self.dashboard)
        used = {a or b for a, b in re.findall(r'\$(?:\{(\w+)\}|(\w+))', text)} - BUILT_IN
        declared = [v['name'] for v in self.dashboard['templating']['list']]
        self.assertEqual(used - {'__all'}, set(declared))

        def judge(panel, target):
            for source in (panel['datasource'], target['datasource']):
                self.assertEqual(source, {'type': 'prometheus', 'uid': '${datasource}'})
            self.assertIn('instance=~"$instance"', target['expr'])
        self.each_target(judge)


if __name__ == '__main__':
    main()
