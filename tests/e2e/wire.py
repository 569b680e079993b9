# SPDX-License-Identifier: Apache-2.0
"""A raw NBD client: sends exactly the bytes it is told to, and takes answers apart.

Numbers are the NBD protocol's (doc/proto.md of NetworkBlockDevice/nbd).
"""
import collections
import socket
import struct

NBDMAGIC, IHAVEOPT = b'NBDMAGIC', b'IHAVEOPT'
REQUEST_MAGIC, SIMPLE_MAGIC, CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668e33ef
REPLY_MAGIC = 0x0003e889045565a9
FIXED, NO_ZEROES = 1, 2

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO = 1, 2, 3, 5, 6, 7
OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META, OPT_EXTENDED = 8, 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR_UNSUP, ERR_POLICY, ERR_INVALID = 0x80000001, 0x80000002, 0x80000003
ERR_UNKNOWN, ERR_SHUTDOWN = 0x80000006, 0x80000007
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = 0, 1, 2, 3

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
EPERM, EIO, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 22, 28, 75, 95, 108
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS = 0, 1, 2, 5
CHUNK_ERROR, CHUNK_ERROR_OFFSET = 0x8001, 0x8002
FLAG_READ_ONLY, FLAG_TRIM, FLAG_FAST_ZERO, FLAG_MULTI_CONN = 2, 1 << 5, 1 << 11, 1 << 8

Simple = collections.namedtuple('Simple', 'cookie error')
Chunk = collections.namedtuple('Chunk', 'cookie done type data')


class Closed(Exception):
    """The server closed the connection in order."""


class Wire:
    """One connection. Reads fail with Closed at end of file and ConnectionResetError on a reset."""

    def __init__(self, address, timeout=30, greet=True, flags=FIXED | NO_ZEROES,
                 receive_buffer=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.size = self.transmission_flags = None
        if greet:
            greeting = self.receive(18)
            assert greeting[:16] == NBDMAGIC + IHAVEOPT, greeting
            self.send(struct.pack('>I', flags))

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(min(count - len(data), 1 << 20))
            if not piece:
                raise Closed(f'after {len(data)} of {count} bytes')
            data += piece
        return bytes(data)

    def at_end(self):
        """True when the server has closed; anything it still sends is an error."""
        data = self.socket.recv(1)
        assert not data, f'unexpected byte {data!r}'
        return True

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Handshake

    def send_option(self, option, data=b'', length=None, magic=IHAVEOPT):
        length = len(data) if length is None else length
        self.send(magic + struct.pack('>II', option, length) + data)

    def option_reply(self):
        magic, option, kind, length = struct.unpack('>QIII', self.receive(20))
        assert magic == REPLY_MAGIC, hex(magic)
        return option, kind, self.receive(length)

    def option(self, option, data=b''):
        """Sends an option; its replies as [(type, data)], the last one final."""
        self.send_option(option, data)
        replies = []
        while True:
            echoed, kind, payload = self.option_reply()
            assert echoed == option, (echoed, option)
            replies.append((kind, payload))
            if kind == REP_ACK or kind & 0x80000000:
                return replies

    @staticmethod
    def info_data(name='', infos=()):
        encoded = name.encode() if isinstance(name, str) else name
        return (struct.pack('>I', len(encoded)) + encoded
                + struct.pack(f'>H{len(infos)}H', len(infos), *infos))

    @staticmethod
    def meta_data(name='', queries=('base:allocation',)):
        data = struct.pack('>I', len(name)) + name.encode() + struct.pack('>I', len(queries))
        for query in queries:
            data += struct.pack('>I', len(query)) + query.encode()
        return data

    def go(self, name='', infos=()):
        """GO that must succeed; keeps size and flags."""
        replies = self.option(OPT_GO, self.info_data(name, infos))
        assert replies[-1][0] == REP_ACK, replies
        for kind, data in replies:
            if kind == REP_INFO and data[:2] == b'\0\0':
                self.size, self.transmission_flags = struct.unpack('>QH', data[2:12])
        return self

    def structured(self):
        assert self.option(OPT_STRUCTURED) == [(REP_ACK, b'')]
        return self

    # Transmission

    @staticmethod
    def header(command, cookie=1, offset=0, length=0, flags=0, magic=REQUEST_MAGIC):
        return struct.pack('>IHHQQI', magic, flags, command, cookie, offset, length)

    def request(self, command, cookie=1, offset=0, length=0, flags=0, payload=b''):
        self.send(self.header(command, cookie, offset, length, flags) + payload)

    def simple(self):
        magic, error, cookie = struct.unpack('>IIQ', self.receive(16))
        assert magic == SIMPLE_MAGIC, hex(magic)
        return Simple(cookie, error)

    def chunk(self):
        magic, flags, kind, cookie, length = struct.unpack('>IHHQI', self.receive(20))
        assert magic == CHUNK_MAGIC, hex(magic)
        return Chunk(cookie, bool(flags & 1), kind, self.receive(length))

    def call(self, command, offset=0, length=0, flags=0, payload=b'', cookie=7):
        """One request in simple mode; its error number."""
        self.request(command, cookie, offset, length, flags, payload)
        reply = self.simple()
        assert reply.cookie == cookie, reply
        return reply.error

    def read(self, offset, length, flags=0):
        """A read in simple mode that must succeed."""
        error = self.call(READ, offset, length, flags)
        assert error == 0, f'read at {offset}: error {error}'
        return self.receive(length)

    def write(self, offset, data, flags=0):
        return self.call(WRITE, offset, len(data), flags, data)

    def chunks(self, command, offset=0, length=0, flags=0, cookie=7):
        """One request under structured replies; all its chunks."""
        self.request(command, cookie, offset, length, flags)
        got = [self.chunk()]
        while not got[-1].done:
            got.append(self.chunk())
        assert all(c.cookie == cookie for c in got), got
        return got


def connect(address, name='', **options):
    """A connection in the transmission phase, with simple replies."""
    return Wire(address, **options).go(name)
