#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control services: what is served is made, changed and taken away while it is served."""
import os
import subprocess
import threading
import time

from controlled import Controlled
from rpc import Channel, Failed, SHARED
from server import Server, refuses
from suite import MIB, SHORT, eventually, main, pattern, run, sparse_file, write_file
from wire import connect

DONE = 2  # an OperationState
STRATEGIES = ('fcfs', 'disksort', 'readprio', 'priocscan', 'deadline', 'fair')


class MadeAtRunTime(Controlled):
    def make_stripe(self):
        self.add_disk('d0')
        self.add_disk('d1')
        volume = self.channel.volumes.CreateVolume(volume={
            'name': 'fast', 'stripe': {'chunk_bytes': 65536, 'leg': ['d0', 'd1']}}).volume
        self.assertEqual(volume.size_bytes, 32 * MIB)
        self.make_export('fast', 'fast')

    def test_a_stripe_outlives_a_restart_with_its_data(self):
        self.start()
        self.make_stripe()
        image = write_file(self.path('image'), pattern(0, 32 * MIB // 8) * 8)
        run('nbdcopy', '--flush', image, self.server.uri('fast'))
        before = self.names()
        self.restart()
        self.assertEqual(self.names(), before)
        self.assertTrue(self.channel.volumes.GetVolume(name='fast').volume.made_at_run_time)
        self.assertFalse(self.channel.disks.GetDisk(name='base').disk.added_at_run_time)
        run('nbdcopy', self.server.uri('fast'), self.path('back'))
        run('cmp', image, self.path('back'))

    def test_it_is_taken_away_in_the_order_in_which_it_stands(self):
        self.start()
        self.make_stripe()
        disks, volumes, exports = (self.channel.disks, self.channel.volumes,
                                   self.channel.exports)
        self.assert_fails('FAILED_PRECONDITION', disks.RemoveDisk, name='d0', text='"fast"')
        self.assert_fails('FAILED_PRECONDITION', volumes.DeleteVolume, name='fast', text='"fast"')
        with connect(self.server.address, 'fast') as nbd:
            nbd.read(0, 512)  # it is in
            self.assert_fails('FAILED_PRECONDITION', exports.DeleteExport, name='fast',
                              text='127.0.0.1')
        eventually(lambda: not self.channel.sessions.ListSessions().sessions)
        exports.DeleteExport(name='fast')
        volumes.DeleteVolume(name='fast')
        disks.RemoveDisk(name='d0')
        disks.RemoveDisk(name='d1')
        self.assert_fails('FAILED_PRECONDITION', disks.RemoveDisk, name='base', text='config file')
        self.assertEqual(self.names(), (['base'], [], ['base']))
        self.restart()
        self.assertEqual(self.names(), (['base'], [], ['base']))

    def test_what_lies_behind_a_leg_stays_whatever_becomes_of_the_legs_file(self):
        declared = (f'disk {{ name: "a" path: "{sparse_file(self.path("a"), 4 * MIB)}" }}'
                    f'disk {{ name: "b" path: "{sparse_file(self.path("b"), 4 * MIB)}" }}'
                    'volume { name: "v" concat { leg: "a" leg: "b" } }'
                    'export { name: "v" volume: "v" }')
        self.start(declared)
        self.add_disk('c', 4 * MIB)
        self.add_disk('d', 4 * MIB)
        self.channel.volumes.CreateVolume(
            volume={'name': 'w', 'concat': {'leg': ['c', 'd']}})
        self.make_export('w', 'w')
        data = pattern(0, MIB)
        for export in ('v', 'w'):
            with connect(self.server.address, export) as nbd:
                self.assertEqual(nbd.write(4 * MIB, data), 0)
        files = (self.path('a'), self.disk_path('c'))
        self.assertEqual(self.server.stop(), 0)
        for file in files:
            os.truncate(file, 5 * MIB)
        self.start(declared)
        for export in ('v', 'w'):
            with connect(self.server.address, export) as nbd:
                self.assertEqual(nbd.read(4 * MIB, MIB), data, export)
        self.assertEqual(self.server.stop(), 0)
        for file, leg in zip(files, ('a', 'c')):
            os.truncate(file, 3 * MIB)
            status, error = refuses('--config', write_file(
                self.path('config'), self.config(declared).encode()))
            self.assertEqual(status, 1)
            self.assertIn(f'leg_bytes: "{leg}" has 3145728 bytes, less than the 4194304', error)
            self.assertIn('make it as long as it was', error)
            os.truncate(file, 4 * MIB)
        self.start(declared)

    def legs_grow(self, size):
        for leg in 'abc':
            os.truncate(self.path(leg), size)

    def declared(self, concat, name='v'):
        disks = ''.join(f'disk {{ name: "{leg}" path: "{self.path(leg)}" }}' for leg in 'abc')
        return disks + (f'volume {{ name: "{name}" concat {{ {concat} }} }}'
                        f'export {{ name: "v" volume: "{name}" }}')

    def test_every_byte_stays_where_it_was_whatever_a_config_leaves_out(self):
        for leg in 'abc':
            sparse_file(self.path(leg), 4 * MIB)
        legs = 'leg: "a" leg: "b" leg: "c"'
        said = f'leg_bytes: {4 * MIB}'
        data = write_file(self.path('image'), pattern(0, 12 * MIB // 8) * 8)
        self.start(self.declared(legs))
        run('nbdcopy', '--flush', data, self.server.uri('v'))
        self.assertEqual(self.server.stop(), 0)
        self.start()  # without the volume
        self.assertEqual(self.server.stop(), 0)
        for size, declared in ((5, self.declared(f'{legs} {said}')), (6, self.declared(legs)),
                               (7, self.declared(legs, name='w'))):
            self.legs_grow(size * MIB)
            self.start(declared)
            run('nbdcopy', self.server.uri('v'), self.path('back'))
            run('cmp', '-n', str(12 * MIB), data, self.path('back'))
            self.assertEqual(self.server.stop(), 0)
        self.assertIn('volume "w": has the legs that "v" had', self.server.text())

    def test_legs_in_another_order_are_refused_until_all_leg_bytes_are_said(self):
        for leg in 'abc':
            sparse_file(self.path(leg), 4 * MIB)
        self.start(self.declared('leg: "a" leg: "b" leg: "c"'))
        self.assertEqual(self.server.stop(), 0)
        self.legs_grow(5 * MIB)
        other = 'leg: "b" leg: "a" leg: "c"'
        for concat in (other, f'{other} leg_bytes: {4 * MIB}'):
            status, error = refuses('--config', write_file(
                self.path('config'), self.config(self.declared(concat)).encode()))
            self.assertEqual(status, 1)
            self.assertIn('volume "v": leg: "b" stands where "a" stood', error)
            self.assertIn('it had leg_bytes: [4194304, 4194304]', error)
        self.start(self.declared(f'{other} leg_bytes: [4194304, 4194304]'))
        self.assertIn('"b" stands where "a" stood', self.server.text())

    def test_a_request_id_is_carried_out_once_and_an_old_etag_never(self):
        self.start()
        first = self.add_disk('d', request_id='one')
        self.channel.disks.RemoveDisk(name='d')
        self.assertEqual(self.add_disk('d', request_id='one'), first)
        self.assert_fails('NOT_FOUND', self.channel.disks.GetDisk, name='d')
        self.assert_fails('BAD_REQUEST', self.add_disk, 'other', request_id='one')
        old = self.channel.disks.GetDisk(name='base').disk.etag
        new = self.channel.disks.SetDepth(name='base', depth=7, etag=old).disk
        self.assertEqual(new.depth, 7)
        self.assert_fails('CONFLICT', self.channel.disks.SetDepth, name='base', depth=9, etag=old)
        self.assertEqual(self.channel.disks.GetDisk(name='base').disk, new)

    def test_an_export_is_updated_while_nobody_has_it_open(self):
        self.start()
        self.add_disk('d')
        self.make_export('e', 'd')
        changed = self.channel.exports.UpdateExport(name='e', read_only=True, description='x',
                                                    weight=5).export
        self.assertEqual((changed.spec.read_only, changed.spec.description, changed.spec.weight,
                          changed.spec.priority), (True, 'x', 5, 1))
        with connect(self.server.address, 'e') as nbd:
            nbd.read(0, 512)  # it is in
            self.assert_fails('FAILED_PRECONDITION', self.channel.exports.UpdateExport, name='e',
                              read_only=False)
        self.restart()
        self.assertEqual(self.channel.exports.GetExport(name='e').export.spec, changed.spec)

    def test_lists_come_in_pages(self):
        self.start()
        for i in range(5):
            self.channel.disks.AddDisk(disk={'name': f'm{i}', 'memory_bytes': MIB})
        seen, token = [], ''
        while True:
            page = self.channel.disks.ListDisks(page_size=2, page_token=token)
            self.assertLessEqual(len(page.disks), 2)
            seen += [disk.spec.name for disk in page.disks]
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(seen, ['base', 'm0', 'm1', 'm2', 'm3', 'm4'])
        self.assert_fails('BAD_REQUEST', self.channel.disks.ListDisks, page_size=1001)


class Roots(Controlled):
    def test_no_way_leads_out_of_the_roots(self):
        self.start()
        outside = self.path('outside')
        os.mkdir(outside)
        sparse_file(os.path.join(outside, 'there'), MIB)
        os.symlink(outside, self.disk_path('way'))
        os.symlink(os.path.join(outside, 'new'), self.disk_path('dangling'))
        for path in (os.path.join(outside, 'there'), self.disk_path('way/there'),
                     self.disk_path('../outside/there'), self.disk_path('..'), self.roots,
                     'disks/there', '/etc/passwd', '/dev/mem'):
            with self.subTest(path):
                self.assert_fails('DENIED', self.channel.disks.AddDisk,
                                  disk={'name': 'd', 'path': path})
        with self.assertRaises(Failed):
            self.channel.disks.AddDisk(disk={
                'name': 'd', 'path': self.disk_path('dangling'), 'create_bytes': MIB})
        self.assertFalse(os.path.exists(os.path.join(outside, 'new')))
        self.assertEqual(self.names()[0], ['base'])

    def test_without_roots_no_file_is_added(self):
        config = self.config().replace(f'disk_roots: "{self.roots}"', '')
        with Server(config=config) as server, Channel(server) as self.channel:
            self.assert_fails('DENIED', self.add_disk, 'd', text='disk_roots')


class Load:
    """fio that writes and verifies an export until it is over; leaving the block checks it."""

    def __init__(self, uri, seconds):
        self.process = subprocess.Popen(
            ['fio', '--name=load', '--ioengine=nbd', f'--uri={uri}', '--rw=randwrite', '--bs=4k',
             '--size=8M', '--iodepth=32', '--verify=crc32c', '--verify_backlog=256',
             '--time_based', f'--runtime={seconds}', '--verify_state_save=0'],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def running(self):
        return self.process.poll() is None

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed:
            self.process.kill()
        output, _ = self.process.communicate(timeout=60)
        if not failed and self.process.returncode != 0:
            raise AssertionError(output[-3000:])


class UnderLoad(Controlled):
    def test_strategy_and_depth_change_and_disks_come_while_data_stay_right(self):
        self.start()
        self.add_disk('d')
        self.make_export('e', 'd')
        rounds = 0
        with Load(self.server.uri('e'), 2 if SHORT else 6) as load:
            while load.running():
                rounds += 1
                strategy = STRATEGIES[rounds % len(STRATEGIES)]
                swapped = self.channel.disks.SwapStrategy(name='d', strategy=strategy).disk
                self.assertEqual(swapped.strategy, strategy)
                depth = 1 + rounds * 7 % 64
                self.assertEqual(self.channel.disks.SetDepth(name='d', depth=depth).disk.depth,
                                 depth)
                new = f'new{rounds}'
                self.add_disk(new, MIB)
                self.make_export(new, new)
                with connect(self.server.address, new) as client:
                    client.write(0, bytes(4096))
                self.channel.exports.DeleteExport(name=new, force=True)
                self.channel.disks.RemoveDisk(name=new)
                time.sleep(0.02)
        self.assertGreater(rounds, 5)

    def test_a_disk_is_drained_under_load_and_removed(self):
        self.start()
        self.add_disk('d')
        self.make_export('e', 'd')
        errors = []

        def write():
            with connect(self.server.address, 'e') as client:
                while not errors:
                    error = client.call(1, 0, 4096, payload=bytes(4096))
                    if error:
                        errors.append(error)
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.2)
        operation = self.channel.disks.DrainDisk(name='d').operation
        ended = self.channel.operations.WaitOperation(id=operation.id, timeout_ms=20000).operation
        writer.join(20)
        self.assertEqual((ended.state, ended.error_text), (DONE, ''))
        self.assertTrue(errors)
        disk = self.channel.disks.GetDisk(name='d').disk
        self.assertEqual(disk.state, 3)
        self.assertGreater(disk.state_since_unix_ns, time.time_ns() - 60 * 10**9)
        self.assertIn('drain', disk.reason)
        self.channel.exports.DeleteExport(name='e', force=True)
        self.channel.disks.RemoveDisk(name='d')
        self.assert_fails('NOT_FOUND', self.channel.disks.DrainDisk, name='d')


class Growing(Controlled):
    def test_a_disk_grows_under_its_clients_and_all_are_told(self):
        self.start()
        self.add_disk('d')
        self.make_export('e', 'd')
        session = self.channel.open('e', client='one', mode=SHARED)
        stream = session.stream()
        with connect(self.server.address, 'e') as client, \
                Load(self.server.uri('e'), 1 if SHORT else 3) as load:
            sparse_file(self.disk_path('d'), 32 * MIB)
            seen = self.channel.disks.RescanDisk(name='d')
            self.assertEqual((seen.old_size_bytes, seen.disk.size_bytes), (16 * MIB, 32 * MIB))
            self.assertEqual(stream.receive().notice.geometry.size_bytes, 32 * MIB)
            session.write(32 * MIB - 4096, bytes(4096))
            self.assertEqual(client.call(0, 32 * MIB - 4096, 4096), 0)
            self.assertEqual(run('nbdinfo', '--size', self.server.uri('e')).strip(),
                             str(32 * MIB))
            self.assertTrue(load.running())
        self.assertEqual(
            self.channel.exports.GetExport(name='e').export.geometry.size_bytes, 32 * MIB)


if __name__ == '__main__':
    main()
