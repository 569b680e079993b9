#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gRPC door over TCP: mutual TLS or nothing, rights by certificate, certificates read anew."""
import os
import resource
import shutil
import signal
import socket
import ssl
import time

import certs
import h2
import wire
from disks import Nbdkit, fuse_file
from rpc import Channel, Failed, READ_ONLY, call
from server import Server, refuses
from sluice.v1 import server_pb2, server_pb2_grpc
from suite import Case, MIB, eventually, main, pattern
from wire import Wire

EXPORTS = 'disk { name: "disk" memory_bytes: 16777216 }'


class Tls(Case):
    def setUp(self):
        super().setUp()
        self.authority = certs.Authority(self.tmp, 'ca')
        self.server_cert = self.authority.issue_server(file='server')
        self.client = self.authority.issue('vm7')

    def config(self, exports='export { name: "disk" volume: "disk" }', more='', tls='', limits=''):
        return f'''
            nbd {{ listen: "127.0.0.1:0" listen: "unix:{self.path('nbd.sock')}" }}
            grpc {{ listen: "127.0.0.1:0" listen: "unix:{self.path('grpc.sock')}" {more}
              tls {{ cert: "{self.server_cert.cert}" key: "{self.server_cert.key}"
                     client_ca: "{self.authority.cert}" {tls} }} }}
            state_dir: "{self.path('state')}"
            {limits} {EXPORTS} {exports}'''

    def serve(self, *_, config=None, **more):
        return self.enterContext(Server(config=config or self.config(**more)))

    def channel(self, server, client=None, authority=None):
        return self.enterContext(Channel(server, client or self.client,
                                         authority or self.authority))

    def address(self, server):
        return h2.address_of(server)

    def assert_unreachable(self, server, client):
        with self.assertRaises(Failed) as failed:
            self.channel(server, client).open()
        self.assertIn('UNAVAILABLE', str(failed.exception))

    def assert_refused(self, server, context, why):
        """The handshake, or the first read behind it, fails; the log says why."""
        try:
            with socket.create_connection(self.address(server), 5) as raw, \
                    context.wrap_socket(raw, server_hostname='localhost') as secure:
                secure.settimeout(5)
                self.assertEqual(secure.recv(1), b'')
        except (ssl.SSLError, ConnectionError):
            pass
        eventually(lambda: why in server.text(), what=f'{why!r} in the log')


class Door(Tls):
    def test_a_certificate_holder_is_served(self):
        server = self.serve()
        session = self.channel(server).open()
        data = pattern(0, 64 * 1024)
        session.write(0, data)
        self.assertEqual(session.read(0, len(data)), data)
        stream = session.stream()
        self.assertGreater(stream.attached.credits.ops, 0)
        stream.end()
        with self.enterContext(Channel(server)) as local:
            self.assertEqual(local.open(client='r', mode=READ_ONLY).read(0, 512), data[:512])
        self.assertIn('"vm7"): connected', server.text())

    def test_strangers_are_refused_in_the_handshake(self):
        server = self.serve()
        other = certs.Authority(self.tmp, 'other')
        for client, why in ((other.issue('vm7'), 'certificate verify failed'),
                            (self.authority.issue('old', days=-1), 'certificate has expired'),
                            (self.authority.issue(''), 'no usable name')):
            self.assert_refused(server, client.context(self.authority), why)
        nobody = ssl.create_default_context(cafile=self.authority.cert)
        nobody.set_alpn_protocols(['h2'])
        self.assert_refused(server, nobody, 'peer did not return a certificate')
        self.assert_refused(server, self.client.context(
            self.authority, version=ssl.TLSVersion.TLSv1_1), 'unsupported protocol')
        self.assert_refused(server, self.client.context(self.authority, alpn=('http/1.1',)),
                            'no application protocol')
        self.assert_refused(server, self.client.context(self.authority, alpn=()),
                            'names no application protocol')
        self.assertNotIn('): connected', server.text())
        self.channel(server).open()

    def test_plain_bytes_are_never_parsed(self):
        server = self.serve()
        for plain in (h2.PREFACE + h2.SETTINGS, b'GET / HTTP/1.1\r\n\r\n', bytes(5000)):
            with socket.create_connection(self.address(server), 5) as raw:
                raw.sendall(plain)
                raw.settimeout(5)
                try:
                    answer = raw.recv(4096)
                except ConnectionError:
                    continue
                self.assertIn(answer[:1], (b'', b'\x15'))  # nothing, or a TLS alert
        self.assertNotIn('): connected', server.text())
        self.channel(server).open()

    def test_a_slow_handshake_is_cut_and_others_are_served_meanwhile(self):
        server = self.serve(limits='limits { handshake_timeout_s: 2 }')
        began = time.monotonic()
        idle = [self.enterContext(socket.create_connection(self.address(server)))
                for _ in range(8)]
        idle[0].sendall(b'\x16\x03\x01')
        self.channel(server).open()
        self.assertLess(time.monotonic() - began, 2)
        for connection in idle:
            connection.settimeout(10)
            self.assertEqual(connection.recv(1), b'')
        self.assertGreater(time.monotonic() - began, 1.5)
        eventually(lambda: 'the handshake took too long' in server.text())

    def test_a_host_has_so_many_connections(self):
        server = self.serve(more='connections_per_host: 4')
        taken = [self.enterContext(socket.create_connection(self.address(server)))
                 for _ in range(4)]
        with socket.create_connection(self.address(server)) as fifth:
            fifth.settimeout(10)
            self.assertEqual(h2.read_end(fifth), b'')
        for connection in taken:
            connection.close()
        eventually(lambda: self.opens(server), what='room again')

    def test_strangers_who_shake_hands_keep_nobody_out_who_comes_from_this_machine(self):
        server = self.serve(more='connections: 4 connections_per_host: 8')
        for _ in range(8):
            self.enterContext(socket.create_connection(self.address(server)))
        time.sleep(0.3)
        began = time.monotonic()
        with Channel(server) as local:
            local.open(client='operator').write(0, bytes(512))
        self.assertLess(time.monotonic() - began, 5, 'before their handshakes were cut')

    def opens(self, server):
        try:
            self.channel(server).open(mode=READ_ONLY)
            return True
        except Failed:
            return False

    def test_after_a_lack_of_descriptors_it_serves_again(self):
        limit = (64, 64)
        config = self.config(more='connections: 200 connections_per_host: 200')
        server = self.enterContext(Server(config=config, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, limit)))
        held = []
        for _ in range(80):
            held.append(self.enterContext(socket.create_connection(self.address(server), 5)))
        eventually(lambda: 'cannot accept' in server.text(), what='EMFILE in the log')
        for connection in held:
            connection.close()
        eventually(lambda: self.opens(server), what='serving again')

    def test_a_drain_ends_the_connections(self):
        server = self.serve()
        session = self.channel(server).open()
        session.write(0, bytes(512))
        self.enterContext(socket.create_connection(self.address(server)))
        self.assertEqual(server.stop(), 0)


class Rights(Tls):
    def test_exports_are_there_for_those_on_their_list_alone(self):
        server = self.serve(exports='''
            export { name: "hers" volume: "disk" allow: "her" }
            export { name: "local" volume: "disk" allow: "unix" }
            export { name: "all" volume: "disk" }''')
        his = self.channel(server)
        hers = self.channel(server, self.authority.issue('any', dns=('her',)))
        local = self.enterContext(Channel(server))
        for channel, may in ((his, {'all'}), (hers, {'all', 'hers'}), (local, {'all', 'local'})):
            for export in ('all', 'hers', 'local'):
                if export in may:
                    channel.open(export, client='r', mode=READ_ONLY)
                    continue
                with self.assertRaises(Failed) as failed:
                    channel.open(export, client='r', mode=READ_ONLY)
                self.assertEqual(str(failed.exception), 'NOT_FOUND')

    def test_nbd_keeps_to_the_same_list(self):
        server = self.serve(exports='''
            export { name: "hers" volume: "disk" allow: "her" }
            export { name: "local" volume: "disk" allow: "unix" }
            export { name: "all" volume: "disk" }''')
        unix = next(a for a in server.addresses if a.startswith('unix:'))[len('unix:'):]
        for address, seen in ((server.address, [b'all']), (unix, [b'local', b'all'])):
            with Wire(address) as connection:
                replies = connection.option(wire.OPT_LIST)
                self.assertEqual([data[4:] for _, data in replies[:-1]], seen)
                for export in (b'hers', b'local', b'all'):
                    kinds = {k for k, _ in connection.option(
                        wire.OPT_INFO, Wire.info_data(export.decode()))}
                    self.assertEqual(wire.REP_ACK in kinds, export in seen)
                    self.assertEqual(wire.ERR_UNKNOWN in kinds, export not in seen)

    def test_only_certificates_that_are_named_may_control(self):
        server = self.serve(tls='admin: "ops"')
        ask = server_pb2.GetServerInfoRequest()
        for channel in (self.channel(server, self.authority.issue('ops')),
                        self.enterContext(Channel(server))):
            call(server_pb2_grpc.ServerServiceStub(channel.channel).GetServerInfo, ask)
        other = self.channel(server)
        with self.assertRaises(Failed) as failed:
            call(server_pb2_grpc.ServerServiceStub(other.channel).GetServerInfo, ask)
        self.assertEqual(str(failed.exception), 'DENIED')
        other.open()

    def test_another_certificate_does_not_take_a_session_by_its_client_id(self):
        server = self.serve()
        mine = self.channel(server).open(client='a')
        for thief in (self.channel(server, self.authority.issue('thief')),
                      self.enterContext(Channel(server))):
            with self.assertRaises(Failed) as failed:
                thief.open(client='a')
            self.assertEqual(str(failed.exception), 'MOUNT_CONFLICT')
        mine.write(0, bytes(512))
        again = self.channel(server).open(client='a')
        self.assertEqual(again.epoch, mine.epoch + 1)


class Files(Tls):
    def replace(self, fresh):
        """The server's files become those, the certificate first."""
        for source, target in ((fresh.cert, self.server_cert.cert),
                               (fresh.key, self.server_cert.key)):
            shutil.copy(source, target + '.new')
            os.rename(target + '.new', target)

    def test_a_new_certificate_is_used_and_open_connections_stay(self):
        server = self.serve()
        session = self.channel(server).open(client='a')
        renewed = certs.Authority(self.tmp, 'renewed')
        fresh = renewed.issue_server(file='fresh')
        self.replace(fresh)
        server.signal(signal.SIGHUP)
        eventually(lambda: 'were read anew' in server.text())
        session.write(0, bytes(512))
        self.channel(server, authority=renewed).open(client='b', mode=READ_ONLY)

    def test_a_new_authority_lets_its_clients_in_and_the_old_ones_no_more(self):
        server = self.serve()
        session = self.channel(server).open(client='a')
        renewed = certs.Authority(self.tmp, 'renewed')
        shutil.copy(renewed.cert, self.authority.cert + '.new')
        before = self.authority.cert
        self.authority.cert = self.path('old-ca.pem')
        shutil.copy(before, self.authority.cert)
        os.rename(before + '.new', before)
        time.sleep(1.1)  # no signal: the files are looked at once a second
        eventually(lambda: self.opens(server, renewed.issue('vm8')), what='the new authority')
        self.assert_unreachable(server, self.client)
        session.write(0, bytes(512))

    def opens(self, server, client):
        try:
            self.channel(server, client).open(client='r', mode=READ_ONLY)
            return True
        except Failed:
            return False

    def test_a_file_system_that_hangs_holds_nobody_up(self):
        nbdkit = self.enterContext(Nbdkit(self.tmp, 'file', self.authority.cert))
        on_it = self.enterContext(fuse_file(self.tmp, nbdkit))
        config = self.config().replace(f'client_ca: "{self.authority.cert}"',
                                       f'client_ca: "{on_it}"')
        server = self.serve(config=config)
        self.addCleanup(nbdkit.resume)
        session = self.channel(server).open(client='a')
        nbdkit.stall(mounts=True)
        time.sleep(1.5)  # the files are looked at once a second
        began = time.monotonic()
        session.write(0, bytes(512))
        self.channel(server).open(client='b', mode=READ_ONLY)
        self.assertLess(time.monotonic() - began, 5)

    def test_files_that_do_not_load_keep_the_old_ones_in_use(self):
        server = self.serve()
        with open(self.server_cert.key, 'w', encoding='utf-8') as f:
            f.write('nonsense')
        server.signal(signal.SIGHUP)
        eventually(lambda: 'the old certificates stay in use' in server.text())
        self.channel(server).open()

    def test_a_wrong_start_is_refused_with_the_cure(self):
        good = self.server_cert
        other = self.authority.issue_server()
        expired = self.authority.issue_server(days=-1)
        arguments = ('serve', '--state-dir', self.path('state'), '--grpc', '127.0.0.1:0')
        for cert, key, says in (
                (good.cert, other.key, ('is not the key of', 'give the key')),
                (expired.cert, expired.key, ('has expired', 'reissued')),
                (self.path('none'), good.key, ('none', 'No such file', '--tls-cert')),
                (good.key, good.key, ('holds no certificate',)),
                (good.cert, good.cert, ('holds no private key', 'not encrypted')),
                (good.cert, '', ('--tls-key', 'is missing'))):
            status, error = refuses(*arguments, '--tls-cert', cert, '--tls-key', key,
                                    '--tls-client-ca', self.authority.cert, 'memory:1MiB')
            self.assertIn(status, (1, 2), error)
            for text in says:
                self.assertIn(text, error)
        status, error = refuses(*arguments, 'memory:1MiB')
        self.assertEqual(status, 2)
        self.assertIn('--tls-cert', error)

    def test_a_key_that_everybody_reads_is_a_warning(self):
        os.chmod(self.server_cert.key, 0o644)
        server = self.enterContext(Server(
            'serve', '--state-dir', self.path('state'), '--grpc', '127.0.0.1:0', '--tls-cert',
            self.server_cert.cert, '--tls-key', self.server_cert.key, '--tls-client-ca',
            self.authority.cert, 'memory:16MiB'))
        self.assertIn('can read the private key; chmod', server.text())
        self.assertEqual(len(self.channel(server).open().read(0, MIB)), MIB)


if __name__ == '__main__':
    main()
