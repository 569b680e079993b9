#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gRPC door's limits: each certificate has a share, and what its clients do not wait for any
more is held no longer."""
import queue
import socket
import time

import grpc
import h2
from disks import Nbdkit, fuse_file
from rpc import Channel, Failed, READ_ONLY, SHARED, block
from suite import MIB, SHORT, eventually, main
from tls_test import Tls


class Shared(Tls):
    def assert_overloaded(self, function, text):
        with self.assertRaises(Failed) as failed:
            function()
        self.assertEqual(str(failed.exception), 'OVERLOADED')
        self.assertIn(text, failed.exception.text)

    def others(self, server):
        """Of another certificate, and of this machine."""
        return (self.channel(server, self.authority.issue('vm8')),
                self.enterContext(Channel(server)))


class Shares(Shared):
    """What one certificate holder takes leaves the others theirs."""

    def test_a_certificate_has_a_quarter_of_the_sessions(self):
        server = self.serve()
        mine = self.channel(server)
        sessions = [mine.open(client=f'c{n}', mode=READ_ONLY) for n in range(250)]
        self.assert_overloaded(lambda: mine.open(client='one more', mode=READ_ONLY),
                               '"vm7" has 250 sessions, its share of what the server has: close')
        mine.open(client='c0', mode=READ_ONLY)  # takes its own over
        for channel in self.others(server):
            channel.open(mode=READ_ONLY)
        sessions[1].close()
        mine.open(client='one more', mode=READ_ONLY)

    def test_a_certificate_has_a_quarter_of_the_streams(self):
        server = self.serve()
        share = 256
        holders = [self.channel(server) for _ in range(1 + share // 100)]
        idle = queue.Queue()
        streams = [holders[n % len(holders)].block.Io(iter(idle.get, None), timeout=60)
                   for n in range(share)]
        self.addCleanup(lambda: [stream.cancel() for stream in streams])
        session = holders[0].open(client='a', mode=READ_ONLY)

        def refused():
            try:
                session.stream(attach_seq=refused.tries).end()
            except Failed as failed:
                return failed
            finally:
                refused.tries += 1
            return None
        refused.tries = 1
        failed = eventually(refused, what='a stream too many')
        self.assertEqual(str(failed), 'OVERLOADED')
        self.assertIn(f'"vm7" has its share of the server\'s Io streams, {share}: end some',
                      failed.text)
        for channel in self.others(server):
            channel.open(client='b', mode=READ_ONLY).stream().end()
        for stream in streams:
            stream.cancel()
        eventually(lambda: refused() is None, what='room for it')

    def test_a_stream_that_is_refused_keeps_no_place(self):
        """Though its client reads nothing, so that it is not told."""
        server = self.serve()
        session = self.channel(server).open(client='a', mode=READ_ONLY)
        reads = [h2.call(1 + 2 * n, 'Read', block.ReadRequest(
            **session.key(), offset_bytes=0, length_bytes=MIB)) for n in range(8)]
        unknown = block.IoRequest(attach=block.IoAttach(session_id=b'unknown', epoch=1))
        streams = [h2.call(101 + 2 * n, 'Io', unknown, end=0) for n in range(100)]
        deaf = [self.deaf(server) for _ in range(3)]
        for connection in deaf:
            connection.sendall(b''.join(reads))
        time.sleep(1)  # all that lies between is full
        for number, connection in enumerate(deaf):
            last = block.OpenVolumeRequest(export_name='disk', client_id=f'last {number}',
                                           access_mode=READ_ONLY)
            connection.sendall(b''.join(streams) + h2.call(301, 'OpenVolume', last))
        local = self.enterContext(Channel(server))
        eventually(lambda: {'last 0', 'last 1', 'last 2'} <= {
            s.client_id for s in local.sessions.ListSessions().sessions}, what='all of it read')
        session.stream().end()

    def deaf(self, server):
        """A connection whose client takes whatever comes, in theory, and reads nothing."""
        raw = self.enterContext(socket.socket())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(h2.address_of(server))
        context = self.client.context(self.authority)
        secure = self.enterContext(context.wrap_socket(raw, server_hostname='localhost'))
        secure.sendall(h2.PREFACE + h2.endless_windows())
        return secure

    def test_each_session_of_a_certificate_may_have_a_stream(self):
        server = self.serve()
        channels = [self.channel(server) for _ in range(3)]  # each carries 128 calls
        sessions = [channels[n % 3].open(client=f'c{n}', mode=READ_ONLY) for n in range(250)]
        streams = [session.stream() for session in sessions]
        for stream in streams:
            self.assertGreater(stream.attached.credits.ops, 0)
            stream.requests.put(None)


class Hung(Shared):
    """A drive that answers nothing, and clients that do not wait for it."""

    def setUp(self):
        super().setUp()
        self.nbdkit = self.enterContext(Nbdkit(self.tmp, 'memory', '16M'))
        file = self.enterContext(fuse_file(self.tmp, self.nbdkit))
        self.server = self.serve(exports=f'''
            disk {{ name: "slow" path: "{file}" buffered: true }}
            export {{ name: "slow" volume: "slow" }}
            export {{ name: "disk" volume: "disk" }}''')
        self.addCleanup(self.nbdkit.resume)
        self.session = self.channel(self.server).open('slow', client='a')
        self.nbdkit.stall()

    def reads(self, count, timeout):
        return [self.session.block.Read.future(block.ReadRequest(
            **self.session.key(), offset_bytes=0, length_bytes=4096), timeout=timeout)
            for _ in range(count)]

    def writes(self, count, timeout):
        return [self.session.block.Write.future(block.WriteRequest(
            **self.session.key(), offset_bytes=0, data=bytes(MIB)), timeout=timeout)
            for _ in range(count)]

    def assert_time_out(self, calls):
        self.assertEqual({call.exception().code() for call in calls},
                         {grpc.StatusCode.DEADLINE_EXCEEDED})

    def is_served(self):
        try:
            return len(self.session.read(0, 4096)) == 4096
        except Failed as failed:
            if str(failed) != 'OVERLOADED':
                raise
            return False

    def test_a_client_whose_calls_all_time_out_is_not_kept_out(self):
        for rounds, timeout in ((8, 0.6), (40, 0.1)):
            for _ in range(rounds):
                self.assert_time_out(self.reads(160, timeout))
        self.nbdkit.resume()
        eventually(self.is_served, 20, 'the server has done with calls that are awaited no more')
        self.assertNotIn('floods', self.server.text())
        self.assertEqual(self.server.text().count('): connected'), 1)

    def test_calls_whose_clients_have_gone_hold_nothing(self):
        grown = []
        for _ in range(6):
            # Most of the share of a certificate: twice as much would not be let in.
            self.assert_time_out(self.writes(40, 2))
            grown.append(self.server.status_mib('VmRSS'))
        if not SHORT:  # a sanitizer keeps what is freed
            self.assertLess(grown[-1] - grown[1], 64, grown)

    def test_what_a_certificate_has_under_way_in_unary_calls_has_an_end(self):
        calls = self.writes(100, 5)
        refused = self.wait_for(calls, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertIn('"vm7" has its share of the server\'s bytes of unary calls',
                      refused.exception().details())
        self.session.keep_alive()  # has room of its own
        for channel in self.others(self.server):
            channel.open(client='b', mode=SHARED).write(0, bytes(MIB))
        # Those that were let in wait; one that came out of order may have been overtaken.
        self.assertIn(grpc.StatusCode.DEADLINE_EXCEEDED, {c.exception().code() for c in calls})

    def wait_for(self, calls, code):
        return eventually(lambda: next(
            (c for c in calls if c.done() and c.exception().code() == code), None))


if __name__ == '__main__':
    main()
