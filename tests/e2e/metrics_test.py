#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The HTTP door: what /metrics says of known work, health and readiness over the life of a server,
and that a hostile client costs nobody else anything."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import wire
from metrics import PROMTOOL, Metrics, fetch, http_address
from rpc import SHARED, Channel, Failed
from server import Server
from suite import Case, KIB, MIB, eventually, main, pattern, run, sparse_file
from wire import Wire, connect

HTTP = ('--http', '127.0.0.1:0')


def ask(address, data, seconds=15):
    """What the server answers to these bytes, until it closes."""
    with socket.create_connection(address, seconds) as s:
        s.sendall(data)
        answer = b''
        while piece := s.recv(1 << 16):
            answer += piece
        return answer.decode()


class Watched(Case):
    def serve(self, *arguments, **options):
        return self.enterContext(Server('serve', *HTTP, *arguments, **options))

    def serve_both_doors(self):
        server = self.serve('--nbd', '127.0.0.1:0', '--grpc', f'unix:{self.path("grpc.sock")}',
                            '--state-dir', self.path('state'), '--name', 'disk', 'memory:16MiB')
        return server, self.enterContext(Channel(server))


class Counting(Watched):
    def test_work_over_both_doors_adds_up(self):
        server, channel = self.serve_both_doors()
        session = channel.open(mode=SHARED)
        with connect(server.address) as nbd:
            for i in range(10):
                self.assertEqual(nbd.write(i * 64 * KIB, pattern(0, 4 * KIB)), 0)
            for i in range(5):
                nbd.read(0, 8 * KIB)
            self.assertEqual(nbd.call(wire.FLUSH), 0)
            self.assertEqual(nbd.call(wire.TRIM, 0, 4 * KIB), 0)
            self.assertEqual(nbd.call(wire.READ, 1 << 40, 512), wire.EINVAL)
            self.assertEqual(nbd.call(99), wire.EINVAL)
            for i in range(4):
                session.write(i * 64 * KIB, pattern(0, 4 * KIB))
            session.read(0, 4 * KIB)
            with self.assertRaisesRegex(Failed, 'OUT_OF_BOUNDS'):
                session.read(16 * MIB, 512)
            page = Metrics(server)
        nbd, grpc = ({'export': 'disk', 'volume': 'disk', 'door': door} for door in ('nbd', 'grpc'))
        for door, operation, requests, size in (
                (nbd, 'write', 10, 40 * KIB), (nbd, 'read', 6, 40 * KIB), (nbd, 'flush', 1, 0),
                (nbd, 'trim', 1, 4 * KIB), (nbd, 'unknown', 1, 0), (grpc, 'write', 4, 16 * KIB),
                (grpc, 'read', 2, 4 * KIB)):
            with self.subTest(door=door['door'], operation=operation):
                labels = dict(door, operation=operation)
                self.assertEqual(page.one('sluice_requests_total', **labels), requests)
                self.assertEqual(page.sum('sluice_request_bytes_total', **labels), size)
                self.assertEqual(page.one('sluice_request_duration_seconds_count', **labels),
                                 requests)
                self.assertEqual(page.one('sluice_request_duration_seconds_bucket', **labels,
                                          le='+Inf'), requests)
        self.assertEqual(page.one('sluice_request_errors_total', **nbd, code='EINVAL'), 2)
        self.assertEqual(page.one('sluice_request_errors_total', **grpc, code='OUT_OF_BOUNDS'), 1)
        self.assertEqual(page.sum('sluice_request_errors_total'), 3)
        self.assertEqual(page.one('sluice_export_connections', **nbd), 1)
        self.assertEqual(page.one('sluice_export_sessions', **grpc), 1)
        self.assertEqual(page.sum('sluice_inflight_requests'), 0)

        # Below, the doors are one: what they let in is what the disk was asked.
        self.assertEqual(page.one('sluice_disk_requests_total', disk='disk', operation='write'), 14)
        self.assertEqual(page.one('sluice_disk_requests_total', disk='disk', operation='read'), 6)
        self.assertEqual(page.one('sluice_disk_request_bytes_total', disk='disk',
                                  operation='write'), 56 * KIB)
        for stage in ('queue', 'dispatch', 'device', 'answer'):
            count = page.one('sluice_disk_stage_duration_seconds_count', disk='disk',
                             operation='write', stage=stage)
            self.assertEqual(count, 14, stage)
        # A request's stages are its time; over gRPC it begins and ends a little outside them.
        parts = page.sum('sluice_disk_stage_duration_seconds_sum', disk='disk', operation='write')
        whole = page.sum('sluice_request_duration_seconds_sum', operation='write')
        self.assertLess(abs(parts - whole), 0.2 * whole + 1e-4)

    def test_the_stats_service_tells_the_same(self):
        server, channel = self.serve_both_doors()
        session = channel.open(mode=SHARED)
        with connect(server.address) as client:
            for i in range(3):
                client.write(i * 4096, pattern(0, 4 * KIB))
                session.write(i * 4096, pattern(0, 4 * KIB))
            client.call(99)
            service = channel.stats
            stats = service.stub.GetStats(service.messages.GetStatsRequest()).stats
            page = Metrics(server)
        export = next(e for e in stats.exports if e.export_name == 'disk')
        for door in export.doors:
            for op in door.ops:
                name = service.messages.StatsOp.Name(op.op)[len('STATS_OP_'):].lower()
                labels = {'export': 'disk', 'door': door.door, 'operation': name}
                self.assertEqual(op.count, page.sum('sluice_requests_total', **labels), labels)
                self.assertEqual(sum(op.total.buckets), op.count)
        self.assertEqual({d.door: sum(op.count for op in d.ops) for d in export.doors},
                         {'nbd': 4, 'grpc': 3})
        self.assertEqual(export.errors, page.sum('sluice_request_errors_total'))
        disk = stats.disks[0]
        self.assertEqual(disk.runs, page.one('sluice_disk_runs_total'))
        self.assertEqual(disk.strategy, 'deadline')

    def test_riders_and_cuts_add_up(self):
        server = self.serve(sparse_file(self.path('disk.img'), 16 * MIB))
        data = pattern(0, 4 * KIB)
        with connect(server.address) as client:
            for burst in range(8):  # 16 neighbours in one send
                client.send(b''.join(
                    Wire.header(wire.WRITE, i + 1, (burst * 16 + i) * 4096, 4096) + data
                    for i in range(16)))
                for _ in range(16):
                    self.assertEqual(client.simple().error, 0)
            page = Metrics(server)
        requests = page.one('sluice_disk_requests_total', operation='write')
        runs = page.one('sluice_disk_runs_total')
        carriers = page.one('sluice_disk_carrier_requests_count')
        riders = page.one('sluice_disk_carrier_requests_sum')
        self.assertEqual(requests, 128)
        self.assertEqual(runs - carriers + riders, requests)
        self.assertGreaterEqual(page.one('sluice_disk_carrier_requests_bucket', le='+Inf'), 1)
        self.assertEqual(page.one('sluice_disk_carrier_requests_bucket', le='1023'), carriers)
        self.assertGreater(page.sum('sluice_disk_run_cuts_total'), 0)
        self.assertEqual(page.one('sluice_disk_info', strategy='deadline'), 1)
        self.assertGreater(page.sum('sluice_reactor_ring_submissions_total'), 0)

    def test_what_was_never_touched_has_no_series(self):
        server = self.serve('memory:16MiB')
        page = Metrics(server)
        for name in ('sluice_requests_total', 'sluice_disk_requests_total',
                     'sluice_request_errors_total', 'sluice_disk_stage_duration_seconds_count'):
            self.assertEqual(page.series(name), {}, name)
        with connect(server.address) as client:
            client.read(0, 512)
            page = Metrics(server)
        self.assertEqual(page.values('sluice_requests_total', 'operation'), {'read'})
        self.assertEqual(page.values('sluice_requests_total', 'door'), {'nbd'})
        self.assertEqual(page.one('sluice_build_info'), 1)
        began = page.one('process_start_time_seconds')
        self.assertLess(abs(began - time.time()), 30)

    def test_totals_never_fall_while_clients_come_and_go(self):
        server = self.serve('memory:16MiB')
        stop = threading.Event()

        def come_and_go():
            while not stop.is_set():
                with connect(server.address) as client:
                    client.write(0, bytes(512))
                    client.request(wire.READ, 1, 0, MIB)
        threads = [threading.Thread(target=come_and_go) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            before = Metrics(server)
            for _ in range(30):
                after = Metrics(server)
                for name, family in before.families.items():
                    if name.endswith(('_total', '_count', '_bucket')):
                        for labels, value in family.items():
                            self.assertGreaterEqual(after.families[name][labels], value, name)
                before = after
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        eventually(lambda: Metrics(server).one('sluice_export_connections') == 0)
        page = Metrics(server)
        self.assertEqual(page.one('sluice_inflight_requests'), 0)
        # What is answered and what was left behind is what came.
        self.assertEqual(page.sum('sluice_requests_total'),
                         page.sum('sluice_request_duration_seconds_count')
                         + page.sum('sluice_requests_dropped_total'))

    def test_an_error_of_the_disk_is_told_by_its_name(self):
        self.need_root()
        # A file system that is too small for the sparse file on it.
        os.mkdir(self.path('small'))
        run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', self.path('small'))
        self.addCleanup(run, 'umount', '-l', self.path('small'))
        image = sparse_file(self.path('small/disk.img'), 16 * MIB)
        server = self.serve(image)
        with connect(server.address) as client:
            self.assertEqual(client.write(0, bytes(MIB // 2)), 0)
            self.assertEqual(client.write(4 * MIB, bytes(2 * MIB)), wire.ENOSPC)
            page = Metrics(server)
        self.assertEqual(page.one('sluice_request_errors_total', code='ENOSPC'), 1)
        self.assertGreaterEqual(page.one('sluice_disk_errors_total', code='ENOSPC'), 1)

    def test_a_scrape_of_100_exports_is_quick(self):
        config = 'http { listen: "127.0.0.1:0" } nbd { listen: "127.0.0.1:0" }\n'
        for i in range(100):
            config += (f'disk {{ name: "d{i}" memory_bytes: 1048576 }}\n'
                       f'export {{ name: "e{i}" volume: "d{i}" }}\n')
        server = self.enterContext(Server(config=config))
        for i in range(100):
            with connect(server.address, f'e{i}') as client:
                client.write(0, bytes(4096))
                client.read(0, 4096)
                client.call(wire.FLUSH)
                client.call(wire.TRIM, 0, 4096)
        page = Metrics(server)
        self.assertEqual(page.sum('sluice_requests_total'), 400)
        self.assertEqual(len(page.values('sluice_requests_total', 'export')), 100)
        address, best = http_address(server), 1.0
        for _ in range(20):
            began = time.monotonic()
            fetch(address, '/metrics')
            best = min(best, time.monotonic() - began)
        print(f'a scrape of 100 exports: {len(page.text) >> 10} KiB, best of 20 {best * 1000:.1f}'
              ' ms with the transfer')


class Conventions(Watched):
    def test_promtool_finds_nothing(self):
        server, channel = self.serve_both_doors()
        session = channel.open(mode=SHARED)
        session.write(0, bytes(4096))
        with connect(server.address) as client:
            client.write(0, bytes(4096))
            client.call(99)
        _, text, _ = fetch(http_address(server), '/metrics')
        done = subprocess.run([PROMTOOL, 'check', 'metrics'], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ''))

    def test_every_family_is_ours_or_every_exporters(self):
        server = self.serve('memory:16MiB')
        _, text, _ = fetch(http_address(server), '/metrics')
        families = re.findall(r'^# TYPE (\S+) (\S+)$', text, re.M)
        self.assertGreater(len(families), 20)
        for name, kind in families:
            self.assertRegex(name, r'^(sluice|process)_[a-z0-9_]+$')
            self.assertEqual(name.endswith('_total'), kind == 'counter', name)
        self.assertEqual(len(families), len(re.findall(r'^# HELP \S+ \S', text, re.M)))

    def test_alert_rules_hold(self):
        here = os.path.dirname(os.path.realpath(__file__))
        rules = os.path.join(here, '../../deploy/prometheus/alerts.yml')
        run(PROMTOOL, 'check', 'rules', rules)
        os.symlink(os.path.realpath(rules), self.path('alerts.yml'))
        os.symlink(os.path.join(here, 'alerts_test.yml'), self.path('alerts_test.yml'))
        print(run(PROMTOOL, 'test', 'rules', self.path('alerts_test.yml')))


class Life(Watched):
    def test_health_and_readiness_from_start_to_drain(self):
        server = self.serve('--drain-timeout', '20', 'memory:16MiB')
        address = http_address(server)
        self.assertEqual(fetch(address, '/healthz')[:2], (200, 'ok\n'))
        self.assertEqual(fetch(address, '/readyz')[:2], (200, 'ready\n'))
        # A half-sent request keeps the drain from its end.
        client = self.enterContext(connect(server.address))
        client.write(0, bytes(512))
        client.send(Wire.header(wire.WRITE, 1, 0, 4096) + bytes(100))
        eventually(lambda: Metrics(server).one('sluice_inflight_requests') == 1)
        server.signal(signal.SIGTERM)
        eventually(lambda: fetch(address, '/readyz')[0] == 503)
        status, body, _ = fetch(address, '/readyz')
        self.assertEqual((status, body.split(':')[0]), (503, 'draining'))
        self.assertEqual(fetch(address, '/healthz')[0], 200)
        page = Metrics(server)
        self.assertEqual(page.one('sluice_draining'), 1)
        self.assertEqual(page.one('sluice_requests_total', operation='write'), 2)
        client.send(bytes(4096 - 100))
        self.assertEqual(client.simple().error, 0)
        client.close()
        self.assertEqual(server.wait(), 0)
        with self.assertRaises(OSError):
            fetch(address, '/healthz')

    def test_a_flush_that_failed_is_told_and_keeps_nobody_away(self):
        self.need_root()
        os.mkdir(self.path('small'))
        run('mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', self.path('small'))
        self.addCleanup(run, 'umount', '-l', self.path('small'))
        image = sparse_file(self.path('small/disk.img'), 16 * MIB)
        server = self.serve('--buffered', image)
        address = http_address(server)
        with connect(server.address) as client:
            # On a page-cache disk a FUA write that fails may have eaten another one's error.
            self.assertNotEqual(client.write(4 * MIB, bytes(2 * MIB), wire.FUA), 0)
            self.assertEqual(client.call(wire.FLUSH), wire.EIO)
        for path in ('/healthz', '/readyz'):
            status, body, _ = fetch(address, path)
            self.assertEqual(status, 200)
            self.assertIn('disk disk: a flush failed', body)
        self.assertEqual(Metrics(server).one('sluice_disk_flush_failed', disk='disk'), 1)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 1)

    def test_a_unix_socket_serves_as_well_and_goes(self):
        path = self.path('http.sock')
        with Server('serve', '--http', f'unix:{path}', 'memory:1MiB') as server:
            self.assertIn(f' http=unix:{path}', server.ready)
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                s.sendall(b'GET /healthz HTTP/1.1\r\n\r\n')
                self.assertIn(b'200 OK', s.recv(65536))
        self.assertFalse(os.path.exists(path))


class Hostile(Watched):
    def test_only_get_and_head_of_three_paths(self):
        address = http_address(self.serve('memory:1MiB'))
        for path in ('/metrics', '/healthz', '/readyz'):
            self.assertEqual(fetch(address, path)[0], 200)
            status, body, headers = fetch(address, path, 'HEAD')
            self.assertEqual((status, body), (200, ''))
            self.assertGreater(int(headers['Content-Length']), 0)
            for method in ('POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'):
                self.assertEqual(fetch(address, path, method)[0], 405)
        for path in ('/', '/metrics/', '/../metrics', '/metrics%00', '/debug/pprof'):
            self.assertEqual(fetch(address, path)[0], 404, path)

    def test_nonsense_costs_its_own_connection(self):
        server = self.serve('memory:1MiB')
        address = http_address(server)
        for data in (b'\0' * 100 + b'\r\n\r\n', b'GET\r\n\r\n', b'NBDMAGICIHAVEOPT\r\n\r\n',
                     b'GET /metrics HTTP/1.1\r\n' + b'X: y\r\n' * 2000, b'A' * 8192,
                     b'POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n' + b'x' * 100000):
            try:
                self.assertNotIn('200 OK', ask(address, data).split('\r\n')[0])
            except ConnectionError:
                pass  # it went on talking after its answer
            self.assertTrue(server.alive())
            self.assertEqual(fetch(address, '/healthz')[0], 200)

    def test_ranges_make_no_page_longer(self):
        address = http_address(self.serve('memory:1MiB'))
        answer = ask(address, b'GET /healthz HTTP/1.1\r\nRange: bytes=' + b'0-,' * 2000
                     + b'0-\r\n\r\n')
        self.assertTrue(answer.endswith('\r\n\r\nok\n'), answer[-200:])

    def test_slow_clients_keep_neither_a_scrape_nor_a_request_waiting(self):
        server = self.serve('memory:16MiB')
        address = http_address(server)
        slow = [self.enterContext(socket.create_connection(address)) for _ in range(64)]
        for s in slow:
            s.sendall(b'GET /metr')
        with connect(server.address) as client:
            began = time.monotonic()
            for _ in range(20):
                client.read(0, 4096)
                self.assertEqual(fetch(address, '/metrics')[0], 200)
            self.assertLess(time.monotonic() - began, 15)

    def test_a_lack_of_descriptors_ends_nothing(self):
        server = self.serve('memory:16MiB')
        address = http_address(server)
        pid = server.process.pid
        with connect(server.address) as client:
            run('prlimit', f'--pid={pid}', f'--nofile={len(os.listdir(f"/proc/{pid}/fd"))}:')
            waiting = [socket.create_connection(address, 30) for _ in range(3)]
            nbd = socket.create_connection(server.address, 30)
            time.sleep(0.5)
            client.read(0, 4096)
            run('prlimit', f'--pid={pid}', '--nofile=1024:')
            for s in waiting:
                s.sendall(b'GET /healthz HTTP/1.1\r\n\r\n')
                self.assertIn(b'200 OK', s.recv(65536))
                s.close()
            self.assertEqual(nbd.recv(8), b'NBDMAGIC')
            nbd.close()
        self.assertGreaterEqual(
            Metrics(server).one('sluice_door_accept_errors_total', door='nbd'), 1)


if __name__ == '__main__':
    main()
