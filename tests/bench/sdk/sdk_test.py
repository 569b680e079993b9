#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The SDK under load over both doors of one server: that sdk_load runs and counts. With --measure
SECONDS it prints the table instead, the doors in turns, three times each."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

BIN = os.environ.get('SLUICE_BIN') or os.path.join(
    os.path.dirname(os.path.realpath(__file__)), '../../../build/release/bin')
LOADS = (('write', 4096, 64), ('read', 4096, 64), ('write', 65536, 32), ('read', 65536, 32),
         ('write', 4096, 1), ('read', 4096, 1))
OUTPUT = re.compile(r'(\d+) ops/s (\d+) MB/s p50 (\d+) us p99 (\d+) us '
                    r'client ([\d.]+) us/op server ([\d.]+) us/op\n')


class Server:
    """A null export behind both doors, on unix sockets."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        nbd, grpc = self.folder.name + '/nbd', self.folder.name + '/grpc'
        self.process = subprocess.Popen(
            [os.path.join(BIN, 'sluiced'), 'serve', '--name', 'disk', '--nbd', 'unix:' + nbd,
             '--grpc', 'unix:' + grpc, '--state-dir', self.folder.name + '/state', 'null:1GiB'],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.process.stdout.readline()
        self.doors = {'NBD': f'nbd+unix:///disk?socket={nbd}',
                      'gRPC': f'sluice+unix:///disk?socket={grpc}'}
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.stdout.close()
        self.process.wait()
        self.folder.cleanup()

    def load(self, door, kind, size, depth, seconds):
        run = subprocess.run(
            [os.path.join(BIN, 'sdk_load'), self.doors[door], kind, str(size), str(depth),
             str(seconds), '1', str(self.process.pid)],
            stdout=subprocess.PIPE, text=True, check=True, timeout=120)
        return [float(x) for x in OUTPUT.fullmatch(run.stdout).groups()]


class Load(unittest.TestCase):
    def test_both_doors_are_loaded_and_counted(self):
        with Server() as server:
            for door in server.doors:
                for kind, size, depth in LOADS[:3]:
                    ops, _, p50, p99, client, _ = server.load(door, kind, size, depth, 0.2)
                    self.assertGreater(ops, 0)
                    self.assertLessEqual(p50, p99)
                    self.assertGreater(client, 0)


def measure(seconds):
    print('| load | door | ops/s | MB/s | p50, us | client, us/op | server, us/op | CPU to NBD |')
    print('| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |')
    with Server() as server:
        for kind, size, depth in LOADS:
            runs = {door: [] for door in server.doors}
            for _ in range(3):
                for door, rows in runs.items():
                    rows.append(server.load(door, kind, size, depth, seconds))
            best = {door: min(rows, key=lambda row: row[4] + row[5])
                    for door, rows in runs.items()}
            spent = {door: row[4] + row[5] for door, row in best.items()}
            for door, (ops, mb, p50, _, client, at_server) in best.items():
                print(f'| {kind} {size} x{depth} | {door} | {ops:.0f} | {mb:.0f} | {p50:.0f} | '
                      f'{client:.2f} | {at_server:.2f} | {spent[door] / spent["NBD"]:.1f} |')


if __name__ == '__main__':
    if len(sys.argv) == 3 and sys.argv[1] == '--measure':
        measure(float(sys.argv[2]))
    else:
        unittest.main()
