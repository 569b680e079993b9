#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a request costs, by counts that no load on the machine can change.

Instructions per request from the socket's bytes to the answer's stay within a tenth of those in
instructions.json, and a contiguous stream at depth 32 needs at most a tenth of a device write each.

usage: tests/bench/instructions_test.py            checks
       tests/bench/instructions_test.py --update   writes instructions.json anew; say why in the
                                                   commit that changes it
"""
import concurrent.futures
import json
import os
import sys
import unittest

import callgrind

HERE = os.path.dirname(os.path.realpath(__file__))
COMMITTED = os.path.join(HERE, 'instructions.json')
DRIVER = os.path.join(
    os.environ.get('SLUICE_BIN') or os.path.join(HERE, '../../build/release/bin'), 'path_driver')
BAND = 0.1


def measure():
    """{workload: (instructions per request, stages, counters)}; copies in libc do not count."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda w: callgrind.per_request(DRIVER, w), callgrind.WORKLOADS)
        return {workload: (round(sum(stages.values()) - stages.get('libc', 0)), stages, counters)
                for workload, (stages, counters) in zip(callgrind.WORKLOADS, found)}


class Costs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.measured = measure()
        with open(COMMITTED, encoding='utf-8') as file:
            cls.committed = json.load(file)

    def test_instructions_per_request_stay_in_their_band(self):
        self.assertEqual(set(self.committed), set(self.measured))
        for workload, (count, stages, _) in self.measured.items():
            print(workload, count, {k: round(v) for k, v in sorted(stages.items()) if v >= 1})
            with self.subTest(workload):
                expected = self.committed[workload]
                self.assertAlmostEqual(
                    count, expected, delta=BAND * expected,
                    msg='if this change is meant to: tests/bench/instructions_test.py --update')

    def test_a_contiguous_stream_at_depth_32_needs_at_most_a_tenth_of_the_writes(self):
        for workload, least, most in (('random_write', 1, 1), ('contiguous_write', 1 / 32, 0.1)):
            counters = self.measured[workload][2]
            with self.subTest(workload):
                self.assertEqual(counters['requests'], callgrind.MANY)
                ratio = counters['device_ops'] / counters['requests']
                self.assertGreaterEqual(ratio, least)
                self.assertLessEqual(ratio, most)


def update():
    counts = {workload: count for workload, (count, _, _) in measure().items()}
    with open(COMMITTED, 'w', encoding='utf-8') as file:
        json.dump(counts, file, indent=2)
        file.write('\n')


if __name__ == '__main__':
    if sys.argv[1:] == ['--update']:
        update()
    else:
        unittest.main(verbosity=2)
