#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control services: who is connected, what happens, and what outlives the process."""
import contextlib
import glob
import os
import re
import random
import threading
import time

from controlled import Controlled
from rpc import Failed, SHARED
from server import refuses
from suite import MIB, SHORT, eventually, main, write_file
from wire import Closed, connect

STRATEGIES = {'fcfs', 'disksort', 'readprio', 'priocscan', 'deadline', 'fair'}


class Sessions(Controlled):
    def test_an_nbd_client_is_seen_and_revoked(self):
        self.start()
        with connect(self.server.address, 'base') as client, \
                connect(self.server.address, 'base') as other:
            client.write(0, bytes(8192))
            client.read(0, 4096)
            other.read(0, 512)
            seen = {s.writes: s for s in self.channel.sessions.ListSessions().sessions}
            session = seen[1]
            self.assertEqual((session.reads, session.read_bytes, session.written_bytes),
                             (1, 4096, 8192))
            self.assertEqual(session.export_name, 'base')
            self.channel.sessions.RevokeSession(handle=session.handle)
            with self.assertRaises((Closed, OSError)):
                client.read(0, 512)
            other.read(0, 512)
            self.assert_fails('NOT_FOUND', self.channel.sessions.RevokeSession,
                              handle=session.handle)

    def test_a_grpc_session_is_seen_and_revoked(self):
        self.start()
        session = self.channel.open('base', client='one', mode=SHARED)
        other = self.channel.open('base', client='two', mode=SHARED)
        session.write(0, bytes(4096))
        seen = {s.client_id: s for s in self.channel.sessions.ListSessions(
            export_name='base').sessions}
        self.assertEqual((seen['one'].writes, seen['one'].written_bytes, seen['two'].writes),
                         (1, 4096, 0))
        self.assertEqual(seen['one'].epoch, session.epoch)
        self.assertGreater(seen['one'].lease_left_ms, 0)
        self.assertEqual(self.channel.exports.GetExport(name='base').export.sessions, 2)
        self.channel.sessions.RevokeSession(handle=seen['one'].handle)
        self.assert_fails('STALE_EPOCH', session.write, 0, bytes(4096))
        other.write(0, bytes(4096))

    def test_an_export_is_deleted_by_force_from_under_both_doors(self):
        self.start()
        self.add_disk('d')
        self.make_export('e', 'd')
        session = self.channel.open('e', client='one', mode=SHARED)
        session.write(0, bytes(4096))
        with connect(self.server.address, 'e') as client:
            client.write(0, bytes(4096))
            self.assert_fails('FAILED_PRECONDITION', self.channel.exports.DeleteExport, name='e')
            self.channel.exports.DeleteExport(name='e', force=True)
            with self.assertRaises((Closed, OSError)):
                client.read(0, 512)
        self.assert_fails('STALE_EPOCH', session.write, 0, bytes(4096))
        self.assert_fails('NOT_FOUND', self.channel.open, 'e', client='two')
        self.channel.disks.RemoveDisk(name='d')


class Events(Controlled):
    def watch(self, since, timeout=20):
        stats = self.channel.stats
        return stats.stub.WatchEvents(
            stats.messages.WatchEventsRequest(since_revision=since), timeout=timeout)

    def kinds(self, events):
        kind = self.channel.stats.messages.EventKind
        return [(kind.Name(e.kind)[len('EVENT_KIND_'):], e.subject) for e in events]

    def take(self, watch, count):
        events = []
        while len(events) < count:
            events += next(watch).events
        return events

    def test_what_happens_is_told_from_a_revision_on_and_over_a_restart(self):
        self.start()
        self.add_disk('d')
        revision = self.take(self.watch(1), 2)[-1].revision
        watch = self.watch(revision)
        self.make_export('e', 'd')
        with connect(self.server.address, 'e'):
            events = self.take(watch, 2)
        events += self.take(watch, 1)
        self.assertEqual([kind for kind, _ in self.kinds(events)],
                         ['EXPORT_CREATED', 'SESSION_OPENED', 'SESSION_CLOSED'])
        revisions = [event.revision for event in events]
        self.assertEqual(revisions, sorted(set(revisions)))
        again = self.take(self.watch(revision), 3)
        self.assertEqual(again, events)
        watch.cancel()
        self.restart()
        self.channel.disks.SetDepth(name='d', depth=3)
        after = self.take(self.watch(revisions[-1]), 2)
        self.assertEqual(self.kinds(after), [('GAP', ''), ('DISK_CHANGED', 'd')])
        self.assertGreater(after[1].revision, revisions[-1])

    def test_a_drain_ends_watchers_and_waiters_after_telling_them(self):
        self.start()
        watch = self.watch(0)
        self.add_disk('d')
        self.take(watch, 1)
        stats = self.channel.stats
        figures = stats.stub.WatchStats(stats.messages.WatchStatsRequest(interval_ms=100),
                                        timeout=20)
        self.assertEqual([d.disk for d in next(figures).stats.disks], ['base', 'd'])
        self.assertGreater(next(figures).stats.uptime_ns, 0)
        self.channel.server.Drain(timeout_ms=10000)
        rest = [event for message in watch for event in message.events]
        self.assertIn('DRAIN_BEGAN', [kind for kind, _ in self.kinds(rest)])
        list(figures)
        self.assertEqual(self.server.wait(20), 0)


class TheServer(Controlled):
    def test_it_tells_what_it_is(self):
        self.start()
        info = self.channel.server.GetServerInfo()
        self.assertEqual(len(info.instance), 32)
        self.assertLess(abs(info.began_unix_ns - time.time_ns()), 60 * 10**9)
        self.assertGreater(info.reactors, 0)
        self.assertFalse(info.draining)
        self.assertIn('add-path-disks', info.features)
        self.assertIn('nbd', info.features)
        self.assertNotIn('http', info.features)
        self.assertEqual(info.limits.grpc_connections, 100)
        before = info.instance
        self.assertNotEqual(self.restart().server.GetServerInfo().instance, before)

    def test_it_tells_of_its_http_door(self):
        self.start('http { listen: "127.0.0.1:0" }')
        self.assertIn('http', self.channel.server.GetServerInfo().features)

    def test_the_log_level_changes_at_once(self):
        self.start()
        self.assertEqual(self.channel.server.SetLogLevel(least=4).before, 2)
        with connect(self.server.address, 'base') as nbd:
            nbd.read(0, 512)  # it is in, and what there is to say of that was said or not
        self.assertEqual(self.channel.server.SetLogLevel(least=2).before, 4)
        self.assertNotIn('opened "base"', self.server.text())
        with connect(self.server.address, 'base'):
            eventually(lambda: 'opened "base"' in self.server.text())
        self.assert_fails('BAD_REQUEST', self.channel.server.SetLogLevel, least=0)

    def test_strategies_are_listed(self):
        self.start()
        listed = self.channel.disks.ListStrategies().strategies
        self.assertEqual({s.name for s in listed}, STRATEGIES)
        self.assertFalse(any(s.is_module for s in listed))

    def test_every_service_is_reflected_and_healthy(self):
        self.start()
        check = self.channel.channel.unary_unary('/grpc.health.v1.Health/Check')
        for name in ('Disk', 'Volume', 'Export', 'Session', 'Operation', 'Stats', 'Server'):
            service = f'sluice.v1.{name}Service'.encode()
            self.assertEqual(check(b'\x0a' + bytes([len(service)]) + service, timeout=10),
                             b'\x08\x01')
            reflect = self.channel.channel.stream_stream(
                '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo')
            listed = next(reflect(iter([b'\x3a\x00']), timeout=10))
            self.assertIn(service, listed)


class State(Controlled):
    def test_a_call_that_is_killed_was_carried_out_or_not(self):
        self.start()
        answered = set()
        for turn in range(3 if SHORT else 12):
            def make(turn=turn):
                for i in range(80):
                    name = f't{turn}-{i}'
                    self.channel.disks.AddDisk(disk={'name': name, 'memory_bytes': MIB})
                    self.channel.volumes.CreateVolume(
                        volume={'name': name + 'v', 'concat': {'leg': [name]}})
                    self.make_export(name, name + 'v')
                    answered.add(name)
                    if i > 1:
                        self.channel.exports.DeleteExport(name=f't{turn}-{i - 2}')
                        answered.discard(f't{turn}-{i - 2}')

            def make_until_killed():
                with contextlib.suppress(Failed):
                    make()
            worker = threading.Thread(target=make_until_killed)
            worker.start()
            time.sleep(random.uniform(0.02, 0.3))
            self.server.kill()
            worker.join(30)
            self.channel.channel.close()
            self.start()
            disks, volumes, exports = self.pages()
            # A delete under way may have been carried out.
            missing = {name for name in answered if name not in exports}
            self.assertLessEqual(len(missing), 1, missing)
            answered -= missing
            self.assertLessEqual({v[:-1] for v in volumes}, disks)
            self.assertLessEqual(exports - {'base'}, {v[:-1] for v in volumes})

    def pages(self):
        return ({d.spec.name for d in self.channel.disks.ListDisks(page_size=1000).disks},
                {v.spec.name for v in self.channel.volumes.ListVolumes(page_size=1000).volumes},
                {e.spec.name for e in self.channel.exports.ListExports(page_size=1000).exports})

    def state_file(self):
        return os.path.join(self.path('state'), 'served')

    def refused_with(self, text, data):
        """The server does not start over this state file, says why, and leaves it alone."""
        write_file(self.state_file(), data)
        config = write_file(self.path('config'), self.config().encode())
        status, said = refuses('--config', config)
        self.assertEqual(status, 1)
        self.assertIn(text, said)
        self.assertIn(self.state_file(), said)
        with open(self.state_file(), 'rb') as f:
            self.assertEqual(f.read(), data)
        self.assertEqual(glob.glob(self.state_file() + '*'), [self.state_file()])

    def test_a_corrupt_or_newer_state_is_refused_and_never_overwritten(self):
        self.start()
        self.add_disk('d')
        self.channel.channel.close()
        self.assertEqual(self.server.stop(), 0)
        with open(self.state_file(), 'rb') as f:
            good = f.read()
        flipped = bytearray(good)
        flipped[-3] ^= 1
        for name, text, data in (('flipped', 'corrupt', bytes(flipped)),
                                 ('cut', 'corrupt', good[:-1]), ('empty', 'corrupt', b''),
                                 ('newer', 'newer', re.sub(rb'^sluice-state \d+ ',
                                                           b'sluice-state 99 ', good))):
            with self.subTest(name):
                self.refused_with(text, data)
        write_file(self.state_file(), good)
        self.start()
        self.assertEqual(self.names()[0], ['base', 'd'])


if __name__ == '__main__':
    main()
