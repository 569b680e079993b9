# SPDX-License-Identifier: Apache-2.0
"""What every suite stands on: a test case with a scratch folder, commands, waiting, and data."""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

# The distribution's tools, whatever else the caller's PATH puts before them.
os.environ['PATH'] = '/usr/sbin:/usr/bin:/sbin:/bin'

SHORT = os.environ.get('SLUICE_E2E_SHORT') == '1'
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Case(unittest.TestCase):
    """A test with a scratch folder of its own (self.tmp); whatever it opens with self.enterContext
    is closed in reverse order, also after a failure."""

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix='sluice-e2e-')
        self.addCleanup(shutil.rmtree, self.tmp, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.tmp, name)

    def need_root(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')

    def assert_runs(self, *command, timeout=120, **options):
        """Runs a command that must succeed; its stdout."""
        return run(*command, timeout=timeout, **options)


def run(*command, timeout=120, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f'{" ".join(command)}: exit {done.returncode}\n'
                             f'{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stdout


def eventually(condition, seconds=10, what='condition'):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f'{what}: not within {seconds} s')
        time.sleep(0.01)


def pattern(offset, length, seed=0):
    """Bytes as a function of their place (multiples of 512) and a seed."""
    assert offset % 512 == 0 and length % 512 == 0
    return b''.join(random.Random((seed << 40) | sector).randbytes(512)
                    for sector in range(offset // 512, (offset + length) // 512))


def write_file(path, data):
    with open(path, 'wb') as f:
        f.write(data)
    return path


def sparse_file(path, size):
    with open(path, 'wb') as f:
        f.truncate(size)
    return path


def main(seconds=280):
    """Runs the calling script's tests; ctest takes exit status 77 as skipped. Before ctest's own
    time limit strikes, the test that hangs fails, so that what it opened is cleaned up."""
    def too_long(*_):
        raise AssertionError('the suite takes too long')
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    result = unittest.main(module='__main__', exit=False, verbosity=2,
                           warnings='ignore').result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
