#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Raw bytes a stock client never sends. After each the server lives and the data is untouched."""
import contextlib
import os
import resource
import socket
import struct
import time

import wire
from server import Server
from suite import Case, GIB, MIB, eventually, main, pattern, write_file
from wire import Closed, Wire, connect

DATA = pattern(0, MIB, seed=11)


class Hostile(Case):
    """One server for a suite; every test ends with a healthy client reading the whole disk."""

    ARGUMENTS = ()

    @classmethod
    def setUpClass(cls):
        cls.image = f'/tmp/sluice-hostile-{os.getpid()}.img'
        write_file(cls.image, DATA)
        cls.addClassCleanup(os.unlink, cls.image)
        cls.server = cls.enterClassContext(Server('serve', *cls.ARGUMENTS, cls.image))

    def tearDown(self):
        self.assertTrue(self.server.alive(), self.server.tail())
        with self.go() as healthy:
            self.assertTrue(healthy.read(0, MIB) == DATA, 'the data changed')

    def open(self, **options):
        return self.enterContext(Wire(self.server.address, **options))

    def go(self):
        return connect(self.server.address)

    def structured(self):
        return self.open().structured().go()

    def assert_closed(self, connection):
        """The server ends the connection, in order or by reset, and sends nothing more."""
        try:
            self.assertTrue(connection.at_end())
        except ConnectionResetError:
            pass

    def assert_option(self, option, data, kind, connection=None):
        """The option gets that one reply, and the next option still works."""
        connection = connection or self.open()
        replies = connection.option(option, data)
        self.assertEqual([hex(k) for k, _ in replies], [hex(kind)])
        self.assertEqual(connection.option(wire.OPT_LIST)[-1][0], wire.REP_ACK)
        return replies[-1][1]


class Handshake(Hostile):
    def test_unknown_client_flag_closes(self):
        for flags in (4, 1 << 31, wire.FIXED | wire.NO_ZEROES | 4):
            self.assert_closed(self.open(flags=flags))

    def test_option_with_bad_magic_closes(self):
        connection = self.open()
        connection.send_option(wire.OPT_LIST, magic=b'IHAVEOPX')
        self.assert_closed(connection)

    def test_unknown_options_get_unsup_with_text_and_continue(self):
        for option, data in ((99, b'x' * 10), (99, b'x' * 60000), (99, b'x' * 100000), (4, b''),
                             (0xffffffff, b'')):
            self.assertTrue(self.assert_option(option, data, wire.ERR_UNSUP))

    def test_starttls_is_refused_by_policy_and_extended_headers_are_unsupported(self):
        self.assert_option(wire.OPT_STARTTLS, b'', wire.ERR_POLICY)
        self.assert_option(wire.OPT_EXTENDED, b'', wire.ERR_UNSUP)

    def test_option_length_of_two_gib_closes(self):
        for option in (wire.OPT_GO, 99, wire.OPT_SET_META):
            connection = self.open()
            connection.send_option(option, length=2**31 - 1)
            self.assert_closed(connection)

    def test_list_with_data_is_invalid(self):
        self.assert_option(wire.OPT_LIST, b'junk', wire.ERR_INVALID)

    def test_abort_is_acknowledged_then_closed(self):
        connection = self.open()
        self.assertEqual(connection.option(wire.OPT_ABORT), [(wire.REP_ACK, b'')])
        self.assert_closed(connection)

    def test_malformed_go_and_info_are_invalid_and_the_next_option_works(self):
        empty = Wire.info_data()
        for option in (wire.OPT_GO, wire.OPT_INFO):
            for data in (struct.pack('>I', 1000) + b'ab' + b'\0\0',  # name longer than the option
                         b'abc', b'',  # too short for anything
                         empty + b'junk',  # trailing junk
                         struct.pack('>I', 0) + struct.pack('>H', 5),  # list longer than the option
                         Wire.info_data('x' * 4097), Wire.info_data(b'a\0b'),
                         Wire.info_data(b'\xff\xfe'),  # no UTF-8
                         struct.pack('>I', 0xffffffff) + b'x' * 10):
                with self.subTest(option=option, data=data[:20]):
                    self.assert_option(option, data, wire.ERR_INVALID)

    def test_unknown_export_is_unknown(self):
        for option in (wire.OPT_GO, wire.OPT_INFO):
            for name in ('nope', 'x' * 4096, '../../etc/passwd', '%s%n'):
                self.assert_option(option, Wire.info_data(name), wire.ERR_UNKNOWN)

    def test_export_name_of_an_unknown_export_closes(self):
        for name in (b'nope', b'x' * 4096, b'x' * 5000, b'a\0b'):
            connection = self.open()
            connection.send_option(wire.OPT_EXPORT_NAME, name)
            self.assert_closed(connection)

    def test_export_name_goes_on_with_and_without_zeroes(self):
        for flags, size in ((wire.FIXED | wire.NO_ZEROES, 10), (wire.FIXED, 134), (0, 134)):
            connection = self.open(flags=flags)
            connection.send_option(wire.OPT_EXPORT_NAME)
            self.assertEqual(connection.receive(size)[:8], struct.pack('>Q', MIB))
            self.assertTrue(connection.read(0, 4096) == DATA[:4096])

    def test_info_and_go_tell_the_same_size_and_flags(self):
        connection = self.open()
        told = [r for r in connection.option(wire.OPT_INFO, Wire.info_data())]
        self.assertEqual(connection.option(wire.OPT_GO, Wire.info_data()), told)

    def test_a_duplicate_info_request_is_answered_once(self):
        replies = self.open().option(wire.OPT_GO, Wire.info_data('', [3, 3, 3, 77, 0, 0]))
        self.assertEqual(sum(d[:2] == b'\0\3' for _, d in replies), 1)
        self.assertEqual(sum(d[:2] == b'\0\0' for _, d in replies), 1)

    def test_endless_options_are_bounded(self):
        connection = self.open()
        with self.assertRaises((Closed, ConnectionResetError, BrokenPipeError)):
            for _ in range(100000):
                connection.option(wire.OPT_LIST)

    def test_set_meta_without_structured_replies_is_invalid(self):
        self.assert_option(wire.OPT_SET_META, Wire.meta_data(), wire.ERR_INVALID)

    def test_malformed_meta_queries_are_invalid(self):
        name = struct.pack('>I', 0)
        for data in (b'', b'abc', name, name + struct.pack('>I', 1),
                     name + struct.pack('>II', 1, 1000) + b'base:allocation',
                     name + struct.pack('>I', 0xffffffff), Wire.meta_data() + b'junk',
                     Wire.meta_data('', ['x' * 4097])):
            for option in (wire.OPT_SET_META, wire.OPT_LIST_META):
                with self.subTest(option=option, data=data[:20]):
                    self.assert_option(option, data, wire.ERR_INVALID, self.open().structured())

    def test_set_meta_of_an_unknown_export_is_unknown(self):
        self.assert_option(wire.OPT_SET_META, Wire.meta_data('nope'), wire.ERR_UNKNOWN,
                           self.open().structured())

    def test_a_failed_set_meta_forgets_the_former_one(self):
        connection = self.open().structured()
        self.assertEqual(connection.option(wire.OPT_SET_META, Wire.meta_data())[0][0],
                         wire.REP_META)
        connection.option(wire.OPT_SET_META, b'abc')
        connection.go()
        self.assertEqual(connection.chunks(wire.STATUS, 0, 4096)[0].type, wire.CHUNK_ERROR)

    def test_a_client_silent_in_the_handshake_is_closed_after_ten_seconds(self):
        began = time.monotonic()
        silent, dripping = self.open(greet=False), self.open()
        for _ in range(300):
            try:
                dripping.send(b'I')
            except (ConnectionResetError, BrokenPipeError):
                break
            time.sleep(0.05)
        else:
            self.fail('a dripping handshake outlives its deadline')
        silent.receive(18)
        self.assert_closed(silent)
        self.assertLess(abs(time.monotonic() - began - 10), 4)

    def test_closing_at_every_byte_of_a_handshake_does_no_harm(self):
        whole = (struct.pack('>I', 3) + wire.IHAVEOPT + struct.pack('>II', wire.OPT_GO, 6)
                 + Wire.info_data() + Wire.header(wire.READ, length=4096))
        for cut in range(len(whole)):
            with Wire(self.server.address, greet=False) as connection:
                connection.receive(18)
                connection.send(whole[:cut])


class Transmission(Hostile):
    def test_unknown_commands_are_invalid_and_the_connection_lives(self):
        with self.go() as c:
            for command in (8, 9, 255, 0xffff):
                for length in (0, 4096):
                    self.assertEqual(c.call(command, 0, length), wire.EINVAL)
            self.assertTrue(c.read(0, 512) == DATA[:512])

    def test_unknown_or_misplaced_flags_are_invalid(self):
        with self.go() as c:
            for command, flags in ((wire.READ, 0x8000), (wire.READ, wire.DF), (wire.FLUSH, 0x40),
                                   (wire.READ, wire.NO_HOLE), (wire.TRIM, wire.FAST_ZERO),
                                   (wire.ZEROES, wire.REQ_ONE), (wire.STATUS, wire.NO_HOLE)):
                self.assertEqual(c.call(command, 0, 0 if command == wire.FLUSH else 512, flags),
                                 wire.EINVAL, (command, flags))
            self.assertEqual(c.write(0, bytes(512), flags=0x8000), wire.EINVAL)
            self.assertEqual(c.write(0, bytes(512), flags=wire.DF), wire.EINVAL)

    def test_fua_is_accepted_on_every_command(self):
        with self.go() as c:
            self.assertEqual(c.call(wire.FLUSH, flags=wire.FUA), 0)
            self.assertEqual(c.call(wire.CACHE, 0, 512, wire.FUA), 0)
            self.assertTrue(c.read(0, 512, wire.FUA) == DATA[:512])

    def test_df_with_structured_replies_is_one_chunk(self):
        chunks = self.structured().chunks(wire.READ, 0, 65536, wire.DF)
        self.assertEqual([c.type for c in chunks if c.type != wire.CHUNK_NONE],
                         [wire.CHUNK_DATA])
        self.assertTrue(chunks[0].data[8:] == DATA[:65536])

    def test_offsets_do_not_wrap(self):
        with self.go() as c:
            for offset, length in ((2**64 - 512, 1024), (2**63, 512), (2**64 - 1, 1), (MIB, 512),
                                   (MIB - 512, 1024)):
                for command in (wire.READ, wire.TRIM, wire.CACHE):
                    self.assertEqual(c.call(command, offset, length), wire.EINVAL)
                self.assertEqual(c.call(wire.ZEROES, offset, length), wire.ENOSPC)
            for offset in (2**64 - 512, 2**63, MIB, MIB - 512):
                self.assertEqual(c.write(offset, bytes(1024)), wire.ENOSPC)
            for command, error in ((wire.READ, wire.EOVERFLOW), (wire.TRIM, wire.EINVAL),
                                   (wire.ZEROES, wire.ENOSPC)):
                self.assertEqual(c.call(command, 0, 0xffffff00), error)
            structured = self.structured()
            for offset in (2**64 - 512, MIB):
                self.assertEqual(structured.chunks(wire.READ, offset, 1024)[0].type & 0x8000,
                                 0x8000)

    def test_zero_length_is_a_no_op_but_not_for_block_status(self):
        with self.go() as c:
            for command in (wire.READ, wire.WRITE, wire.TRIM, wire.ZEROES):
                self.assertEqual(c.call(command, 512, 0), 0, command)
        c = self.structured_with_status()
        self.assertEqual(self.error_of(c.chunks(wire.STATUS, 0, 0)), wire.EINVAL)
        self.assertTrue(c.chunks(wire.READ, 0, 0)[-1].done)

    def structured_with_status(self):
        connection = self.open().structured()
        connection.option(wire.OPT_SET_META, Wire.meta_data())
        return connection.go()

    def error_of(self, chunks):
        self.assertIn(chunks[-1].type, (wire.CHUNK_ERROR, wire.CHUNK_ERROR_OFFSET), chunks)
        return struct.unpack('>I', chunks[-1].data[:4])[0]

    def test_flush_with_offset_or_length_is_invalid(self):
        with self.go() as c:
            self.assertEqual(c.call(wire.FLUSH, 512, 0), wire.EINVAL)
            self.assertEqual(c.call(wire.FLUSH, 0, 512), wire.EINVAL)
            self.assertEqual(c.call(wire.FLUSH), 0)

    def test_block_status_without_contexts_is_invalid(self):
        self.assertEqual(self.error_of(self.structured().chunks(wire.STATUS, 0, 512)), wire.EINVAL)
        with self.go() as c:
            self.assertEqual(c.call(wire.STATUS, 0, 512), wire.EINVAL)

    def test_block_status_of_the_largest_length_neither_wraps_nor_dies(self):
        c = self.structured_with_status()
        self.assertEqual(self.error_of(c.chunks(wire.STATUS, 0, 0xffffffff)), wire.EINVAL)
        extents = c.chunks(wire.STATUS, 0, MIB)[0]
        self.assertEqual(extents.type, wire.CHUNK_STATUS)
        one = c.chunks(wire.STATUS, 0, MIB, wire.REQ_ONE)[0]
        self.assertEqual(len(one.data), 12)
        self.assertLessEqual(struct.unpack('>I', one.data[4:8])[0], MIB)

    def test_a_write_of_two_gib_without_payload_closes(self):
        for length in (2**31 - 1, 0xffffffff, 65 * MIB):
            connection = self.enterContext(self.go())
            connection.request(wire.WRITE, 1, 0, length)
            self.assert_closed(connection)

    def test_bad_request_magic_closes(self):
        for magic in (0, 0x12560953, 0x25609514, wire.SIMPLE_MAGIC):
            connection = self.enterContext(self.go())
            connection.send(Wire.header(wire.READ, length=512, magic=magic))
            self.assert_closed(connection)

    def test_closing_mid_header_or_mid_payload_writes_nothing(self):
        whole = Wire.header(wire.WRITE, 1, 0, 65536) + b'\xee' * 65536
        for cut in (1, 27, 28, 29, 28 + 512, 28 + 4096, 28 + 65535):
            connection = self.go()
            connection.send(whole[:cut])
            connection.close()

    def test_a_read_then_disc_in_one_segment_is_answered_then_closed(self):
        both = Wire.header(wire.READ, 5, 0, 4096) + Wire.header(wire.DISC, 6)
        with self.go() as simple:
            simple.send(both)
            self.assertEqual(simple.simple(), (5, 0))
            self.assertTrue(simple.receive(4096) == DATA[:4096])
            self.assert_closed(simple)
        structured = self.structured()
        structured.send(both)
        self.assertTrue(structured.chunk().data[8:] == DATA[:4096])
        self.assert_closed(structured)

    def test_many_reads_closed_without_reading_do_no_harm(self):
        for _ in range(20):
            connection = self.go()
            connection.send(b''.join(Wire.header(wire.READ, i, 0, 65536) for i in range(64)))
            connection.close()

    def test_a_closed_half_still_gets_its_answers(self):
        with self.go() as c:
            c.request(wire.READ, 3, 0, 4096)
            c.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(c.simple(), (3, 0))
            self.assertTrue(c.receive(4096) == DATA[:4096])
            self.assert_closed(c)


class ReadOnly(Hostile):
    ARGUMENTS = ('--readonly',)

    def test_every_write_type_command_is_refused_with_eperm(self):
        with self.go() as c:
            self.assertTrue(c.transmission_flags & wire.FLAG_READ_ONLY)
            self.assertEqual(c.write(0, bytes(512)), wire.EPERM)
            self.assertEqual(c.call(wire.ZEROES, 0, 512), wire.EPERM)
            self.assertEqual(c.call(wire.TRIM, 0, 512), wire.EPERM)
            self.assertEqual(c.call(wire.FLUSH), 0)


class LargePayloads(Case):
    """Over 32 MiB: reads and writes up to 64 MiB are served, whatever was advertised."""

    def test_reads_and_writes_over_32_mib_are_served(self):
        size = 32 * MIB + 512
        data = os.urandom(size)
        with Server('serve', '--create', '1GiB', self.path('disk.img')) as server:
            with connect(server.address, timeout=60) as c:
                self.assertEqual(c.write(MIB, data), 0)
                self.assertTrue(c.read(MIB, size) == data)
                self.assertEqual(c.write(0, bytes(64 * MIB)), 0)
                self.assertIn(c.call(wire.READ, 0, 512 * MIB), (wire.EINVAL, wire.EOVERFLOW))
                self.assertEqual(c.call(wire.ZEROES, 0, 1 * GIB), 0)

    def test_a_thousand_unread_replies_hold_back_the_client_not_the_server(self):
        """A1, A2: who never reads costs bounded memory, and others are served meanwhile."""
        with (Server('serve', f'memory:{64 * MIB}') as server,
              contextlib.ExitStack() as connections):
            for _ in range(16):
                connection = connections.enter_context(
                    connect(server.address, receive_buffer=4096))
                connection.socket.settimeout(0.2)
                try:
                    for i in range(4000):
                        connection.request(wire.READ, i, 0, MIB)
                except TimeoutError:
                    pass
            began = time.monotonic()
            with connect(server.address) as healthy:
                for i in range(100):
                    self.assertTrue(healthy.read(i * 4096, 4096) == bytes(4096))
            self.assertLess(time.monotonic() - began, 5)
            with open(f'/proc/{server.process.pid}/status', encoding='ascii') as f:
                peak = next(int(x.split()[1]) for x in f if x.startswith('VmHWM'))
            self.assertLess(peak, MIB, 'peak KiB')


class FewDescriptors(Case):
    def test_a_flood_beyond_the_descriptor_limit_passes_and_service_returns(self):
        """A3: with 64 descriptors the listener survives EMFILE and accepts again within 1 s."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        with Server('serve', f'memory:{MIB}', preexec_fn=limit) as server:
            with connect(server.address) as established:
                flood = []
                for _ in range(200):
                    s = socket.socket()
                    s.setblocking(False)
                    s.connect_ex(server.address)
                    flood.append(s)
                time.sleep(0.5)
                self.assertTrue(established.read(0, 4096) == bytes(4096))
                for s in flood:
                    s.close()
                began = time.monotonic()
                eventually(lambda: self.serves(server), what='service after the flood')
                self.assertLess(time.monotonic() - began, 1.5)

    @staticmethod
    def serves(server):
        try:
            with connect(server.address, timeout=1) as c:
                return c.read(0, 512) == bytes(512)
        except (Closed, OSError):
            return False


if __name__ == '__main__':
    main()
