# SPDX-License-Identifier: Apache-2.0
"""A gRPC client in Python, generated from the schema on first use.

    with Channel(server) as channel:
        session = channel.open('disk', client='a')
        session.write(0, bytes(4096))
"""
import atexit
import glob
import importlib
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile

import grpc
from suite import run

PROTO = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../../proto')


def generate():
    out = tempfile.mkdtemp(prefix='sluice-stubs-')
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    files = [os.path.relpath(f, PROTO) for folder in ('sluice/v1', 'google/rpc')
             for f in glob.glob(os.path.join(PROTO, folder, '*.proto'))]
    plugin = shutil.which('grpc_python_plugin')
    run('protoc', f'-I{PROTO}', f'--python_out={out}', f'--grpc_python_out={out}',
        f'--plugin=protoc-gen-grpc_python={plugin}', *files)
    # "google" is a package of the distribution's already: ours is found beside it.
    import google
    google.__path__.append(os.path.join(out, 'google'))
    sys.path.insert(0, out)


generate()
from google.rpc import status_pb2  # noqa: E402
from sluice.v1 import block_pb2 as block, block_pb2_grpc, error_pb2 as error  # noqa: E402

READ_ONLY, READ_WRITE, SHARED = (block.ACCESS_MODE_READ_ONLY, block.ACCESS_MODE_READ_WRITE,
                                 block.ACCESS_MODE_READ_WRITE_SHARED)
TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ 0x82f63b78 * (i & 1)
    TABLE.append(i)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def reason(failed):
    """The BlockError's reason of an RpcError, as its short name."""
    for key, value in failed.trailing_metadata() or ():
        if key == 'grpc-status-details-bin':
            detail = error.BlockError()
            assert status_pb2.Status.FromString(value).details[0].Unpack(detail)
            return error.ErrorReason.Name(detail.reason)[len('ERROR_REASON_'):]
    return f'no details: {failed.code()} {failed.details()}'


class Failed(Exception):
    """A call failed; str() is the reason's name, `text` what it says to humans."""

    def __init__(self, failed):
        super().__init__(reason(failed))
        self.text = failed.details()


def call(stub, request, timeout=30):
    try:
        return stub(request, timeout=timeout)
    except grpc.RpcError as failed:
        raise Failed(failed) from failed


class Service:
    """A service by its name, each call a method that takes the request's fields."""

    def __init__(self, channel, name, file):
        self.messages = importlib.import_module(f'sluice.v1.{file}_pb2')
        stubs = importlib.import_module(f'sluice.v1.{file}_pb2_grpc')
        self.stub = getattr(stubs, f'{name}ServiceStub')(channel)

    def __getattr__(self, method):
        request = getattr(self.messages, f'{method}Request')
        stub = getattr(self.stub, method)
        return lambda timeout=30, **fields: call(stub, request(**fields), timeout)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class Channel:
    """One connection to a server started with --grpc; over TLS if `tls` is an Issued of certs.py,
    and then `authority` vouches for the server."""

    def __init__(self, server, tls=None, authority=None):
        addresses = sorted(re.findall(r' grpc=(\S+)', server.ready), reverse=tls is None)
        address = addresses[0]  # of a door with both, the unix socket is the last
        options = [('grpc.use_local_subchannel_pool', 1)]
        if tls is None:
            self.channel = grpc.insecure_channel(address, options=options)
        else:
            options.append(('grpc.ssl_target_name_override', 'localhost'))
            self.channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*(
                read(path) for path in (authority.cert, tls.key, tls.cert))), options)
        self.block = block_pb2_grpc.BlockServiceStub(self.channel)
        self.disks = Service(self.channel, 'Disk', 'disk')
        self.volumes = Service(self.channel, 'Volume', 'volume')
        self.exports = Service(self.channel, 'Export', 'export')
        self.sessions = Service(self.channel, 'Session', 'export')
        self.operations = Service(self.channel, 'Operation', 'operation')
        self.stats = Service(self.channel, 'Stats', 'stats')
        self.server = Service(self.channel, 'Server', 'server')

    def open(self, export='disk', client='a', mode=READ_WRITE, **more):
        answer = call(self.block.OpenVolume, block.OpenVolumeRequest(
            export_name=export, client_id=client, access_mode=mode, **more))
        return Session(self, answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()


class Session:
    def __init__(self, channel, answer):
        self.block = channel.block
        self.answer = answer
        self.epoch = answer.epoch
        self.last_id = 0

    def key(self, op_id=None):
        if op_id is None:
            self.last_id += 1
            op_id = self.last_id
        return {'session_id': self.answer.session_id, 'epoch': self.epoch, 'op_id': op_id}

    def write(self, offset, data, op_id=None, flags=0, crc=None):
        call(self.block.Write, block.WriteRequest(
            **self.key(op_id), offset_bytes=offset, data=data, flags=flags,
            crc32c=crc32c(data) if crc is None else crc))

    def read(self, offset, length, op_id=None):
        answer = call(self.block.Read, block.ReadRequest(**self.key(op_id), offset_bytes=offset,
                                                         length_bytes=length))
        assert answer.crc32c == crc32c(answer.data)
        return answer.data

    def zero(self, offset, length):
        call(self.block.WriteZeroes, block.WriteZeroesRequest(
            **self.key(), offset_bytes=offset, length_bytes=length))

    def discard(self, offset, length):
        call(self.block.Discard, block.DiscardRequest(**self.key(), offset_bytes=offset,
                                                      length_bytes=length))

    def flush(self):
        call(self.block.Flush, block.FlushRequest(**self.key()))

    def keep_alive(self):
        return call(self.block.KeepAlive, block.KeepAliveRequest(
            session_id=self.answer.session_id, epoch=self.epoch)).lease_ms

    def close(self):
        call(self.block.CloseVolume, block.CloseVolumeRequest(
            session_id=self.answer.session_id, epoch=self.epoch))

    def stream(self, attach_seq=1):
        return Stream(self, attach_seq)


class Stream:
    """An Io stream, attached."""

    def __init__(self, session, attach_seq):
        self.session = session
        self.requests = queue.Queue()
        self.answers = session.block.Io(iter(self.requests.get, None), timeout=60)
        self.requests.put(block.IoRequest(attach=block.IoAttach(
            session_id=session.answer.session_id, epoch=session.epoch, attach_seq=attach_seq)))
        self.attached = self.receive().attached

    def send(self, *ops, payload=b'', **more):
        self.requests.put(block.IoRequest(ops=ops, payload=payload, **more))

    def receive(self):
        try:
            return next(self.answers)
        except grpc.RpcError as failed:
            raise Failed(failed) from failed

    def results(self, count):
        """{op_id: (reason, data)} of the next `count` results."""
        found = {}
        while len(found) < count:
            message = self.receive()
            for result in message.results:
                end = result.payload_offset + result.length_bytes
                data = message.payload[result.payload_offset:end]
                assert not data or result.crc32c == crc32c(data)
                found[result.op_id] = (
                    error.ErrorReason.Name(result.reason)[len('ERROR_REASON_'):], data)
        return found

    def end(self):
        """No more ops; what is left of the answers."""
        self.requests.put(None)
        return list(self.answers)


def write_op(op_id, offset, data, payload_offset=0, crc=None):
    return block.Op(op_id=op_id, kind=block.OP_KIND_WRITE, offset_bytes=offset,
                    length_bytes=len(data), payload_offset=payload_offset,
                    crc32c=crc32c(data) if crc is None else crc)


def read_op(op_id, offset, length, **more):
    return block.Op(op_id=op_id, kind=block.OP_KIND_READ, offset_bytes=offset,
                    length_bytes=length, **more)
