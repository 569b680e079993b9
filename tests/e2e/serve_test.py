#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line and config files: what is asked for is what is served."""
import grp
import json
import os
import pwd
import signal
import socket
import stat
import struct
import time

import wire
from server import BINARY, Server, refuses
from suite import Case, KIB, MIB, main, pattern, run, sparse_file, write_file
from wire import Wire, connect

MODULES = os.path.realpath(os.path.join(os.path.dirname(BINARY), '../modules'))  # tests/storage
STRATEGIES = ('fcfs', 'disksort', 'readprio', 'priocscan', 'deadline', 'fair')


class CommandLine(Case):
    def test_list_strategies_names_all_of_them(self):
        self.assertLessEqual(set(STRATEGIES), set(run(BINARY, '--list-strategies').split()))

    def test_version_and_help_are_told(self):
        self.assertRegex(run(BINARY, '--version'), r'\d+\.\d+')
        for option in ('serve', '--config', '--list-strategies'):
            self.assertIn(option, run(BINARY, '--help'))
        for option in ('--nbd', '--create', '--bufq', '--drain-timeout', '--insecure-tcp'):
            self.assertIn(option, run(BINARY, 'serve', '--help'))

    def test_sizes_are_what_they_say(self):
        for said, size in (('1GiB', 1 << 30), ('512M', None), ('1048576', MIB), ('64KiB', 65536)):
            with Server('serve', f'memory:{said}') as server, connect(server.address) as c:
                if size is not None:
                    self.assertEqual(c.size, size)
                else:
                    self.assertIn(c.size, (512 * MIB, 512 * 1000 * 1000))

    def test_an_export_can_be_named_and_is_also_the_default(self):
        with Server('serve', '--name', 'a/b c', 'memory:1MiB') as server:
            for name in ('a/b c', ''):
                with connect(server.address, name) as c:
                    self.assertEqual(c.size, MIB)

    def test_several_addresses_serve_one_disk(self):
        path = self.path('nbd.sock')
        with Server('serve', '--nbd', '127.0.0.1:0', '--nbd', '[::1]:0', '--nbd', f'unix:{path}',
                    '--socket-mode', '0660', 'memory:1MiB') as server:
            self.assertEqual(len(server.addresses), 3)
            self.assertEqual(server.addresses[2], f'unix:{path}')
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
            with connect(server.address) as tcp, connect(path) as unix:
                self.assertEqual(tcp.write(0, b'\x21' * 512), 0)
                self.assertEqual(unix.read(0, 512), b'\x21' * 512)
            port = int(server.addresses[1].rsplit(':', 1)[1])
            with socket.create_connection(('::1', port)) as v6:
                self.assertEqual(v6.recv(8), b'NBDMAGIC')
        self.assertFalse(os.path.exists(path), 'the socket file is left behind')

    def test_the_block_size_told_can_be_chosen(self):
        image = sparse_file(self.path('disk.img'), MIB)
        for disk in ('memory:1MiB', 'null:1MiB', image):
            for size in (512, 4096, 65536):
                with (self.subTest(disk=disk, size=size),
                      Server('serve', '--block-size', str(size), disk) as server):
                    info = json.loads(run('nbdinfo', '--json', server.uri()))['exports'][0]
                    self.assertEqual(info['block_size_minimum'], size)

    def test_the_null_disk_swallows_and_reads_zeroes(self):
        with Server('serve', 'null:1GiB') as server, connect(server.address) as c:
            self.assertEqual(c.write(0, b'\1' * MIB), 0)
            self.assertEqual(c.read(0, MIB), bytes(MIB))

    def test_a_file_whose_size_is_no_multiple_of_the_block_never_grows(self):
        size = MIB + 512
        image = write_file(self.path('odd.img'), pattern(0, size))
        with Server('serve', image) as server, connect(server.address) as c:
            self.assertEqual(c.size, size)
            self.assertEqual(c.write(MIB, b'\7' * 512), 0)
            self.assertEqual(c.call(wire.FLUSH), 0)
            self.assertEqual(c.read(MIB, 512), b'\7' * 512)
        self.assertEqual(os.path.getsize(image), size)

    def test_every_strategy_serves_a_verified_mixed_load(self):
        for strategy in STRATEGIES:
            with self.subTest(strategy), Server(
                    'serve', '--bufq', strategy, '--create', '64MiB',
                    self.path(f'{strategy}.img')) as server:
                run('fio', '--name=m', '--ioengine=nbd', f'--uri={server.uri()}', '--rw=randrw',
                    '--bsrange=4k-32k', '--blockalign=4k', '--iodepth=64', '--size=8M',
                    '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--thread')

    def test_the_owner_of_a_unix_socket_can_be_chosen(self):
        self.need_root()
        nobody, tty = pwd.getpwnam('nobody').pw_uid, grp.getgrnam('tty').gr_gid
        for owner, ids in (('1:1', (1, 1)), ('nobody:tty', (nobody, tty)), ('nobody', (nobody, 0)),
                           (':tty', (0, tty))):
            path = self.path('owned.sock')
            with (self.subTest(owner), Server('serve', '--nbd', f'unix:{path}', '--socket-owner',
                                              owner, 'memory:1MiB')):
                told = os.stat(path)
                self.assertEqual((told.st_uid, told.st_gid), ids)
        status, error = refuses('serve', '--nbd', f'unix:{path}', '--socket-owner', 'no-one-here',
                                'memory:1MiB')
        self.assertEqual(status, 1)
        self.assertIn('no-one-here', error)

    def test_an_unknown_strategy_or_option_is_refused(self):
        for arguments, name in ((('--bufq', 'nope', 'memory:1MiB'), 'nope'),
                                (('--nope', 'memory:1MiB'), 'nope'), (('memory:x',), '"x"'),
                                (('--block-size', '3000', 'memory:1MiB'), '3000')):
            status, error = refuses('serve', *arguments)
            self.assertNotEqual(status, 0)
            self.assertIn(name, error)

    def test_sighup_is_logged_and_ignored(self):
        with Server('serve', 'memory:1MiB') as server, connect(server.address) as c:
            server.signal(signal.SIGHUP)
            time.sleep(0.2)
            self.assertEqual(c.read(0, 512), bytes(512))
            self.assertIn('SIGHUP', server.text())

    def test_each_connection_event_is_one_log_line(self):
        with Server('serve', 'memory:1MiB') as server:
            before = server.text().count('\n')
            for _ in range(10):
                with connect(server.address) as c:
                    c.request(wire.DISC)
            time.sleep(0.3)
            lines = server.text().splitlines()[before:]
            self.assertGreaterEqual(len(lines), 20)
            self.assertLessEqual(len(lines), 50)


class Configured(Case):
    def config(self):
        a, b = (sparse_file(self.path(n), 8 * MIB) for n in ('a', 'b'))
        return {
            'nbd': {'listen': ['127.0.0.1:0', f'unix:{self.path("nbd.sock")}']},
            'disk': [{'name': 'a', 'path': a, 'bufq': 'deadline', 'depth': 4},
                     {'name': 'b', 'path': b, 'buffered': True},
                     {'name': 'ram', 'memory_bytes': 4 * MIB}],
            'volume': [{'name': 'v', 'stripe': {'chunk_bytes': 64 * KIB, 'leg': ['a', 'b']}},
                       {'name': 'half', 'slice': {'of': 'v', 'offset_bytes': 8 * MIB,
                                                  'size_bytes': 8 * MIB}}],
            'export': [{'name': 'half', 'volume': 'half', 'description': 'upper half'},
                       {'name': 'all', 'volume': 'v', 'read_only': True},
                       {'name': 'ram', 'volume': 'ram'}]}

    def serve_json(self, config):
        path = self.path('sluice.json')
        with open(path, 'w', encoding='utf-8') as f:
            json.dump(config, f)
        return path

    def test_json_and_textproto_say_the_same(self):
        path = self.serve_json(self.config())
        run(BINARY, '--check-config', '--config', path)
        with Server('--config', path) as server:
            self.check(server)
        with Server(config=textproto(self.config())) as server:
            self.check(server)

    def check(self, server):
        listed = json.loads(run('nbdinfo', '--list', '--json', server.uri()))['exports']
        self.assertEqual({e['export-name']: e['export-size'] for e in listed},
                         {'half': 8 * MIB, 'all': 16 * MIB, 'ram': 4 * MIB})
        with Wire(server.address) as c:
            self.assertEqual(c.option(wire.OPT_GO, Wire.info_data())[-1][0], wire.ERR_UNKNOWN)
        with connect(server.address, 'half') as half, connect(server.address, 'all') as whole:
            data = pattern(0, MIB)
            self.assertEqual(half.write(0, data), 0)
            self.assertTrue(whole.read(8 * MIB, MIB) == data)
            self.assertEqual(whole.write(0, data), wire.EPERM)

    def one_disk(self, fields, globally=''):
        return f'''
            nbd {{ listen: "127.0.0.1:0" }} {globally}
            disk {{ name: "d" {fields} }}
            export {{ name: "d" volume: "d" }}
            '''

    def test_a_strategy_is_loaded_from_a_module_by_its_name(self):
        image = sparse_file(self.path('d'), 16 * MIB)
        with Server(config=self.one_disk(f'path: "{image}" bufq: "elevator" depth: 4',
                                         f'strategy_dir: "{MODULES}"')) as server:
            with open(f'/proc/{server.process.pid}/maps', encoding='utf-8') as maps:
                self.assertIn(f'{MODULES}/elevator.so', maps.read())
            run('fio', '--name=m', '--ioengine=nbd', f'--uri={server.uri()}', '--rw=randrw',
                '--bsrange=4k-32k', '--blockalign=4k', '--iodepth=64', '--size=8M',
                '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--thread')

    def test_a_strategy_that_is_no_module_is_refused(self):
        for name in ('nosuch', 'bad_version'):
            path = write_file(self.path('sluice.textproto'), self.one_disk(
                f'memory_bytes: {MIB} bufq: "{name}"', f'strategy_dir: "{MODULES}"').encode())
            status, error = refuses('--config', path)
            self.assertEqual(status, 1, error)
            self.assertIn(f'{name}.so', error)

    def test_a_read_only_disk_refuses_every_write(self):
        image = sparse_file(self.path('d'), MIB)
        for fields in (f'memory_bytes: {MIB}', f'null_bytes: {MIB}', f'path: "{image}"'):
            with (self.subTest(fields),
                  Server(config=self.one_disk(fields + ' read_only: true')) as server,
                  connect(server.address) as c):
                self.assertTrue(c.transmission_flags & wire.FLAG_READ_ONLY)
                self.assertEqual(c.write(0, b'\1' * 512), wire.EPERM)
                self.assertEqual(c.call(wire.ZEROES, 0, 512), wire.EPERM)
                self.assertEqual(c.call(wire.TRIM, 0, 512), wire.EPERM)
                self.assertEqual(c.read(0, 512), bytes(512))

    def test_a_wrong_config_is_refused_with_file_line_and_key(self):
        path = self.path('bad.textproto')
        write_file(path, b'disk { name: "a"\n  path: "/x"\n  dept: 3 }\n')
        for arguments in (('--check-config', '--config', path), ('--config', path)):
            status, error = refuses(*arguments)
            self.assertEqual(status, 2, error)
            self.assertIn(f'{path}:3', error)
            self.assertIn('dept', error)
            self.assertNotIn('Traceback', error)

    def test_a_wrong_json_config_is_refused_with_the_keys_path(self):
        config = self.config()
        config['disk'][1]['depth'] = 100000
        status, error = refuses('--config', self.serve_json(config))
        self.assertEqual(status, 2, error)
        self.assertRegex(error, r'disk\[1\]\.depth')

    def test_R19_nothing_outside_a_slice_is_ever_touched(self):
        before = pattern(0, 8 * MIB, seed=2)
        image = write_file(self.path('d'), before)
        config = f'''
            nbd {{ listen: "127.0.0.1:0" }}
            disk {{ name: "d" path: "{image}" }}
            volume {{ name: "s" slice {{ of: "d" offset_bytes: {MIB} size_bytes: {MIB} }} }}
            export {{ name: "s" volume: "s" }}
            '''
        with Server(config=config) as server, connect(server.address) as c:
            self.assertEqual(c.size, MIB)
            self.assertEqual(c.write(0, b'\xcc' * MIB), 0)
            self.assertEqual(c.write(MIB - 512, b'\xcc' * 1024), wire.ENOSPC)
            self.assertEqual(c.call(wire.ZEROES, 0, MIB + 512), wire.ENOSPC)
            self.assertEqual(c.call(wire.TRIM, 0, 2 * MIB), wire.EINVAL)
        with open(image, 'rb') as f:
            after = f.read()
        self.assertTrue(after == before[:MIB] + b'\xcc' * MIB + before[2 * MIB:])

    def test_a_label_write_that_would_move_a_slice_in_use_is_refused(self):
        entry = struct.pack('<BBHBBHII', 0, 0, 0, 0x83, 0, 0, 2048, 32768)
        image = write_file(self.path('d'), (bytes(0x1be) + entry).ljust(510, b'\0') + b'\x55\xaa'
                           + bytes(64 * MIB - 512))
        config = f'''
            nbd {{ listen: "127.0.0.1:0" }}
            disk {{ name: "d" path: "{image}" }}
            volume {{ name: "p1" slice {{ of: "d" offset_bytes: {MIB} size_bytes: {16 * MIB} }} }}
            export {{ name: "disk" volume: "d" }}
            export {{ name: "p1" volume: "p1" }}
            '''
        with Server(config=config) as server, connect(server.address, 'disk') as c:
            label = c.read(0, 512)
            self.assertEqual(c.write(0, bytes(512)), wire.EPERM)
            self.assertEqual(c.read(0, 512), label)
            self.assertEqual(c.write(0, label), 0)
            moved = bytearray(label)
            moved[0x1be + 8] ^= 1
            self.assertEqual(c.write(0, bytes(moved)), wire.EPERM)
            self.assertEqual(c.call(wire.ZEROES, 0, MIB), wire.EPERM)
            self.assertEqual(c.read(0, 512), label)


def textproto(config, indent=''):
    """A JSON config as textproto."""
    lines = []
    for key, value in config.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                lines.append(f'{indent}{key} {{\n{textproto(item, indent + "  ")}{indent}}}\n')
            else:
                lines.append(f'{indent}{key}: {json.dumps(item)}\n')
    return ''.join(lines)


if __name__ == '__main__':
    main()
