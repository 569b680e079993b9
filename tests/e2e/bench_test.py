#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice bench` against our server, nbdkit and qemu-nbd, and against servers that misbehave."""
import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import threading

from server import BINARY, REPORTS, Server
from suite import Case, KIB, MIB, SHORT, eventually, main, sparse_file

SLUICE = os.path.join(os.path.dirname(BINARY), 'sluice')
SIZE = 32 * MIB
READING = ('randread', 'read')
WRITING = ('randwrite', 'write', 'randrw', 'rw', 'randtrim', 'trim', 'randzero', 'zero')
REQUESTS = 500 if SHORT else 5000
KEYS = {'uri', 'rw', 'read_percent', 'block_size', 'depth', 'connections', 'seconds', 'requests',
        'errors', 'iops', 'bytes_per_second', 'durable_iops', 'latency_us',
        'client_cpu_us_per_request', 'verified', 'mismatches', 'histogram'}


def sluice(*arguments, timeout=60):
    """(exit status, stdout, stderr) of `sluice ARGUMENTS`; a sanitizer's report fails the test."""
    done = subprocess.run([SLUICE, *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)
    if REPORTS.search(done.stderr):
        raise AssertionError(done.stderr[-3000:])
    return done.returncode, done.stdout, done.stderr


def bench(uri, *arguments, status=0):
    """The JSON of a run that must end with `status`."""
    code, out, err = sluice('bench', uri, '--json', *arguments)
    if code != status:
        raise AssertionError(f'sluice bench {arguments}: exit {code}, not {status}\n{out}{err}')
    return json.loads(out)


@contextlib.contextmanager
def command(path, *words):
    """A server that listens on the unix socket `path`."""
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        def answers():
            with socket.socket(socket.AF_UNIX) as s:
                return s.connect_ex(path) == 0
        try:
            eventually(answers, what=f'{words[0]} listens')
            yield f'nbd+unix:///?socket={path}'
        finally:
            process.terminate()


def nbdkit(path, *words):
    return command(path, 'nbdkit', '-f', '-U', path, *words)


class Relay(threading.Thread):
    """Stands between client and server; `change(position, bytes)` sees all that the server sends
    on a connection, returns it, changed or cut; None: the connection ends here."""

    def __init__(self, address, path, change):
        super().__init__(daemon=True)
        self.address, self.change = address, change
        self.uri = f'nbd+unix:///?socket={path}'
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
                server = socket.socket(family)
                server.connect(self.address)
                for pump in (self.upwards, self.downwards):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    @staticmethod
    def upwards(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def downwards(self, client, server):
        position = 0
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                changed = self.change(position, bytearray(data))
                if changed is None:
                    break
                position += len(data)
                client.sendall(changed)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
            server.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def flip(at):
    def change(position, data):
        if position <= at < position + len(data):
            data[at - position] ^= 0xff
        return data
    return change


class AgainstAServer:
    """What holds for any server; each subclass below is one."""

    def setUp(self):
        super().setUp()
        self.uri = self.enterContext(self.serve())

    def test_every_mode_sends_so_many_requests_and_tells_of_them_in_json(self):
        for rw in READING + WRITING:
            told = bench(self.uri, '--rw', rw, '--destroy', '--requests', REQUESTS, '--connections',
                         3, '--threads', 2, '--depth', 8)
            self.assertEqual(set(told), KEYS)
            self.assertEqual((told['rw'], told['uri']), (rw, self.uri))
            self.assertEqual((told['block_size'], told['depth'], told['connections']), (4096, 8, 3))
            self.assertEqual((told['requests'], told['errors']), (REQUESTS, 0), rw)
            self.assertEqual(sum(bar['count'] for bar in told['histogram']), REQUESTS)
            self.assertAlmostEqual(told['iops'] * told['seconds'] / REQUESTS, 1, delta=0.01)
            self.assertAlmostEqual(told['bytes_per_second'] / told['iops'], 4096, delta=1)
            at = told['latency_us']
            steps = [0, at['p50'], at['p90'], at['p99'], at['p99.9'], at['max']]
            self.assertEqual(steps, sorted(steps))
            self.assertLessEqual(at['mean'], at['max'])
            self.assertGreater(told['client_cpu_us_per_request'], 0)
            self.assertIsNone(told['durable_iops'])

    def test_what_was_written_verifies_with_simple_and_structured_replies(self):
        for more in ([], ['--structured']):
            bench(self.uri, '--rw', 'write', '--destroy', '--requests', SIZE // (64 * KIB),
                  '--block-size', '64k', '--connections', 2, '--verify', '--seed', 5, *more)
            for rw, block_size in (('read', '4k'), ('randread', '128k'), ('randread', '2M')):
                told = bench(self.uri, '--rw', rw, '--requests', 64, '--block-size', block_size,
                             '--connections', 2, '--verify', '--seed', 5, *more)
                self.assertEqual((told['verified'], told['mismatches']), (64, 0))
            told = bench(self.uri, '--requests', 64, '--verify', '--seed', 6, *more, status=1)
            self.assertEqual((told['verified'], told['mismatches']), (64, 64))

    def test_runs_that_change_data_read_it_back(self):
        for rw in ('randwrite', 'write', 'randrw', 'rw', 'randzero', 'zero'):
            told = bench(self.uri, '--rw', rw, '--destroy', '--requests', REQUESTS, '--verify',
                         '--connections', 2, '--structured')
            self.assertGreater(told['verified'], REQUESTS // 5, rw)
            self.assertEqual(told['mismatches'], 0, rw)

    def test_durable_iops_hold_the_final_flush(self):
        told = bench(self.uri, '--rw', 'randwrite', '--destroy', '--flush', '--fua', '--requests',
                     REQUESTS // 10)
        self.assertGreater(told['durable_iops'], 0)
        self.assertLess(told['durable_iops'], told['iops'])

    def test_large_requests_of_both_kinds_at_once(self):
        told = bench(self.uri, '--rw', 'randrw', '--read-percent', 50, '--destroy', '--block-size',
                     '4M', '--depth', 16, '--connections', 2, '--requests', 48, '--verify')
        self.assertEqual((told['requests'], told['errors'], told['mismatches']), (48, 0, 0))

    def test_polling_and_a_time_limit(self):
        told = bench(self.uri, '--time', '300ms', '--warmup', '100ms', '--poll', 100, '--depth', 1,
                     '--connections', 2)
        self.assertGreater(told['requests'], 100)
        self.assertGreater(told['seconds'], 0.25)
        self.assertLess(told['seconds'], 10)


class Ours(AgainstAServer, Case):
    @contextlib.contextmanager
    def serve(self):
        with Server('serve', '--create', str(SIZE), self.path('disk.img')) as self.server:
            yield self.server.uri()

    def test_every_request_reached_the_server_once(self):
        bench(self.uri, '--rw', 'randrw', '--destroy', '--requests', REQUESTS)
        disk = next(iter(self.server.stats().values()))
        self.assertEqual(disk['reads'] + disk['writes'], REQUESTS)


class Nbdkit(AgainstAServer, Case):
    def serve(self):
        return nbdkit(self.path('s'), 'memory', str(SIZE))


class QemuNbd(AgainstAServer, Case):
    def serve(self):
        image = sparse_file(self.path('disk.img'), SIZE)
        path = self.path('s')
        return command(path, 'qemu-nbd', '-t', '-e', '0', '-f', 'raw', '-k', path, image)


class Misbehaving(Case):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(Server('serve', f'memory:{SIZE}'))
        self.uri = self.server.uri()

    def relay(self, change):
        return self.enterContext(Relay(self.server.address, self.path('relay'), change)).uri

    def test_verify_catches_one_byte_that_changed_on_the_way(self):
        bench(self.uri, '--rw', 'write', '--destroy', '--requests', SIZE // MIB, '--block-size',
              '1M', '--verify')
        bad = self.relay(flip(5 * MIB + 500_000))  # in the sixth block's data
        told = bench(bad, '--rw', 'read', '--requests', 16, '--block-size', '1M', '--depth', 1,
                     '--verify', status=1)
        self.assertEqual((told['verified'], told['mismatches'], told['errors']), (16, 1, 0))
        _, _, err = sluice('bench', bad, '--rw', 'read', '--requests', 16, '--block-size', '1M',
                           '--depth', 1, '--verify')
        self.assertIn(f'offset {5 * MIB}', err)

    def test_bytes_that_are_no_replies_end_the_run(self):
        def garbage(position, data):
            return bytearray(len(data)) if position > 100_000 else data
        code, out, err = sluice('bench', self.relay(garbage), '--time', '20s', '--json')
        self.assertEqual(code, 1)
        self.assertIn('the server breaks the protocol', err)
        self.assertEqual(json.loads(out)['errors'], 0)

    def test_a_lost_connection_ends_the_run_with_what_was_seen(self):
        def cut(position, data):
            return None if position > 1_000_000 else data
        code, out, err = sluice('bench', self.relay(cut), '--time', '20s', '--warmup', '0',
                                '--connections', 2)
        self.assertEqual(code, 1)
        self.assertIn('the server closed the connection', err)
        self.assertIn('IOPS', out)

    def test_a_server_that_falls_silent_is_given_up(self):
        def swallow(position, data):
            return bytearray() if position > 100_000 else data
        code, _, err = sluice('bench', self.relay(swallow), '--time', '20s', '--timeout', '1s')
        self.assertEqual(code, 1)
        self.assertIn('no reply for 1 s', err)

    def test_errors_are_counted_by_code_and_fail_the_run(self):
        with nbdkit(self.path('s'), '--filter=error', 'memory', str(SIZE),
                    'error-pread=EIO', 'error-pread-rate=100%') as uri:
            for structured in ([], ['--structured']):
                told = bench(uri, '--requests', 200, *structured, status=1)
                self.assertEqual((told['requests'], told['errors']), (200, 200))
                self.assertEqual((told['iops'], told['bytes_per_second']), (0, 0))
                _, _, err = sluice('bench', uri, '--requests', 200, *structured)
                self.assertIn('200 requests failed: EIO (5) 200 times', err)


class Command(Case):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(Server('serve', f'memory:{SIZE}'))
        self.uri = self.server.uri()

    def refused(self, *arguments, status):
        code, out, err = sluice('bench', *arguments)
        self.assertEqual((code, out), (status, ''), err)
        return err

    def test_nothing_is_overwritten_without_destroy(self):
        for rw in WRITING:
            self.assertIn('--destroy', self.refused(self.uri, '--rw', rw, status=2))
        disk = next(iter(self.server.stats().values()))
        self.assertEqual(disk['writes'], 0)

    def test_what_cannot_work_is_refused_with_its_cure(self):
        self.assertIn('no export "nix"', self.refused(self.server.uri('nix'), status=1))
        self.assertIn('is the server up?',
                      self.refused('nbd+unix:///?socket=/nowhere/s', status=1))
        self.assertIn('nbd://', self.refused('127.0.0.1:10809', status=2))
        self.assertIn('--help', self.refused('--no-such', self.uri, status=2))
        with Server('serve', '--readonly', f'memory:{SIZE}') as server:
            err = self.refused(server.uri(), '--rw', 'write', '--destroy', status=1)
            self.assertIn('read-only', err)

    def test_the_table_and_the_histogram(self):
        code, out, err = sluice('bench', self.uri, '--requests', 300, '--histogram')
        self.assertEqual((code, err), (0, ''))
        for word in ('randread', '4 KiB', 'depth 32', '1 connection', 'IOPS', 'MB/s', 'p50', 'p90',
                     'p99', 'p99.9', 'max', 'mean', 'µs of CPU a request', '█'):
            self.assertIn(word, out)

    def test_progress_is_for_terminals(self):
        ours, theirs = pty.openpty()
        with subprocess.Popen([SLUICE, 'bench', self.uri, '--time', '1200ms', '--warmup', '0'],
                              stdout=subprocess.PIPE, stderr=theirs) as process:
            process.communicate(timeout=60)
        os.close(theirs)
        line = os.read(ours, 4096).decode()
        os.close(ours)
        self.assertRegex(line, r'run +\d\.\d s of 1\.2 +\d+ IOPS +\d+\.\d MB/s')
        _, _, err = sluice('bench', self.uri, '--time', '1200ms', '--warmup', '0')
        self.assertEqual(err, '')

    def test_ctrl_c_prints_what_was_seen_so_far(self):
        with subprocess.Popen([SLUICE, 'bench', self.uri, '--time', '60s', '--warmup', '0'],
                              stdout=subprocess.PIPE, text=True) as process:
            eventually(lambda: next(iter(self.server.stats().values()))['reads'] > 100,
                       what='requests arrive')
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertIn(', interrupted', out)
        self.assertIn('p99.9', out)

    def test_help_and_version(self):
        self.assertRegex(sluice('--version')[1], r'^sluice \d+\.\d+\.\d+\n$')
        self.assertIn('bench', sluice('--help')[1])
        self.assertIn('--block-size', sluice('bench', '--help')[1])


if __name__ == '__main__':
    main()
