#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`compare` run for real, in turns too short to say anything of speed: what it starts, reports and
leaves behind. The servers at hand are those of $PATH, which holds nbdkit and no other."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
COMPARE = os.path.join(HERE, 'compare')
BUILT = os.path.join(HERE, '../../build/release/bin')
READS, WRITES = 'null unix randread-4k-d32 x1', 'disk unix write-4k-d32 x1'


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ('tools', 'disk', 'temporary'):
            os.mkdir(os.path.join(self.folder, name))
        for tool in ('nbdkit', 'git', 'findmnt'):
            if shutil.which(tool):
                os.symlink(shutil.which(tool), os.path.join(self.folder, 'tools', tool))
        self.json = os.path.join(self.folder, 'json')
        self.report = os.path.join(self.folder, 'report')

    def start(self, *arguments):
        environment = dict(os.environ, PATH=os.path.join(self.folder, 'tools'),
                           SLUICE_BIN=os.environ.get('SLUICE_BIN') or BUILT,
                           TMPDIR=os.path.join(self.folder, 'temporary'))
        return subprocess.Popen(
            [sys.executable, COMPARE, '--contenders', '^(sluice|nbdkit|qemu-sd)$', '--disk-gib',
             '0.03', '--disk-dir', os.path.join(self.folder, 'disk'), '--json', self.json,
             '--report', self.report, *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def nothing_is_left(self):
        """No file, and no process that was told of a file of ours."""
        for folder in ('disk', 'temporary'):
            self.assertEqual(os.listdir(os.path.join(self.folder, folder)), [])
        for path in glob.glob('/proc/[0-9]*/cmdline'):
            try:
                with open(path, encoding='utf-8', errors='replace') as f:
                    self.assertNotIn(self.folder, f.read())
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended meanwhile

    def test_it_measures_what_runs_and_names_what_does_not(self):
        done = self.start('--rounds', '2', '--seconds', '0.1', '--jobs', f'^({READS}|{WRITES})$')
        output, _ = done.communicate(timeout=100)
        self.assertEqual(done.returncode, 0, output)
        with open(self.json, encoding='utf-8') as f:
            run = json.load(f)
        for key in (READS, WRITES):
            with self.subTest(cell=key):
                self.assertEqual(set(run['cells'][key]), {'sluice', 'nbdkit'}, run['unable'])
                self.assertIn('qemu-storage-daemon', run['unable'][key]['qemu-sd'])
                for metrics in run['cells'][key].values():
                    for metric in ('iops', 'p50_us', 'p99_us', 'p999_us', 'cpu_us',
                                   'client_cpu_us'):
                        self.assertEqual(len(metrics[metric]['rounds']), 2)
                        self.assertGreater(metrics[metric]['min'], 0, metric)
        ours = run['cells'][WRITES]['sluice']
        self.assertGreater(ours['durable_iops']['min'], 0)
        self.assertGreater(ours['own_device_writes']['min'], 0)
        self.assertEqual(set(run['goals']), {f'P{n}' for n in (*range(1, 16), 17)})
        with open(self.report, encoding='utf-8') as f:
            text = f.read()
        self.assertIn(f'### {READS}', text)
        self.assertIn('| qemu-sd | cannot run: ', text)
        self.nothing_is_left()

    def test_ctrl_c_ends_it_and_leaves_nothing(self):
        running = self.start('--seconds', '30', '--jobs', f'^{WRITES}$')
        self.assertIn('writing', running.stdout.readline())
        deadline = time.monotonic() + 20
        while (not glob.glob(os.path.join(self.folder, 'temporary/*/s*'))
               and time.monotonic() < deadline):
            time.sleep(0.05)  # until a server has its socket
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
        self.assertIn('compare: stopped', output)
        self.assertNotEqual(running.returncode, 0)
        self.assertFalse(os.path.exists(self.json))
        self.nothing_is_left()


if __name__ == '__main__':
    unittest.main()
