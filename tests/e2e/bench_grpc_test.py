#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice bench`, and the commands on data, through our server's gRPC door."""
import subprocess

from bench_test import READING, REQUESTS, SLUICE, WRITING, Relay, bench, sluice
from commands_test import contents, cure, image, text, told
from server import Server
from suite import Case, KIB, MIB, eventually, main, pattern, write_file

SIZE = 32 * MIB


class OverGrpc(Case):
    def setUp(self):
        super().setUp()
        self.socket = self.path('grpc.sock')
        self.server = self.enterContext(Server(
            'serve', '--name', 'disk', '--grpc', f'unix:{self.socket}', '--nbd', '127.0.0.1:0',
            '--state-dir', self.path('state'), '--create', str(SIZE), self.path('disk.img')))
        self.uri = f'sluice+unix:///disk?socket={self.socket}'


class Bench(OverGrpc):
    def test_every_mode_does_what_it_was_asked_for(self):
        for rw in READING + WRITING:
            found = bench(self.uri, '--rw', rw, '--destroy', '--requests', REQUESTS,
                          '--connections', 3, '--depth', 8)
            self.assertEqual((found['requests'], found['errors']), (REQUESTS, 0), rw)
            self.assertAlmostEqual(found['iops'] * found['seconds'] / REQUESTS, 1, delta=0.01)
            self.assertGreater(found['latency_us']['p50'], 0)
            self.assertGreater(found['client_cpu_us_per_request'], 0)

    def test_reads_and_writes_of_the_same_blocks_over_several_streams_are_all_done(self):
        found = bench(self.uri, '--rw', 'randrw', '--destroy', '--requests', 3 * REQUESTS,
                      '--size', '256k', '--connections', 3, '--depth', 8)
        self.assertEqual((found['requests'], found['errors']), (3 * REQUESTS, 0))

    def test_every_request_reached_the_server_once(self):
        bench(self.uri, '--rw', 'randrw', '--destroy', '--requests', REQUESTS, '--threads', 2,
              '--connections', 2)
        disk = next(iter(self.server.stats().values()))
        self.assertEqual(disk['reads'] + disk['writes'], REQUESTS)

    def test_what_was_written_verifies_through_either_door(self):
        bench(self.uri, '--rw', 'write', '--destroy', '--requests', SIZE // (64 * KIB),
              '--block-size', '64k', '--connections', 2, '--verify', '--seed', 5)
        for uri in (self.uri, self.server.uri('disk')):
            found = bench(uri, '--rw', 'randread', '--requests', 64, '--block-size', '128k',
                          '--verify', '--seed', 5)
            self.assertEqual((found['verified'], found['mismatches']), (64, 0))
        found = bench(self.uri, '--requests', 64, '--verify', '--seed', 6, status=1)
        self.assertEqual((found['verified'], found['mismatches']), (64, 64))

    def test_runs_that_change_data_read_it_back(self):
        for rw in ('randwrite', 'randrw', 'zero'):
            found = bench(self.uri, '--rw', rw, '--destroy', '--requests', REQUESTS, '--verify',
                          '--connections', 2, '--flush', '--fua')
            self.assertGreater(found['verified'], REQUESTS // 5, rw)
            self.assertEqual(found['mismatches'], 0, rw)
            self.assertLess(found['durable_iops'], found['iops'])

    def test_a_time_limit_and_large_requests(self):
        found = bench(self.uri, '--time', '300ms', '--warmup', '100ms', '--block-size', '1M',
                      '--rw', 'randwrite', '--destroy')
        self.assertGreater(found['requests'], 0)
        self.assertLess(found['seconds'], 10)

    def test_a_server_that_dies_ends_the_run_with_what_was_seen(self):
        with subprocess.Popen([SLUICE, 'bench', self.uri, '--time', '60s', '--warmup', '0'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            eventually(lambda: next(iter(self.server.stats().values()))['reads'] > 100,
                       what='requests arrive')
            self.server.kill()
            out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 1)
        self.assertIn('IOPS', out)
        self.assertNotEqual(err, '')

    def test_what_cannot_work_is_refused_with_its_cure(self):
        for words, status, says in (
                ((self.uri, '--structured'), 2, '--structured'),
                ((self.uri, '--poll', 5), 2, '--poll'),
                ((self.uri.replace('/disk', '/nix'),), 1, 'nix'),
                ((f'sluice+unix:///disk?socket={self.path("none")}',), 1, 'none'),
                (('sluice://127.0.0.1:1/disk', '--insecure-tcp'), 1, 'Connection refused')):
            with self.subTest(words):
                code, out, err = sluice('bench', *words)
                self.assertEqual((code, out), (status, ''), err)
                self.assertIn(says, err)


class Data(OverGrpc):
    def test_files_volumes_and_both_doors_copy_into_each_other(self):
        size = 8 * MIB
        data = image(self.path('source'), size)
        nbd = self.server.uri('disk')
        for there, back in ((self.uri, nbd), (nbd, self.uri), (self.uri, self.uri)):
            done = told('copy', self.path('source'), there, '--verify')
            self.assertEqual((done['bytes'], done['verified']), (size, True))
            self.assertGreaterEqual(done['zero_bytes'], size // 2)
            text('read', back, '--length', size, '--output', self.path('back'))
            self.assertEqual(contents(self.path('back')), data)
            write_file(self.path('fill'), pattern(0, size, seed=3))
            text('copy', self.path('fill'), there)
        with Server('serve', '--create', str(SIZE), self.path('other.img')) as other:
            text('copy', self.uri, other.uri(), '--verify')
            self.assertTrue(told('verify', self.uri, other.uri())['equal'])

    def test_volumes_over_grpc_are_compared_without_their_data(self):
        image(self.path('source'), SIZE)
        text('copy', self.path('source'), self.uri)
        came = []

        def count(_, piece):
            came.append(len(piece))
            return piece

        with Server('serve', '--name', 'disk', '--grpc', f'unix:{self.path("2.sock")}', '--nbd',
                    '127.0.0.1:0', '--state-dir', self.path('2'), '--create', str(SIZE),
                    self.path('2.img')) as other, \
                Relay(self.socket, self.path('relay'), count):
            mine = f'sluice+unix:///disk?socket={self.path("relay")}'
            theirs = f'sluice+unix:///disk?socket={self.path("2.sock")}'
            text('copy', self.path('source'), theirs)
            self.assertEqual(told('verify', mine, theirs),
                             {'equal': True, 'bytes': SIZE, 'first_difference': None})
            self.assertLess(sum(came), SIZE // 128)
            for at in (SIZE - 512, 5 * MIB + 512):
                text('write', '--offset', at, '--input', write_file(self.path('x'), b'x' * 512),
                     theirs)
                found = told('verify', mine, theirs, status=1)
                self.assertEqual(found, told('verify', self.server.uri('disk'), other.uri('disk'),
                                             status=1))
                self.assertEqual(found['first_difference'], at)
            self.assertLess(sum(came), SIZE // 64)

    def test_stat_and_map_tell_what_nbd_tells(self):
        image(self.path('source'), 8 * MIB)
        text('copy', self.path('source'), self.uri)
        nbd = self.server.uri('disk')
        ours, theirs = told('stat', self.uri), told('stat', nbd)
        for key in ('size_bytes', 'block_bytes', 'multiple_connections'):
            self.assertEqual(ours[key], theirs[key], key)
        self.assertEqual(set(ours), set(theirs))
        self.assertEqual(told('map', self.uri), told('map', nbd))

    def test_a_holder_keeps_others_out_until_it_is_forced(self):
        with subprocess.Popen([SLUICE, 'write', self.uri], stdin=subprocess.PIPE,
                              stderr=subprocess.PIPE) as holder:
            holder.stdin.write(b'x' * 512)
            holder.stdin.flush()
            eventually(lambda: told('session', 'list', '--server', f'unix:{self.socket}'),
                       what='the holder has it')
            self.assertIn('held', cure('write', self.uri, '--input', '/dev/null'))
            told('stat', self.uri)
            text('write', self.uri, '--input', '/dev/null', '--force')
            holder.stdin.write(b'x' * 1024)
            try:
                holder.stdin.close()
            except BrokenPipeError:
                pass
            self.assertEqual(holder.wait(60), 1)


if __name__ == '__main__':
    main()
