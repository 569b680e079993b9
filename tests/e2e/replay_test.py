#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Late writes against the real server, on a disk that hangs and over kill -9: what a newer,
acknowledged write put there stays. The finer cases are tests/server/replay."""
import threading
import time

from disks import Nbdkit, fuse_file
from rpc import Channel, Failed, SHARED, write_op
from server import Server
from suite import Case, KIB, MIB, eventually, main, sparse_file
from wire import OPT_GO, REP_ACK, WRITE, Wire, connect

OLD, NEW, OTHER = b'\1' * 4096, b'\2' * 4096, b'\3' * 4096
X = 64 * KIB
REQUESTS = 256  # that an NBD connection may have outstanding, by default


class Later:
    """A call that may take long, on a thread of its own."""

    def __init__(self, function, *arguments, **more):
        self.value = self.error = None

        def run():
            try:
                self.value = function(*arguments, **more)
            except Exception as error:  # pylint: disable=broad-except
                self.error = error
        self.thread = threading.Thread(target=run)
        self.thread.start()

    def waits(self, seconds=0.5):
        self.thread.join(seconds)
        return self.thread.is_alive()

    def result(self):
        self.thread.join(30)
        if self.error is not None:
            raise self.error
        return self.value


class Replay(Case):
    def serve(self, disk, *more):
        server = self.enterContext(Server(
            'serve', '--name', 'disk', '--nbd', '127.0.0.1:0', '--grpc',
            f'unix:{self.path("grpc.sock")}', '--state-dir', self.path('state'), *more, disk))
        return server, self.enterContext(Channel(server))

    def serve_disk_that_hangs(self):
        nbdkit = self.enterContext(Nbdkit(self.tmp, 'memory', '16M'))
        disk = self.enterContext(fuse_file(self.tmp, nbdkit))
        return nbdkit, *self.serve(disk, '--buffered')

    def assert_fails(self, name, function, *arguments, **more):
        with self.assertRaises(Failed) as failed:
            function(*arguments, **more)
        self.assertEqual(str(failed.exception), name)

    def assert_new(self, channel):
        reader = channel.open(client='reader', mode=SHARED, force=True)
        self.assertEqual(reader.read(X, 4096), NEW)

    def test_a_takeover_waits_for_the_disk_and_the_old_write_never_comes(self):
        nbdkit, _, channel = self.serve_disk_that_hangs()
        old = channel.open(client='a')
        stream = old.stream()
        nbdkit.stall()
        stream.send(*(write_op(n, X, OLD) for n in range(1, 9)), payload=OLD)
        time.sleep(0.3)
        takeover = Later(channel.open, client='b', force=True)
        self.assertTrue(takeover.waits())
        nbdkit.resume()
        fresh = takeover.result()
        fresh.write(X, NEW)
        self.assert_fails('STALE_EPOCH', old.write, X, OLD, op_id=9)
        self.assert_fails('STALE_EPOCH', stream.receive)
        self.assertEqual(fresh.read(X, 4096), NEW)

    def test_an_attach_waits_for_the_disk_and_twins_are_answered_from_memory(self):
        nbdkit, _, channel = self.serve_disk_that_hangs()
        session = channel.open()
        dropped = session.stream(1)
        nbdkit.stall()
        dropped.send(write_op(1, X, OLD), payload=OLD)
        time.sleep(0.3)
        dropped.answers.cancel()
        attach = Later(session.stream, 2)
        self.assertTrue(attach.waits())
        nbdkit.resume()
        stream = attach.result()
        self.assertEqual(stream.attached.completed_through, 1)
        stream.send(write_op(2, X, NEW), payload=NEW)
        self.assertEqual(stream.results(1)[2][0], 'UNSPECIFIED')
        session.write(X, OLD, op_id=1)  # a twin of the first
        self.assertEqual(session.read(X, 4096, op_id=3), NEW)

    def test_an_nbd_successor_waits_for_the_disk_and_the_ghosts_requests_are_dropped(self):
        nbdkit, server, channel = self.serve_disk_that_hangs()
        ghost = connect(server.address, 'disk')
        nbdkit.stall()
        for n in range(REQUESTS + 8):
            ghost.request(WRITE, n, MIB + n * 4096, 4096, payload=OTHER)
        ghost.request(WRITE, 1000, X, 4096, payload=OLD)
        time.sleep(0.3)
        ghost.close()
        heir = self.enterContext(Wire(server.address))
        heir.send_option(OPT_GO, heir.info_data('disk'))
        answers = Later(lambda: [heir.option_reply() for _ in range(2)])
        self.assertTrue(answers.waits())
        nbdkit.resume()
        self.assertEqual(answers.result()[-1][1], REP_ACK)
        self.assertEqual(heir.write(X, NEW), 0)
        self.assertEqual(heir.read(X, 4096), NEW)
        heir.close()
        self.assert_new(channel)

    def test_after_a_kill_nothing_is_sent_again_over_what_others_wrote(self):
        image = sparse_file(self.path('disk.img'), MIB)
        for write_new in (self.write_by_nbd, self.write_by_session):
            with self.subTest(writer=write_new.__name__):
                server, channel = self.serve(image)
                old = channel.open(client='a')
                server.kill()
                server, channel = self.serve(image)
                write_new(server, channel)
                old.block = channel.block
                self.assert_fails('SESSION_LOST', old.write, X, OLD)
                self.assert_fails('STALE_EPOCH', channel.open, client='a', epoch=old.epoch)
                self.assert_new(channel)
                server.kill()

    def write_by_nbd(self, server, _):
        with connect(server.address, 'disk') as nbd:
            self.assertEqual(nbd.write(X, NEW), 0)
        eventually(lambda: 'closed' in server.text(), what='the connection ends')

    @staticmethod
    def write_by_session(_, channel):
        session = channel.open(client='b')
        session.write(X, NEW)
        session.close()

    def test_after_a_kill_who_was_alone_goes_on(self):
        image = sparse_file(self.path('disk.img'), MIB)
        server, channel = self.serve(image)
        old = channel.open(client='a')
        server.kill()
        _, channel = self.serve(image)
        again = channel.open(client='a', epoch=old.epoch)
        again.write(X, NEW)
        self.assertEqual(again.read(X, 4096), NEW)


if __name__ == '__main__':
    main()
