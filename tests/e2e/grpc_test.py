#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gRPC door, by a client generated from the schema: data, the law of sessions, both doors."""
import os
import resource
import socket
import stat
import time

import grpc
import rpc
import wire
from disks import Nbdkit, fuse_file, loop_device, mounted
from rpc import Channel, Failed, READ_ONLY, READ_WRITE, SHARED, block, read_op, write_op
from server import Server, refuses
from suite import Case, KIB, MIB, SHORT, eventually, main, pattern, run, sparse_file
from wire import Closed, ERR_POLICY, connect

OK = 'UNSPECIFIED'  # an ErrorReason's name: no error


class Rpc(Case):
    def serve(self, *arguments, **more):
        """A server with both doors, and a channel to it."""
        server = self.enterContext(Server(
            'serve', '--nbd', '127.0.0.1:0', '--grpc', f'unix:{self.path("grpc.sock")}',
            '--state-dir', self.path('state'), *(arguments or ('memory:16MiB',)), **more))
        return server, self.enterContext(Channel(server))

    def assert_fails(self, name, function, *arguments, **more):
        with self.assertRaises(Failed) as failed:
            function(*arguments, **more)
        self.assertEqual(str(failed.exception), name)


class Data(Rpc):
    def test_single_ops_go_round(self):
        _, channel = self.serve()
        session = channel.open()
        data = pattern(0, 64 * KIB)
        session.write(0, data)
        self.assertEqual(session.read(0, 64 * KIB), data)
        session.zero(4096, 4096)
        self.assertEqual(session.read(0, 12 * KIB), data[:4096] + bytes(4096) + data[8192:12288])
        session.flush()
        session.discard(0, 4096)
        session.close()
        self.assert_fails('SESSION_LOST', session.read, 0, 512)

    def test_batches_go_round(self):
        _, channel = self.serve()
        stream = channel.open().stream()
        self.assertGreater(stream.attached.credits.ops, 0)
        data = pattern(0, 64 * KIB)
        stream.send(*(write_op(i + 1, i * 4096, data[i * 4096:(i + 1) * 4096], i * 4096)
                      for i in range(16)), payload=data)
        self.assertEqual(stream.results(16), {i: (OK, b'') for i in range(1, 17)})
        stream.send(*(read_op(17 + i, i * 4096, 4096) for i in range(16)))
        results = stream.results(16)
        self.assertEqual(b''.join(results[17 + i][1] for i in range(16)), data)
        stream.send(read_op(33, 0, MIB), read_op(34, MIB, MIB), read_op(35, 0, MIB),
                    read_op(36, 0, MIB), read_op(37, 0, MIB))  # more than one message holds
        self.assertEqual({r[0] for r in stream.results(5).values()}, {OK})
        self.assertEqual(stream.end(), [])

    def test_zeroes_may_be_left_out(self):
        _, channel = self.serve()
        session = channel.open()
        session.write(4096, b'\1' * 512)
        stream = session.stream()
        omit = block.OP_FLAG_OMIT_ZEROES
        stream.send(read_op(2, 0, 4096, flags=omit), read_op(3, 4096, 4096, flags=omit),
                    read_op(4, 0, 4096))
        found = {r.op_id: (r.all_zero, r.length_bytes, r.HasField('crc32c'))
                 for r in stream.receive().results}
        self.assertEqual(found, {2: (True, 4096, False), 3: (False, 4096, True),
                                 4: (False, 4096, True)})

    def test_geometry_and_limits_are_told(self):
        _, channel = self.serve('--block-size', '4096', 'memory:16MiB')
        answer = channel.open().answer
        self.assertEqual(answer.geometry.size_bytes, 16 * MIB)
        self.assertEqual(answer.geometry.block_size_bytes, 4096)
        self.assertEqual(len(answer.session_id), 16)
        self.assertEqual(answer.limits.max_op_bytes, MIB)
        self.assertGreater(answer.limits.dedup_window_ops, answer.limits.max_inflight_ops)

    def test_data_with_a_wrong_checksum_are_not_written(self):
        _, channel = self.serve()
        session = channel.open()
        self.assert_fails('CHECKSUM_MISMATCH', session.write, 0, b'\1' * 512, op_id=1, crc=7)
        self.assertEqual(session.read(0, 512, op_id=2), bytes(512))
        stream = session.stream()
        stream.send(write_op(3, 0, b'\1' * 512, 0, crc=7), write_op(4, 512, b'\2' * 512, 512),
                    payload=b'\1' * 512 + b'\2' * 512)
        self.assertEqual(stream.results(2), {3: ('CHECKSUM_MISMATCH', b''), 4: (OK, b'')})
        stream.send(write_op(3, 0, b'\1' * 512), payload=b'\1' * 512)  # once more, whole
        self.assertEqual(stream.results(1)[3][0], OK)

    def test_what_is_wrong_is_named(self):
        _, channel = self.serve()
        session = channel.open()
        self.assert_fails('OUT_OF_BOUNDS', session.read, 16 * MIB, 512)
        self.assert_fails('BAD_REQUEST', session.read, 1, 512)
        self.assert_fails('BAD_REQUEST', session.read, 0, 2 * MIB)
        self.assert_fails('BAD_REQUEST', session.write, 0, bytes(512), flags=8)
        self.assert_fails('NOT_FOUND', channel.open, 'nobody')
        self.assert_fails('BAD_REQUEST', channel.open, client='')
        self.assert_fails('BAD_REQUEST', channel.open, client='a\n')
        self.assert_fails('BAD_REQUEST', channel.open, mode=9)
        reader = channel.open(client='reader', mode=READ_ONLY)
        self.assert_fails('READ_ONLY', reader.write, 0, bytes(512))

    def test_malformed_batches_cost_their_ops_or_their_stream(self):
        _, channel = self.serve()
        session = channel.open()
        stream = session.stream()
        stream.send(write_op(1, 0, bytes(512), payload_offset=1), read_op(1, 0, 512),
                    block.Op(op_id=2, kind=77), payload=bytes(512))
        message = stream.receive()
        self.assertEqual([r.reason for r in message.results], [1, 1, 1])
        stream.send(*(read_op(10 + i, 0, 512) for i in range(2000)))
        self.assert_fails('BAD_REQUEST', stream.receive)
        self.assertEqual(session.read(0, 512, op_id=9), bytes(512))

    def test_block_status_and_verify_tell_the_whole_range(self):
        image = sparse_file(self.path('disk.img'), 4 * MIB)
        _, channel = self.serve(image)
        session = channel.open()
        session.write(MIB, pattern(MIB, 64 * KIB))
        key = {'session_id': session.answer.session_id, 'epoch': session.epoch}
        extents = [e for m in session.block.GetBlockStatus(block.GetBlockStatusRequest(**key))
                   for e in m.extents]
        at = 0
        for extent in extents:
            self.assertEqual(extent.offset_bytes, at)
            at += extent.length_bytes
        self.assertEqual(at, 4 * MIB)
        self.assertTrue(any(e.hole for e in extents) and any(not e.hole for e in extents))
        chunks = [c for m in session.block.VerifyRange(block.VerifyRangeRequest(
            **key, offset_bytes=MIB, length_bytes=96 * KIB)) for c in m.chunks]
        self.assertEqual([(c.offset_bytes, c.length_bytes) for c in chunks],
                         [(MIB, 64 * KIB), (MIB + 64 * KIB, 32 * KIB)])
        self.assertEqual([c.crc32c for c in chunks], [
            rpc.crc32c(pattern(MIB, 64 * KIB)), rpc.crc32c(bytes(32 * KIB))])


class Law(Rpc):
    def test_a_repeated_op_id_is_answered_from_memory(self):
        _, channel = self.serve()
        session = channel.open()
        session.write(0, b'\1' * 512, op_id=1)
        session.write(0, b'\2' * 512, op_id=2)
        session.write(0, b'\1' * 512, op_id=1)  # a late twin of the first
        self.assertEqual(session.read(0, 512, op_id=3), b'\2' * 512)

    def test_a_late_write_never_reverts_a_later_one(self):
        _, channel = self.serve()
        session = channel.open()
        session.write(0, b'\2' * 512, op_id=2)
        self.assert_fails('OVERTAKEN', session.write, 0, b'\1' * 512, op_id=1)
        self.assertEqual(session.read(0, 512, op_id=3), b'\2' * 512)

    def test_a_new_attach_closes_the_old_stream_and_tells_what_has_ended(self):
        _, channel = self.serve()
        session = channel.open()
        old = session.stream(1)
        old.send(write_op(1, 0, b'\1' * 512), payload=b'\1' * 512)
        old.results(1)
        fresh = session.stream(2)
        self.assertEqual(fresh.attached.completed_through, 1)
        self.assertEqual([c.op_id for c in fresh.attached.completed], [1])
        self.assert_fails('STALE_ATTACH', old.receive)
        self.assert_fails('STALE_ATTACH', session.stream, 1)
        fresh.send(ack_through=1)
        fresh.send(write_op(1, 0, b'\1' * 512), payload=b'\1' * 512)
        self.assertEqual(fresh.results(1)[1][0], 'OUT_OF_WINDOW')

    def test_a_takeover_fences_the_old_holder(self):
        _, channel = self.serve()
        old = channel.open(client='a')
        stream = old.stream()
        self.assert_fails('MOUNT_CONFLICT', channel.open, client='b')
        fresh = channel.open(client='b', force=True)
        self.assertEqual(fresh.epoch, old.epoch + 1)
        self.assert_fails('STALE_EPOCH', old.write, 0, bytes(512))
        self.assert_fails('STALE_EPOCH', stream.receive)
        self.assert_fails('STALE_EPOCH', old.keep_alive)
        fresh.write(0, bytes(512))
        old.epoch = fresh.epoch  # somebody else's epoch does not help
        self.assert_fails('STALE_EPOCH', old.write, 0, bytes(512))

    def test_a_lease_ends_and_an_op_renews_it(self):
        config = f'''grpc {{ listen: "unix:{self.path('grpc.sock')}" lease_s: 1 }}
            state_dir: "{self.path('state')}"
            disk {{ name: "disk" memory_bytes: 1048576 }}
            export {{ name: "disk" volume: "disk" }}'''
        server = self.enterContext(Server(config=config))
        channel = self.enterContext(Channel(server))
        session = channel.open(client='a')
        for _ in range(4):
            time.sleep(0.5)
            session.write(0, bytes(512))
        self.assert_fails('MOUNT_CONFLICT', channel.open, client='b')
        time.sleep(1.5)
        channel.open(client='b')
        self.assert_fails('SESSION_LOST', session.write, 0, bytes(512))

    def test_epochs_survive_a_kill(self):
        image = sparse_file(self.path('disk.img'), MIB)
        arguments = ('serve', '--nbd', '127.0.0.1:0', '--grpc', f'unix:{self.path("grpc.sock")}',
                     '--state-dir', self.path('state'), '--name', 'disk', image)
        with Server(*arguments) as server, Channel(server) as channel:
            old = channel.open(client='a')
            server.kill()
        with Server(*arguments) as server, Channel(server) as channel:
            other = channel.open(client='b')
            self.assertEqual(other.epoch, old.epoch + 1)
            old.block = channel.block
            self.assert_fails('SESSION_LOST', old.write, 0, bytes(512))
            other.close()
            self.assert_fails('STALE_EPOCH', channel.open, client='a', epoch=old.epoch)
            again = channel.open(client='b', epoch=other.epoch)  # nobody wrote since
            self.assertEqual(again.epoch, other.epoch + 1)

    def test_a_damaged_state_is_refused(self):
        os.mkdir(self.path('state'))
        with open(self.path('state/epochs'), 'w', encoding='ascii') as f:
            f.write('sluice-state 1 epochs 9 00000000\n9 "disk"\n')
        status, error = refuses('serve', '--grpc', f'unix:{self.path("g")}', '--state-dir',
                                self.path('state'), 'memory:1MiB')
        self.assertEqual(status, 1)
        self.assertIn('corrupt', error)


class Ends(Rpc):
    """Ops that do not wait for a disk that hangs."""

    def serve_stalled(self):
        nbdkit = self.enterContext(Nbdkit(self.tmp, 'memory', '16M'))
        disk = self.enterContext(fuse_file(self.tmp, nbdkit))
        _, channel = self.serve('--name', 'disk', '--buffered', disk)
        stream = channel.open('disk').stream()
        nbdkit.stall()
        return nbdkit, stream

    def test_an_op_is_answered_when_its_time_is_up_and_again_when_it_has_ended(self):
        nbdkit, stream = self.serve_stalled()
        stream.send(read_op(1, 0, 4096, timeout_ms=200))
        self.assertEqual(stream.results(1)[1][0], 'DISK_TIMEOUT')
        stream.send(read_op(1, 0, 4096))
        nbdkit.resume()
        self.assertEqual(stream.results(1)[1], (OK, bytes(4096)))

    def test_a_cancel_takes_back_what_waits(self):
        nbdkit, stream = self.serve_stalled()
        stream.send(write_op(1, 0, bytes(4096)), read_op(2, 0, 4096), payload=bytes(4096))
        stream.send(cancel_op_ids=[2])
        self.assertEqual(stream.results(1)[2][0], 'CANCELLED')
        nbdkit.resume()
        self.assertEqual(stream.results(1)[1][0], OK)


class Epochs(Rpc):
    """What hangs below one export, or below the state, keeps nobody out of the others."""

    def config(self, disk):
        return f'''
            nbd {{ listen: "127.0.0.1:0" }} grpc {{ listen: "unix:{self.path("grpc.sock")}" }}
            state_dir: "{self.path("state")}"
            disk {{ name: "other" {disk} }} export {{ name: "other" volume: "other" }}
            disk {{ name: "ram" memory_bytes: {MIB} }} export {{ name: "ram" volume: "ram" }}'''

    def start(self, disk='memory_bytes: 1048576'):
        server = self.enterContext(Server(config=self.config(disk)))
        return server, self.enterContext(Channel(server))

    def test_a_writer_is_admitted_while_another_drive_hangs(self):
        nbdkit = self.enterContext(Nbdkit(self.tmp, 'memory', '16M'))
        file = self.enterContext(fuse_file(self.tmp, nbdkit))
        _, channel = self.start(f'path: "{file}"')
        self.addCleanup(nbdkit.resume)
        hung = channel.open('other', mode=READ_ONLY)
        key = {'session_id': hung.answer.session_id, 'epoch': hung.epoch}
        time.sleep(1.1)  # what the kernel knows of the file is no longer good
        nbdkit.stall(mounts=True)
        extents = hung.block.GetBlockStatus(block.GetBlockStatusRequest(
            **key, offset_bytes=0, length_bytes=16 * MIB), timeout=60)
        time.sleep(0.3)
        self.assertEqual(channel.open('ram').epoch, 1)
        self.assertFalse(extents.done())
        nbdkit.resume()
        self.assertGreater(len(list(extents)), 0)

    def test_a_state_folder_that_hangs_keeps_out_new_writers_alone(self):
        self.need_root()
        image = sparse_file(self.path('state.img'), 16 * MIB)
        run('mke2fs', '-q', '-t', 'ext4', image)
        folder = self.enterContext(mounted(self.enterContext(loop_device(image)),
                                           self.path('state')))
        server, channel = self.start()
        old = channel.open('other', client='old', mode=SHARED)
        nbd = self.enterContext(connect(server.address, 'other'))
        run('fsfreeze', '-f', folder)
        try:
            opening = channel.block.OpenVolume.future(block.OpenVolumeRequest(
                export_name='ram', client_id='new', access_mode=READ_WRITE), timeout=60)
            time.sleep(0.3)
            old.write(0, bytes(4096))
            self.assertEqual(channel.open('other', client='r', mode=READ_ONLY).read(0, 512),
                             bytes(512))
            self.assertEqual(nbd.read(0, 512), bytes(512))
            self.assertFalse(opening.done())
        finally:
            run('fsfreeze', '-u', folder)
        self.assertEqual(opening.result().epoch, 1)


class BothDoors(Rpc):
    def test_what_one_door_wrote_the_other_reads(self):  # R4
        server, channel = self.serve()
        session = channel.open(mode=SHARED)
        with connect(server.address) as nbd:
            nbd.write(0, pattern(0, 4096))
            self.assertEqual(session.read(0, 4096), pattern(0, 4096))
            session.write(4096, pattern(4096, 4096))
            self.assertEqual(nbd.read(4096, 4096), pattern(4096, 4096))

    def test_a_flush_covers_both_doors(self):  # R3
        server, channel = self.serve(sparse_file(self.path('disk.img'), MIB))
        session = channel.open('disk', mode=SHARED)
        with connect(server.address) as nbd:
            nbd.write(0, bytes(4096))
            session.flush()
            self.assertEqual(server.stats()['disk']['device_flushes'], 1)
            session.write(0, bytes(4096))
            self.assertEqual(nbd.call(wire.FLUSH), 0)
            self.assertEqual(server.stats()['disk']['device_flushes'], 2)

    def test_an_exclusive_session_and_nbd_keep_each_other_out(self):
        server, channel = self.serve()
        with connect(server.address):
            self.assert_fails('MOUNT_CONFLICT', channel.open)
        session = eventually(lambda: self.try_open(channel), what='the NBD seat is left')
        with self.assertRaises((Closed, ConnectionError, AssertionError)):
            connect(server.address).close()
        session.close()
        with connect(server.address) as nbd:
            channel.open(force=True)
            with self.assertRaises((Closed, ConnectionError)):
                nbd.read(0, 512)

    def try_open(self, channel):
        try:
            return channel.open()
        except Failed:
            return None

    def test_an_export_may_let_nbd_stand_beside(self):
        config = f'''nbd {{ listen: "127.0.0.1:0" }}
            grpc {{ listen: "unix:{self.path('grpc.sock')}" }}
            state_dir: "{self.path('state')}"
            disk {{ name: "disk" memory_bytes: 1048576 }}
            export {{ name: "disk" volume: "disk" exclusive: EXCLUSIVE_SESSIONS }}'''
        server = self.enterContext(Server(config=config))
        channel = self.enterContext(Channel(server))
        session = channel.open()
        with connect(server.address) as nbd:
            nbd.write(0, b'\5' * 512)
            self.assertEqual(session.read(0, 512), b'\5' * 512)


class Door(Rpc):
    def test_the_socket_is_the_owners(self):
        self.serve()
        self.assertEqual(stat.S_IMODE(os.stat(self.path('grpc.sock')).st_mode), 0o600)

    def test_plain_tcp_needs_insecure_tcp(self):
        arguments = ('--state-dir', self.path('state'), 'memory:1MiB')
        status, error = refuses('serve', '--grpc', '127.0.0.1:0', *arguments)
        self.assertEqual(status, 2)
        self.assertIn('--insecure-tcp', error)
        with Server('serve', '--nbd', '127.0.0.1:0', '--grpc', '127.0.0.1:0', '--insecure-tcp',
                    *arguments) as server, Channel(server) as channel:
            self.assertEqual(channel.open().read(0, 512), bytes(512))

    def test_health_and_reflection_answer(self):
        _, channel = self.serve()
        check = channel.channel.unary_unary('/grpc.health.v1.Health/Check')
        self.assertEqual(check(b'\x0a\x16sluice.v1.BlockService', timeout=10), b'\x08\x01')
        with self.assertRaises(grpc.RpcError) as unknown:
            check(b'\x0a\x01x', timeout=10)
        self.assertEqual(unknown.exception.code(), grpc.StatusCode.NOT_FOUND)
        reflect = channel.channel.stream_stream(
            '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo')
        self.assertIn(b'sluice.v1.BlockService', next(reflect(iter([b'\x3a\x00']), timeout=10)))
        name = b'sluice.v1.BlockService'
        self.assertIn(b'OpenVolume', next(reflect(iter([b'\x22' + bytes([len(name)]) + name]),
                                                  timeout=10)))

    def test_watchers_of_health_are_told_of_the_drain(self):
        server, channel = self.serve()
        watch = channel.channel.unary_stream('/grpc.health.v1.Health/Watch')(b'', timeout=30)
        self.assertEqual(next(watch), b'\x08\x01')
        left = channel.channel.unary_stream('/grpc.health.v1.Health/Watch')(b'', timeout=30)
        self.assertEqual(next(left), b'\x08\x01')
        left.cancel()
        self.assertEqual(server.stop(), 0)
        self.assertEqual(list(watch), [b'\x08\x02'])

    def test_connections_are_capped_and_none_is_lost(self):
        config = f'''grpc {{ listen: "unix:{self.path('grpc.sock')}" connections: 2 }}
            state_dir: "{self.path('state')}"
            disk {{ name: "disk" memory_bytes: 1048576 }}
            export {{ name: "disk" volume: "disk" }}'''
        server = self.enterContext(Server(config=config))
        held = []
        for _ in range(4):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(self.path('grpc.sock'))
        for s in held:
            s.close()
        with Channel(server) as channel:
            self.assertEqual(channel.open().read(0, 512), bytes(512))

    def test_it_serves_again_after_descriptors_ran_out(self):  # F3
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
        server, channel = self.serve(preexec_fn=few)
        session = channel.open()
        flood = []
        for _ in range(60):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(1)
            try:
                s.connect(self.path('grpc.sock'))
            except OSError:
                s.close()
                break
            flood.append(s)
        time.sleep(0.5)
        self.assertEqual(session.read(0, 512), bytes(512))
        self.assertRegex(server.text(), 'Too many open files|no descriptor is free')
        for s in flood:
            s.close()
        with Channel(server) as again:
            self.assertEqual(again.open(client='b', mode=READ_ONLY).read(0, 512), bytes(512))

    def test_a_drain_ends_streams_in_order(self):
        server, channel = self.serve()
        session = channel.open()
        stream = session.stream()
        stream.send(write_op(1, 0, bytes(512)), payload=bytes(512))
        self.assertEqual(stream.results(1)[1][0], OK)
        began = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - began, 5)
        self.assertTrue(stream.receive().notice.draining)
        self.assert_fails('DRAINING', stream.receive)

    def test_a_client_that_takes_no_results_is_not_read_from(self):  # A1
        server, channel = self.serve()
        session = channel.open()
        stream = session.stream()
        refused = [block.Op(kind=block.OP_KIND_FLUSH)] * 1000
        before = self.rss(server)
        for _ in range(4000):
            stream.send(*refused)
        time.sleep(3)
        # A sanitizer keeps what was freed.
        self.assertLess(self.rss(server) - before, (512 if SHORT else 64) * MIB)
        self.assertEqual(session.read(0, 512, op_id=1), bytes(512))

    @staticmethod
    def rss(server):
        with open(f'/proc/{server.process.pid}/statm', encoding='ascii') as f:
            return int(f.read().split()[1]) * 4096

    def test_clients_that_vanish_leave_nothing_behind(self):
        server, channel = self.serve()
        channel.open()
        descriptors = f'/proc/{server.process.pid}/fd'
        before = len(os.listdir(descriptors))
        for _ in range(20):
            with Channel(server) as channel:
                stream = channel.open(client='a').stream()
                stream.send(*(write_op(n, n * 4096, bytes(4096)) for n in range(1, 17)),
                            payload=bytes(4096))
        self.assertIn('grpc 21 ', server.text())
        eventually(lambda: len(os.listdir(descriptors)) <= before, what='descriptors are closed')
        self.assertTrue(server.alive())


if __name__ == '__main__':
    main()
