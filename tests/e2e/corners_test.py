#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Corners of the protocol that stock clients rarely reach: ranges of gigabytes, answers longer than
the advertised payload, drives that cannot do what is asked or fail while they are read."""
import os
import struct

import wire
from disks import Nbdkit, fuse_file
from server import Server
from suite import Case, GIB, KIB, MIB, main, pattern
from wire import Wire, connect

LARGEST = 0xfffffe00  # the longest multiple of 512 a request can name


def open_structured(server):
    connection = Wire(server.address, timeout=60).structured()
    connection.option(wire.OPT_SET_META, Wire.meta_data())
    return connection.go()


def payload(chunks, offset, length):
    """What a structured read says, put together; every byte exactly once."""
    data, seen = bytearray(length), 0
    for chunk in chunks:
        at = struct.unpack('>Q', chunk.data[:8])[0] - offset
        if chunk.type == wire.CHUNK_DATA:
            size = len(chunk.data) - 8
            data[at:at + size] = chunk.data[8:]
        else:
            assert chunk.type == wire.CHUNK_HOLE, chunk.type
            size = struct.unpack('>I', chunk.data[8:])[0]
        seen += size
    assert seen == length, (seen, length)
    return bytes(data)


class Gigabytes(Case):
    """A sparse export of 8 GiB, longer than a request's length can say."""

    def setUp(self):
        super().setUp()
        self.server = self.enterContext(
            Server('serve', '--create', '8GiB', self.path('disk.img')))
        self.client = self.enterContext(open_structured(self.server))

    def write(self, offset, data):
        self.assertEqual(self.client.write(offset, data), 0)

    def read(self, offset, length):
        return payload(self.client.chunks(wire.READ, offset, length), offset, length)

    def extents(self, offset, length, flags=0):
        (chunk,) = self.client.chunks(wire.STATUS, offset, length, flags)
        self.assertEqual(chunk.type, wire.CHUNK_STATUS)
        numbers = struct.unpack(f'>{len(chunk.data) // 4}I', chunk.data)
        return list(zip(numbers[1::2], numbers[2::2]))

    def test_block_status_of_the_largest_range_stays_inside_it(self):
        places = (0, GIB, 2 * GIB - 64 * KIB, 4 * GIB - MIB)
        for place in places:
            self.write(place, pattern(0, 64 * KIB))
        extents = self.extents(0, LARGEST)
        self.assertGreater(len(extents), len(places))
        self.assertLessEqual(sum(length for length, _ in extents), LARGEST)
        at, data = 0, []
        for length, state in extents:
            self.assertGreater(length, 0)
            if state == 0:
                data.append((at, at + length))
            at += length
        for place in places:
            self.assertTrue(any(a <= place and place + 64 * KIB <= b for a, b in data), place)
        self.assertTrue(any(state for _, state in extents), 'no hole in a sparse disk')
        for offset in (0, 8 * GIB - LARGEST):
            one = self.extents(offset, LARGEST, wire.REQ_ONE)
            self.assertEqual(len(one), 1)
            self.assertLessEqual(one[0][0], LARGEST)

    def test_zeroes_over_three_gib_reach_both_ends_and_no_further(self):
        """The data lies across each gigabyte of the range, where a long request is cut."""
        start, length, half = MIB, 3 * GIB, 64 * KIB
        borders = range(start, start + length + 1, GIB)
        for border in borders:
            self.write(border - half, pattern(border, 2 * half))
        self.assertEqual(self.client.call(wire.ZEROES, start, length), 0)
        for border in borders[1:-1]:
            self.assertTrue(self.read(border - half, 2 * half) == bytes(2 * half), border)
        end = start + length
        self.assertTrue(self.read(start - half, 2 * half) == pattern(start, half) + bytes(half))
        self.assertTrue(self.read(end - half, 2 * half) == bytes(half) + pattern(end + half, half))

    def test_a_structured_read_over_32_mib_is_whole(self):
        size = 32 * MIB + 512
        data = os.urandom(16 * MIB) + bytes(8 * MIB) + os.urandom(size - 24 * MIB)
        self.write(GIB, data)
        self.assertTrue(self.read(GIB, size) == data)


class OnFuse(Case):
    """A file in a FUSE mount, which promises no quick zeroes, and whose reads fail on command."""

    def setUp(self):
        super().setUp()
        self.need_root()
        self.trigger = self.path('trigger')
        nbdkit = self.enterContext(Nbdkit(
            self.tmp, '--filter=error', 'memory', '16M', 'error=EIO', 'error-pread-rate=100%',
            f'error-pread-file={self.trigger}'))
        file = self.enterContext(fuse_file(self.tmp, nbdkit))
        self.server = self.enterContext(Server('serve', file))

    def test_fast_zero_is_invalid_when_it_is_not_offered(self):
        with connect(self.server.address) as c:
            self.assertFalse(c.transmission_flags & wire.FLAG_FAST_ZERO)
            self.assertEqual(c.write(0, b'\1' * 4096), 0)
            self.assertEqual(c.call(wire.ZEROES, 0, 4096, wire.FAST_ZERO), wire.EINVAL)
            self.assertEqual(c.read(0, 4096), b'\1' * 4096)
            self.assertEqual(c.call(wire.ZEROES, 0, 4096), 0)
            self.assertEqual(c.read(0, 4096), bytes(4096))

    def test_a_failed_structured_read_is_an_error_chunk_with_a_text(self):
        with open_structured(self.server) as c:
            self.assertEqual(c.write(MIB, b'\2' * MIB), 0)
            with open(self.trigger, 'w', encoding='ascii'):
                pass
            for offset, length in ((MIB, 4096), (MIB, MIB), (2 * MIB - 512, 512)):
                last = c.chunks(wire.READ, offset, length)[-1]
                self.assertIn(last.type, (wire.CHUNK_ERROR, wire.CHUNK_ERROR_OFFSET))
                error, size = struct.unpack('>IH', last.data[:6])
                self.assertEqual(error, wire.EIO)
                self.assertTrue(last.data[6:6 + size].decode('utf-8'), 'no text')
                rest = last.data[6 + size:]
                self.assertEqual(len(rest), 8 if last.type == wire.CHUNK_ERROR_OFFSET else 0)
                if rest:
                    self.assertIn(struct.unpack('>Q', rest)[0], range(offset, offset + length))
            os.unlink(self.trigger)
            self.assertEqual(payload(c.chunks(wire.READ, MIB, MIB), MIB, MIB), b'\2' * MIB)


class OnMemory(Case):
    def test_fast_zero_works_within_the_range_where_it_is_offered(self):
        with Server('serve', 'memory:1MiB') as server, connect(server.address) as c:
            self.assertTrue(c.transmission_flags & wire.FLAG_FAST_ZERO)
            self.assertEqual(c.call(wire.ZEROES, MIB, 512, wire.FAST_ZERO), wire.ENOSPC)
            self.assertEqual(c.call(wire.ZEROES, 0, MIB, wire.FAST_ZERO), 0)


if __name__ == '__main__':
    main()
