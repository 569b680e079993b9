# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames (RFC 9113) written by hand, for clients that do what no library would."""
import re
import struct

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, RST_STREAM, SETTINGS_TYPE, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
WINDOW_UPDATE = 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags=0, stream=0, payload=b''):
    return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


SETTINGS = frame(SETTINGS_TYPE)


def literal(name, value):
    """An HPACK field, neither indexed nor compressed (RFC 7541, 6.2.2)."""
    return b''.join((b'\0', bytes((len(name),)), name, bytes((len(value),)), value))


def call_headers(path=b'/sluice.v1.BlockService/Read'):
    return b'\x83\x86' + b''.join(literal(*field) for field in (
        (b':path', path), (b':authority', b'x'), (b'content-type', b'application/grpc'),
        (b'te', b'trailers')))


def endless_windows():
    """The server may send as much as it will."""
    return frame(SETTINGS_TYPE, 0, 0, struct.pack('>HI', 4, 2**31 - 1)) + frame(
        WINDOW_UPDATE, 0, 0, struct.pack('>I', 2**31 - 2**16))


def call(stream, method, request, end=END_STREAM):
    """A call of BlockService with its first message."""
    message = request.SerializeToString()
    return frame(HEADERS, END_HEADERS, stream, call_headers(
        f'/sluice.v1.BlockService/{method}'.encode())) + frame(
            DATA, end, stream, struct.pack('>BI', 0, len(message)) + message)


def address_of(server):
    """(host, port) of the gRPC door over TCP."""
    host, port = re.search(r' grpc=([\d.]+):(\d+)', server.ready).groups()
    return host, int(port)


def read_end(connection):
    """What comes before the end; a reset is an end as well."""
    data = b''
    try:
        while True:
            more = connection.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionError:
        return data
