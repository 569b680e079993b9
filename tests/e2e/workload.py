# SPDX-License-Identifier: Apache-2.0
"""A writer that knows what a crash may leave behind.

Each connection owns a run of 4 KiB blocks and writes to them with many requests in flight. Every
block of every write carries its own version; submits and answers are noted in order. After the
server has died, a block may hold any version except those that were answered before a later
answered version was submitted, and never anything that was not submitted (promises R1, R7).
"""
import random
import struct
import threading

import wire

BLOCK = 4096


def block_data(block, version, seed):
    head = struct.pack('>QQQ', block, version, seed)
    return head + random.Random(hash((block, version, seed))).randbytes(BLOCK - len(head))


class Block:
    """What one block may hold: each version with the time (a counter) of submit and answer."""

    def __init__(self):
        self.versions = {0: (0, 0)}  # version -> (submitted, answered or None)

    def allowed(self):
        floor = max(submitted for submitted, answered in self.versions.values()
                    if answered is not None)
        return {v for v, (_, answered) in self.versions.items() if answered is None
                or answered >= floor}


class Writer(threading.Thread):
    """One connection under load until the server goes away or stop() is called."""

    def __init__(self, address, first_block, block_count, seed, depth=16):
        super().__init__(daemon=True)
        self.address, self.first, self.count = address, first_block, block_count
        self.seed, self.depth = seed, depth
        self.random = random.Random(seed)
        self.blocks = {first_block + i: Block() for i in range(block_count)}
        self.clock = 0
        self.in_flight = {}  # cookie -> [(block, version)] of a write, None of a flush
        self.answered = 0
        self.refused = {}  # error -> count
        self.lost = None  # the exception that ended it, when it was not an orderly end
        self.ended_in_order = False
        self.halt = threading.Event()

    def successor(self, address):
        """A writer that goes on where this one was cut off (after check())."""
        other = Writer(address, self.first, self.count, self.seed, self.depth)
        other.blocks, other.clock, other.random = self.blocks, self.clock, self.random
        return other

    def run(self):
        try:
            with wire.connect(self.address, timeout=60) as connection:
                self._load(connection)
        except wire.Closed:
            self.ended_in_order = True
        except (OSError, AssertionError) as error:
            self.lost = error

    def stop(self):
        self.halt.set()
        self.join()

    def _load(self, connection):
        cookie = 0
        while True:
            batch = b''
            while not self.halt.is_set() and len(self.in_flight) < self.depth:
                cookie += 1
                batch += self._request(cookie)
            if batch:
                connection.send(batch)
            if not self.in_flight:
                connection.request(wire.DISC)
                return
            self._answer(connection.simple())

    def _request(self, cookie):
        self.clock += 1
        dice = self.random.random()
        if dice < 0.03:
            self.in_flight[cookie] = None
            return wire.Wire.header(wire.FLUSH, cookie)
        count = min(self.random.choice((1, 1, 1, 2, 4, 16)), self.count)
        start = self.first + self.random.randrange(self.count - count + 1)
        written, payload = [], b''
        for block in range(start, start + count):
            version = self.clock
            self.blocks[block].versions[version] = (self.clock, None)
            written.append((block, version))
            payload += block_data(block, version, self.seed)
        self.in_flight[cookie] = written
        flags = wire.FUA if dice < 0.10 else 0
        return wire.Wire.header(wire.WRITE, cookie, start * BLOCK, len(payload), flags) + payload

    def _answer(self, reply):
        written = self.in_flight.pop(reply.cookie)
        if reply.error:
            self.refused[reply.error] = self.refused.get(reply.error, 0) + 1
            return
        self.clock += 1
        self.answered += 1
        for block, version in written or ():
            submitted, _ = self.blocks[block].versions[version]
            self.blocks[block].versions[version] = (submitted, self.clock)

    def check(self, connection):
        """Reads every block back; the violations. What was read becomes the block's only truth."""
        wrong = []
        for block, state in self.blocks.items():
            data = connection.read(block * BLOCK, BLOCK)
            version = struct.unpack('>QQQ', data[:24])[1]
            genuine = data == (block_data(block, version, self.seed) if version else bytes(BLOCK))
            if not genuine or version not in state.allowed():
                wrong.append(f'block {block}: version {version}{"" if genuine else " (torn)"}, '
                             f'allowed {sorted(state.allowed())[:8]}')
            state.versions = {version: (self.clock, self.clock)}
        return wrong
