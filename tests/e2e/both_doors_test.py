#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NBD connections and gRPC sessions at one export at once, every read checked against a model, then
kill -9 and all of it read again by both doors.

The model knows for each block which writes it may hold: those that no write has replaced which
began after they had ended. Each write's data are its own number, so that a read names the write
that it saw.
"""
import os
import random
import struct
import threading
import time
import unittest

from rpc import Channel, READ_WRITE, SHARED, block
from server import Server
from suite import Case, KIB, MIB, SHORT, main, sparse_file
from wire import FLUSH, FUA, TRIM, ZEROES, connect

SECTOR, BLOCK, BLOCKS = 512, 4 * KIB, 96
SIZE = BLOCKS * BLOCK
BLOCKS_MAX = 8  # of one request
SECONDS = 1 if SHORT else 5
SEED = int(os.environ.get('SLUICE_SEED') or random.randrange(1 << 32))
ANYTHING = -1  # what a discard leaves
KINDS = ('write',) * 8 + ('read',) * 7 + ('zero',) * 2 + ('discard', 'flush')


class Wrong(AssertionError):
    """A read saw what must not be."""


class Write:
    """One write of one value to a range of blocks, in the order of begins and ends."""

    def __init__(self, value, began):
        self.value, self.began, self.ended = value, began, None


class Model:
    def __init__(self):
        self.lock = threading.Lock()
        self.clock = self.values = self.checked = 0
        first = Write(0, 0)
        first.ended = 0
        self.current = [[first] for _ in range(BLOCKS)]  # which writes a block may hold
        self.log = [[] for _ in range(BLOCKS)]           # all that ever began

    def tick(self):
        self.clock += 1
        return self.clock

    def begin_write(self, at, count, value=None):
        """Before the request is sent. A new value is its own."""
        with self.lock:
            if value is None:
                self.values += 1
                value = self.values
            write = Write(value, self.tick())
            for number in range(at, at + count):
                self.current[number].append(write)
                self.log[number].append(write)
            return write

    def end_write(self, write, at, count):
        """After its answer has come."""
        with self.lock:
            write.ended = self.tick()
            for number in range(at, at + count):
                self.current[number] = [w for w in self.current[number]
                                        if w.ended is None or w.ended >= write.began]

    def begin_read(self, at, count):
        with self.lock:
            return self.tick(), [list(self.current[n]) for n in range(at, at + count)]

    def check(self, began, at, data, where):
        """What a read saw that began with begin_read()."""
        since, candidates = began
        with self.lock:
            later = [[w for w in self.log[at + i] if w.began > since]
                     for i in range(len(candidates))]
        for i, writes in enumerate(candidates):
            allowed = {w.value for w in writes + later[i]}
            for sector in range(BLOCK // SECTOR):
                start = i * BLOCK + sector * SECTOR
                words = set(struct.unpack('<64Q', data[start:start + SECTOR]))
                if len(words) > 1:
                    raise Wrong(f'{where}: block {at + i} is torn inside a sector: {words}')
                seen = words.pop()
                if seen not in allowed and ANYTHING not in allowed:
                    raise Wrong(f'{where}: block {at + i} holds write {seen}, '
                                f'may hold {sorted(allowed)}')
        with self.lock:
            self.checked += len(candidates)


def payload(write, count):
    return struct.pack('<Q', write.value) * (count * BLOCK // 8)


class Load(threading.Thread):
    """One client; its error, if any, is told by join_or_raise()."""

    def __init__(self, model, seed, until):
        super().__init__()
        self.model, self.until = model, until
        self.random = random.Random(seed)
        self.error, self.done = None, 0

    def draw(self):
        count = self.random.randint(1, BLOCKS_MAX)
        return self.random.choice(KINDS), self.random.randrange(BLOCKS - count + 1), count

    def begin(self, kind, at, count):
        """What the model knows of a request before it is sent."""
        if kind == 'read':
            return self.model.begin_read(at, count)
        value = {'write': None, 'zero': 0, 'discard': ANYTHING}.get(kind)
        return None if kind == 'flush' else self.model.begin_write(at, count, value)

    def end(self, request, data, where):
        kind, at, count, known = request
        self.done += 1
        if kind == 'read':
            self.model.check(known, at, data, where)
        elif kind != 'flush':
            self.model.end_write(known, at, count)

    def run(self):
        try:
            while not self.until():
                self.step()
        except Exception as error:  # pylint: disable=broad-except
            if isinstance(error, Wrong) or not self.until():
                self.error = error

    def join_or_raise(self):
        self.join()
        if self.error is not None:
            raise self.error


class NbdLoad(Load):
    def __init__(self, server, *arguments):
        super().__init__(*arguments)
        self.wire = connect(server.address)

    def step(self):
        kind, at, count = self.draw()
        known = self.begin(kind, at, count)
        offset, length = at * BLOCK, count * BLOCK
        flags = FUA if self.random.random() < 0.1 else 0
        data, error = None, 0
        if kind == 'read':
            data = self.wire.read(offset, length)
        elif kind == 'write':
            error = self.wire.write(offset, payload(known, count), flags)
        elif kind == 'flush':
            error = self.wire.call(FLUSH)
        else:
            error = self.wire.call(ZEROES if kind == 'zero' else TRIM, offset, length, flags)
        assert error == 0, f'NBD {kind}: error {error}'
        self.end((kind, at, count, known), data, 'NBD')


class StreamLoad(Load):
    """Batches on an Io stream."""

    OPS = {'read': block.OP_KIND_READ, 'write': block.OP_KIND_WRITE,
           'zero': block.OP_KIND_WRITE_ZEROES, 'discard': block.OP_KIND_DISCARD,
           'flush': block.OP_KIND_FLUSH}

    def __init__(self, session, *arguments):
        super().__init__(*arguments)
        self.session, self.stream = session, session.stream()
        self.last_id = 0

    def step(self):
        requests, ops, data = {}, [], b''
        for _ in range(self.random.randint(1, 16)):
            kind, at, count = self.draw()
            known = self.begin(kind, at, count)
            self.last_id += 1
            requests[self.last_id] = kind, at, count, known
            op = block.Op(op_id=self.last_id, kind=self.OPS[kind])
            if kind != 'flush':
                op.offset_bytes, op.length_bytes = at * BLOCK, count * BLOCK
            if kind == 'write':
                op.payload_offset = len(data)
                data += payload(known, count)
            if kind not in ('read', 'flush') and self.random.random() < 0.1:
                op.flags = block.OP_FLAG_FUA
            ops.append(op)
        self.stream.send(*ops, payload=data, ack_through=self.last_id - len(ops))
        left = len(ops)
        while left > 0:
            message = self.stream.receive()
            for result in message.results:
                left -= 1
                assert result.reason == 0, f'gRPC {requests[result.op_id]}: {result}'
                end = result.payload_offset + result.length_bytes
                self.end(requests[result.op_id], message.payload[result.payload_offset:end],
                         'gRPC stream')


class UnaryLoad(Load):
    def __init__(self, session, *arguments):
        super().__init__(*arguments)
        self.session = session

    def step(self):
        kind, at, count = self.draw()
        known = self.begin(kind, at, count)
        offset, length = at * BLOCK, count * BLOCK
        data = None
        if kind == 'read':
            data = self.session.read(offset, length)
        elif kind == 'write':
            self.session.write(offset, payload(known, count))
        elif kind == 'zero':
            self.session.zero(offset, length)
        elif kind == 'discard':
            self.session.discard(offset, length)
        else:
            self.session.flush()
        self.end((kind, at, count, known), data, 'gRPC call')


class BothDoors(Case):
    def serve(self, disk, policy='EXCLUSIVE_EVERYBODY'):
        for name in ('a.img', 'b.img'):
            if not os.path.exists(self.path(name)):
                sparse_file(self.path(name), MIB)
        config = f'''nbd {{ listen: "unix:{self.path('nbd.sock')}" }}
            grpc {{ listen: "unix:{self.path('grpc.sock')}" }} state_dir: "{self.path('state')}"
            disk {{ name: "a" path: "{self.path('a.img')}" }}
            disk {{ name: "b" path: "{self.path('b.img')}" }}
            volume {{ name: "wide" stripe {{ chunk_bytes: 65536 leg: "a" leg: "b" }} }}
            export {{ name: "disk" volume: "{disk}" exclusive: {policy} }}'''
        return Server(config=config)

    def load(self, server, model, makers, seconds=SECONDS, kill=False):
        """All clients at once; `kill` ends the server under them."""
        over = threading.Event()
        deadline = time.monotonic() + seconds
        until = lambda: over.is_set() or time.monotonic() > deadline  # noqa: E731
        loads = [make(model, SEED + i, until) for i, make in enumerate(makers)]
        print(f'seed {SEED}: SLUICE_SEED={SEED} plays it again')
        for load in loads:
            load.start()
        if kill:
            time.sleep(seconds / 2)
            over.set()
            server.kill()
        for load in loads:
            load.join_or_raise()
        for load in loads:
            self.assertGreater(load.done, 0, f'{type(load).__name__} was starved')

    def read_all(self, model, server, channel):
        with connect(server.address) as nbd:
            model.check(model.begin_read(0, BLOCKS), 0, nbd.read(0, SIZE), 'NBD, afterwards')
        session = channel.open(client='checker', mode=SHARED)
        model.check(model.begin_read(0, BLOCKS), 0, session.read(0, SIZE), 'gRPC, afterwards')
        session.close()

    def shared(self, server, channel):
        sessions = [channel.open(client=f'c{i}', mode=SHARED) for i in range(3)]
        return ([lambda *more: NbdLoad(server, *more)] * 3
                + [lambda *more, s=s: StreamLoad(s, *more) for s in sessions[:2]]
                + [lambda *more: UnaryLoad(sessions[2], *more)])

    def test_shared_sessions_and_connections_agree(self):
        model = Model()
        with self.serve('a') as server, Channel(server) as channel:
            self.load(server, model, self.shared(server, channel))
            self.read_all(model, server, channel)
        self.assertGreater(model.checked, 100)

    def test_an_exclusive_session_beside_connections_agrees_on_a_stripe(self):
        model = Model()
        with self.serve('wide', 'EXCLUSIVE_SESSIONS') as server, Channel(server) as channel:
            session = channel.open(mode=READ_WRITE)
            self.load(server, model, [lambda *more: NbdLoad(server, *more)] * 3
                      + [lambda *more: StreamLoad(session, *more)])
            session.close()
            self.read_all(model, server, channel)
        self.assertGreater(model.checked, 100)

    def test_a_kill_loses_nothing_that_either_door_has_answered(self):
        model = Model()
        for _ in range(1 if SHORT else 3):
            with self.serve('wide') as server, Channel(server) as channel:
                self.load(server, model, self.shared(server, channel), kill=True)
            with self.serve('wide') as server, Channel(server) as channel:
                self.read_all(model, server, channel)


class Checker(unittest.TestCase):
    """The model sees what must not be."""

    def setUp(self):
        self.model = Model()

    def write(self):
        write = self.model.begin_write(0, 1)
        self.model.end_write(write, 0, 1)
        return write

    def see(self, write, began=None):
        self.model.check(began or self.model.begin_read(0, 1), 0, payload(write, 1), 'test')

    def test_a_replaced_write_is_an_error(self):
        old, new = self.write(), self.write()
        self.see(new)
        self.assertRaises(Wrong, self.see, old)

    def test_of_two_at_once_either_may_stay(self):
        first, second = self.model.begin_write(0, 1), self.model.begin_write(0, 1)
        self.model.end_write(second, 0, 1)
        self.model.end_write(first, 0, 1)
        self.see(first)
        self.see(second)
        last = self.write()
        self.assertRaises(Wrong, self.see, first)
        self.see(last)

    def test_a_read_may_see_what_began_meanwhile(self):
        old = self.write()
        began = self.model.begin_read(0, 1)
        new = self.write()
        self.see(old, began)
        self.see(new, began)

    def test_a_torn_sector_is_an_error(self):
        one = payload(self.write(), 1)
        self.assertRaises(Wrong, self.model.check, self.model.begin_read(0, 1), 0,
                          b'x' + one[1:], 'test')


if __name__ == '__main__':
    main()
