#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The comparison's own arithmetic: medians, costs, each goal met at its bound and missed past it.

The canned table meets every goal with room; a case moves one number to the bound and past it.
"""
import copy
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
sys.dont_write_bytecode = True
from comparison import contenders  # noqa: E402
from comparison import goals  # noqa: E402
from comparison import matrix  # noqa: E402
from comparison import measure  # noqa: E402
from comparison import report  # noqa: E402

OURS = {'iops': 1000, 'durable_iops': 1000, 'p50_us': 10, 'p99_us': 50, 'p999_us': 100, 'cpu_us': 2,
        'cpu_s_per_gib': 2, 'device_writes': 0.05, 'foreign_cpus': 0}
PEER = {'iops': 100, 'durable_iops': 100, 'p50_us': 100, 'p99_us': 100, 'p999_us': 200,
        'cpu_us': 30, 'cpu_s_per_gib': 30, 'device_writes': 1, 'foreign_cpus': 0}
LIMITS = {
    'limit-dev': {'iops': 500, 'p50_us': 10, 'p99_us': 20, 'cpu_us': 6, 'foreign_cpus': 0},
    'limit-wire': {'iops': 600, 'p50_us': 9, 'p99_us': 20, 'cpu_us': 1, 'cpu_s_per_gib': 2,
                   'foreign_cpus': 0},
    'limit-wire-4x8': {'iops': 600, 'cpu_us': 1, 'foreign_cpus': 0},
    'limit-ping': {'iops': 100, 'p50_us': 10, 'p99_us': 20, 'cpu_us': 1, 'foreign_cpus': 0}}
IDLE = {'wakes_per_s': 0, 'cpu_us_per_s': 0, 'kib_per_connection': 10}


def canned():
    def numbers(name):
        if contenders.ALL[name].kind == 'limit':
            return dict(LIMITS[name])
        return dict(PEER if contenders.ALL[name].kind == 'peer' else OURS)
    cells = {c.key: {name: numbers(name) for name in c.contenders} for c in matrix.full()}
    cells[goals.IDLE] = {'sluice': dict(IDLE)}
    return cells


def verdicts(cells, cpus=2):
    return {name: goals.verdict(checks)
            for name, checks in goals.evaluate(goals.Table(cells, cpus)).items()}


READ, WRITE, MIXED = matrix.D32
ASLEEP, POLLING = (goals.key('null', 'randread-4k-d1', mode=m)
                   for m in (matrix.ASLEEP, matrix.POLLING))
DISK_D1 = goals.key('disk', 'randread-4k-d1', mode=matrix.POLLING)
CONTIGUOUS = goals.key('disk', 'write-4k-d32')
# Goal, cell, contender, metric, the last number that meets the goal, the first that misses it.
CASES = [
    ('P1', goals.key('null', READ, 1), 'sluice', 'iops', 350, 349),
    ('P1', goals.key('null', READ, 4), 'sluice', 'iops', 600, 599),
    ('P1', goals.key('null', READ, 1), 'nbdkit', 'iops', 285, 286),
    ('P2', goals.key('null', READ, 1, 'tcp'), 'sluice', 'iops', 250, 249),
    ('P2', goals.key('null', READ, 4, 'tcp'), 'qemu-sd', 'iops', 400, 401),
    ('P3', goals.key('null', READ, 1), 'sluice', 'cpu_us', 2.5, 2.6),
    ('P3', goals.key('null', WRITE, 4), 'qemu-nbd', 'cpu_us', 6, 5.9),
    ('P4', goals.key('null', WRITE, 4), 'sluice', 'iops', 500, 499),
    ('P4', goals.key('null', MIXED, 1), 'sluice', 'iops', 250, 249),
    ('P5', ASLEEP, 'sluice', 'p50_us', 60, 61),
    ('P5', ASLEEP, 'sluice-asleep', 'p50_us', 12, 12.1),
    ('P5', POLLING, 'sluice', 'p50_us', 15, 15.1),
    ('P5', POLLING, 'sluice', 'cpu_us', 33, 33.1),
    ('P5', ASLEEP, 'sluice-asleep', 'cpu_us', 33, 33.1),
    ('P6', DISK_D1, 'sluice', 'p50_us', 25, 25.1),
    ('P6', POLLING, 'limit-ping', 'p50_us', 10, None),
    ('P6', DISK_D1, 'nbd-server', 'p50_us', 14.3, 14.2),
    ('P7', goals.key('disk', READ, 1), 'sluice', 'iops', 450, 449),
    ('P7', goals.key('disk', READ, 4), 'nbdkit', 'iops', 666, 667),
    ('P7', goals.key('disk', READ, 1), 'sluice', 'cpu_us', 8, 8.1),
    ('P8', goals.key('disk', WRITE, 1), 'sluice', 'durable_iops', 475, 474),
    ('P8', goals.key('disk', WRITE, 1), 'qemu-nbd', 'durable_iops', 800, 801),
    ('P8', goals.key('disk', WRITE, 4), 'nbd-server', 'durable_iops', 833, 834),
    ('P9', CONTIGUOUS, 'sluice', 'device_writes', 0.1, 0.101),
    ('P9', CONTIGUOUS, 'qemu-sd', 'device_writes', 0.5, 0.49),
    ('P10', CONTIGUOUS, 'qemu-sd', 'durable_iops', 250, 251),
    ('P10', CONTIGUOUS, 'nbdkit-cached', 'durable_iops', 500, 501),
    ('P10', CONTIGUOUS, 'limit-dev', 'iops', 666, 667),
    ('P10', CONTIGUOUS, 'sluice', 'cpu_us', 2.5, 2.6),
    ('P11', goals.key('disk', 'read-128k-d8'), 'sluice', 'iops', 475, 474),
    ('P11', goals.key('null', 'write-128k-d8', 4), 'sluice', 'iops', 480, 479),
    ('P11', goals.key('null', 'read-128k-d8', 1), 'sluice', 'cpu_s_per_gib', 2.6, 2.61),
    ('P12', goals.key('tmpfs', MIXED, 4), 'sluice', 'iops', 200, 199),
    ('P12', goals.key('tmpfs', 'write-4k-d32', 1), 'nbd-server', 'iops', 500, 501),
    ('P13', goals.key('disk', READ, mode=matrix.SAME_DEPTH), 'sluice-4x8', 'iops', 950, 949),
    ('P13', goals.key('tmpfs', MIXED, 4), 'sluice', 'iops', 950, 949),
    ('P13', goals.key('null', READ, 1, 'tcp'), 'sluice', 'iops', 1052, 1053),
    ('P14', goals.key('tmpfs', READ, 4), 'sluice', 'p99_us', 100, 101),
    ('P14', goals.key('null', READ, 1, 'tcp'), 'sluice', 'p999_us', 150, 151),
    ('P15', goals.key('memory', 'randwrite-4k-d1', mode=matrix.GATHER), 'sluice', 'p50_us', 10.2,
     10.3),
    ('P17', goals.IDLE, 'sluice', 'wakes_per_s', 0, 0.5),
    ('P17', goals.IDLE, 'sluice', 'cpu_us_per_s', 100, 101),
    ('P17', goals.IDLE, 'sluice', 'kib_per_connection', 300, 301),
]


class Goals(unittest.TestCase):
    def test_the_canned_table_meets_every_goal(self):
        self.assertEqual(set(verdicts(canned()).values()), {'met'})

    def test_each_goal_is_met_at_its_bound_and_missed_past_it(self):
        for goal, cell, name, metric, meets, misses in CASES:
            for number, verdict in ((meets, 'met'), (misses, 'not met')):
                if number is None:
                    verdict = 'not measured'
                with self.subTest(goal=goal, cell=cell, name=name, metric=metric, number=number):
                    cells = canned()
                    cells[cell][name][metric] = number
                    self.assertEqual(verdicts(cells)[goal], verdict)

    def test_every_goal_has_a_case(self):
        self.assertEqual({case[0] for case in CASES}, set(goals.GOALS))

    def test_without_a_cell_a_goal_is_not_met(self):
        for goal in goals.GOALS:
            with self.subTest(goal=goal):
                self.assertEqual(verdicts({})[goal], 'not measured')

    def test_what_is_missing_does_not_hide_a_miss(self):
        cells = canned()
        cells[goals.key('null', READ, 1)]['sluice']['iops'] = 1
        del cells[goals.key('null', READ, 4)]
        self.assertEqual(verdicts(cells)['P1'], 'not met')

    def test_where_the_worst_cell_counts_none_may_be_missing(self):
        for goal in ('P13', 'P14'):
            with self.subTest(goal=goal):
                cells = canned()
                del cells[goals.key('tmpfs', WRITE, 4)]['sluice']
                self.assertEqual(verdicts(cells)[goal], 'not measured')
                cells[goals.key('tmpfs', READ, 4)]['sluice'].update(iops=1, p99_us=1000)
                self.assertEqual(verdicts(cells)[goal], 'not met')

    def test_a_spare_cpu_raises_the_bound_of_random_reads(self):
        cells = canned()
        cells[goals.key('disk', READ, 1)]['sluice']['iops'] = 474
        self.assertEqual(verdicts(cells, cpus=2)['P7'], 'met')
        self.assertEqual(verdicts(cells, cpus=4)['P7'], 'not met')

    def test_large_requests_are_held_to_the_slower_limit(self):
        cells = canned()
        cells[goals.key('null', 'read-128k-d8')]['limit-wire']['iops'] = 400
        cells[goals.key('disk', 'read-128k-d8')]['sluice']['iops'] = 380
        self.assertEqual(verdicts(cells)['P11'], 'met')

    def test_the_best_peer_is_the_one_hardest_to_beat_in_that_metric(self):
        cells = canned()
        cell = goals.key('disk', WRITE, 1)
        cells[cell]['qemu-nbd'].update(durable_iops=200, cpu_us=40)
        cells[cell]['nbd-server'].update(durable_iops=300, cpu_us=20)
        table = goals.Table(cells, 2)
        self.assertEqual(table.best(cell, 'durable_iops'), ('nbd-server', 300))
        self.assertEqual(table.best(cell, 'durable_iops', contenders.DIRECT_PEERS),
                         ('qemu-nbd', 200))
        self.assertEqual(table.best(cell, 'cpu_us'), ('nbd-server', 20))
        self.assertEqual(goals.Table({}, 2).best(cell), (None, None))


class Arithmetic(unittest.TestCase):
    def test_a_summary_is_the_median_and_the_extremes_of_what_was_measured(self):
        self.assertEqual(goals.summary([3, None, 1, 2]),
                         {'median': 2, 'min': 1, 'max': 3, 'rounds': [3, 1, 2]})
        self.assertEqual(goals.summary([1, 4])['median'], 2.5)
        self.assertIsNone(goals.summary([None]))

    def test_a_ratio_to_nothing_does_not_exist(self):
        self.assertEqual(goals.ratio(6, 3), 2)
        self.assertIsNone(goals.ratio(6, 0))
        self.assertIsNone(goals.ratio(None, 3))

    def test_costs_are_differences_between_the_ends_of_a_run(self):
        before = measure.Sample(at=10, server=1, busy=100, clients=5, own=2, device=(7, 70))
        after = measure.Sample(at=12, server=1.5, busy=103, clients=6, own=2.5, device=(7, 170))
        costs = measure.costs(before, after, requests=1000, block_size=1 << 20)
        self.assertAlmostEqual(costs['cpu_us'], 500)
        self.assertAlmostEqual(costs['cpu_s_per_gib'], 0.512)
        self.assertAlmostEqual(costs['foreign_cpus'], 0.5)
        self.assertAlmostEqual(costs['device_writes'], 0.1)
        self.assertEqual(costs['device_reads'], 0)

    def test_own_device_writes_are_of_the_run_alone(self):
        self.assertEqual(measure.own_device_writes({'writes': 100, 'device_writes': 100},
                                                   {'writes': 300, 'device_writes': 120}), 0.1)
        self.assertIsNone(measure.own_device_writes({}, {}))

    def test_cpu_of_a_process_counts_its_children_dead_or_alive(self):
        pid = os.getpid()
        began = measure.tree_cpu_s(pid)
        child = os.fork()
        if child == 0:
            while measure.own_cpu_s(os.getpid()) < 0.2:
                pass
            os._exit(0)
        os.waitpid(child, 0)
        self.assertGreater(measure.tree_cpu_s(pid) - began, 0.17)


class Matrix(unittest.TestCase):
    def test_the_quick_cells_are_cells_of_the_full_run(self):
        self.assertEqual({c.key for c in matrix.quick()}, set(matrix.QUICK))

    def test_no_two_cells_share_a_key(self):
        keys = [c.key for c in matrix.full()]
        self.assertEqual(len(keys), len(set(keys)))


class Report(unittest.TestCase):
    def run_of(self, cells, unable):
        summaries = {key: {name: {m: goals.summary([v]) for m, v in metrics.items()}
                           for name, metrics in cell.items()} for key, cell in cells.items()}
        checks = goals.evaluate(goals.Table(copy.deepcopy(cells), 2))
        return {'machine': {'cpus': 2, 'model': 'm', 'kernel': 'k', 'disk': 'd'},
                'versions': {'sluice': '1'}, 'began': '2026-01-01T00:00:00', 'seconds': 1,
                'options': {'rounds': 3, 'seconds': 1}, 'cells': summaries, 'unable': unable,
                'goals': {name: {'verdict': goals.verdict(list_), 'checks': [
                    {'basis': c.basis, 'measured': c.measured, 'met': c.met} for c in list_]}
                    for name, list_ in checks.items()}}

    def test_a_peer_that_cannot_run_is_named_with_its_reason(self):
        cells, cell = canned(), goals.key('null', READ, 1)
        del cells[cell]['nbdkit']
        text = report.markdown(self.run_of(cells, {cell: {'nbdkit': 'no such\nplug|in'}}))
        self.assertIn('| nbdkit | cannot run: no such plug/in |', text)

    def test_noisy_cells_are_counted(self):
        cells, cell = canned(), goals.key('null', READ, 1)
        cells[cell]['sluice']['foreign_cpus'] = 0.5
        run = self.run_of(cells, {})
        self.assertEqual(report.noisy(run), [f'{cell} sluice'])

    def test_the_summary_names_each_goal_once(self):
        summary = report.goals_summary(self.run_of(canned(), {}))
        self.assertEqual(summary, 'met: ' + ' '.join(goals.GOALS))


if __name__ == '__main__':
    unittest.main()
