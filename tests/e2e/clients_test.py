#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stock clients against every kind of disk: what one writes, another reads back."""
import contextlib
import json
import os
import random

import wire
from disks import loop_device
from server import Server, refuses
from suite import Case, GIB, KIB, MIB, SHORT, main, pattern, run, sparse_file, write_file
from wire import Wire, connect

SIZE = 256 * MIB
TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))


class OnDisk:
    """The client tests; each subclass below is a kind of disk."""

    def setUp(self):
        super().setUp()
        self.server = self.enterContext(self.serve())
        self.uri = self.server.uri(self.EXPORT)

    EXPORT = ''

    def test_nbdinfo_tells_size_flags_and_block_sizes(self):
        info = json.loads(self.assert_runs('nbdinfo', '--json', self.uri))
        export = info['exports'][0]
        self.assertEqual(info['protocol'], 'newstyle-fixed')
        self.assertEqual(export['export-size'], SIZE)
        for can in ('can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn', 'can_df',
                    'can_cache'):
            self.assertTrue(export[can], can)
        self.assertFalse(export['is_read_only'])
        self.assertIn('base:allocation', export['contexts'])
        self.assertLessEqual(export['block_size_minimum'], 4096)
        self.assertGreaterEqual(export['block_size_maximum'], 32 * MIB)

    def test_nbdinfo_lists_the_export(self):
        listed = json.loads(self.assert_runs('nbdinfo', '--list', '--json', self.server.uri()))
        self.assertIn(SIZE, [e['export-size'] for e in listed['exports']])

    def test_an_ext4_image_of_a_real_tree_comes_back_byte_for_byte(self):
        image = sparse_file(self.path('in.img'), SIZE)
        source = self.path('tree')
        os.makedirs(source)
        run('sh', '-c', f'cd {TREE} && git archive HEAD | tar -x -C {source}')
        write_file(f'{source}/big', pattern(0, 8 * MIB, seed=3))
        self.assert_runs('mke2fs', '-q', '-t', 'ext4', '-d', source, image)
        self.assert_runs('nbdcopy', image, self.uri)
        self.assert_runs('nbdcopy', self.uri, self.path('out.img'))
        self.assert_runs('cmp', image, self.path('out.img'))
        self.assert_runs('e2fsck', '-fn', self.path('out.img'))
        self.assert_runs('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, self.uri)

    def test_qemu_img_converts_in_compares_and_maps(self):
        image = sparse_file(self.path('in.img'), SIZE)
        with open(image, 'r+b') as f:
            for at in (0, 64 * MIB, SIZE - 4 * MIB):
                f.seek(at)
                f.write(pattern(at, 4 * MIB))
        self.assert_runs('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', image, self.uri)
        self.assert_runs('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, self.uri)
        extents = json.loads(self.assert_runs('qemu-img', 'map', '--output=json', '-f', 'raw',
                                              self.uri))
        self.assertEqual(sum(e['length'] for e in extents), SIZE)
        holds = [e for e in extents if e['data']]
        for at in (0, 64 * MIB, SIZE - 1):
            self.assertTrue(any(e['start'] <= at < e['start'] + e['length'] for e in holds), at)

    def test_qemu_io_verifies_patterns_fua_zeroes_and_discards(self):
        out = self.assert_runs(
            'qemu-io', '-f', 'raw', '-t', 'none', self.uri,
            '-c', 'write -P 0x5a 1M 3M', '-c', 'read -P 0x5a 1M 3M',
            '-c', 'write -f -P 0xa5 1536k 64k', '-c', 'read -P 0xa5 1536k 64k',
            '-c', 'write -z 2M 512k', '-c', 'read -P 0 2M 512k',
            '-c', 'write -z -u 3M 512k', '-c', 'read -P 0 3M 512k',
            '-c', 'discard 3584k 512k', '-c', 'read -P 0x5a 1M 512k',
            '-c', 'aio_write -P 1 8M 64k', '-c', 'aio_write -P 2 9M 64k', '-c', 'aio_flush',
            '-c', 'read -P 1 8M 64k', '-c', 'read -P 2 9M 64k', '-c', 'flush')
        self.assertNotRegex(out, 'failed|error')

    def test_nbdsh_writes_reads_trims_zeroes_flushes_and_asks_for_status(self):
        self.assert_runs('nbdsh', '--base-allocation', '-u', self.uri, '-c', NBDSH)

    def test_fio_verifies_over_four_connections(self):
        region = 4 * MIB if SHORT else 32 * MIB
        for job in ('rw=randwrite', 'rw=write'):
            self.assert_runs(
                'fio', '--name=v', '--ioengine=nbd', f'--uri={self.uri}', f'--{job}',
                '--bsrange=4k-64k', '--blockalign=4k', '--iodepth=32', f'--size={region}',
                '--numjobs=4', f'--offset_increment={region}', '--verify=crc32c',
                '--verify_fatal=1', '--do_verify=1', '--verify_backlog=256', '--end_fsync=1',
                '--verify_state_save=0', '--group_reporting', '--thread', timeout=240)


NBDSH = '''
import os
page = bytes(range(256)) * 16
assert h.get_size() >= 1 << 20
h.pwrite(page * 2, 65536, nbd.CMD_FLAG_FUA)
assert h.pread(8192, 65536) == page * 2
h.zero(4096, 65536)
assert h.pread(8192, 65536) == bytes(4096) + page
h.zero(4096, 69632, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(4096, 69632) == bytes(4096)
h.pwrite(page, 0)
h.trim(4096, 131072)
h.cache(65536, 0)
h.flush()
seen = []
h.block_status(1 << 20, 0, lambda name, offset, extents, err: seen.append((name, offset, extents)))
assert seen and seen[0][0] == "base:allocation" and seen[0][1] == 0, seen
assert sum(seen[0][2][0::2]) > 0 and seen[0][2][1] == 0, seen
chunks = []
out = h.pread_structured(16384, 61440, lambda b, off, s, err: chunks.append((off, len(b), s)))
assert out == bytes(16384), chunks
assert chunks, "structured read without chunks"
try:
    h.set_strict_mode(0)
    h.pwrite(page, h.get_size())
    raise SystemExit("a write past the end succeeded")
except nbd.Error as e:
    assert e.errno == "ENOSPC", e
'''


class OnFile(OnDisk, Case):
    def serve(self):
        return Server('serve', '--create', str(SIZE), self.path('disk.img'))


class OnUnixSocket(OnDisk, Case):
    def serve(self):
        return Server('serve', '--nbd', f'unix:{self.path("nbd.sock")}', '--create', str(SIZE),
                      self.path('disk.img'))


class OnBufferedFile(OnDisk, Case):
    def serve(self):
        return Server('serve', '--buffered', '--create', str(SIZE), self.path('disk.img'))


class OnMemory(OnDisk, Case):
    def serve(self):
        return Server('serve', f'memory:{SIZE}')


@contextlib.contextmanager
def over_loop(path, block_size):
    with loop_device(sparse_file(path, SIZE), block_size) as device:
        with Server('serve', device) as server:
            yield server


class OnLoopDevice(OnDisk, Case):
    def serve(self):
        self.need_root()
        return over_loop(self.path('loop.img'), 512)


class OnLoopDeviceWith4KibBlocks(OnDisk, Case):
    def serve(self):
        self.need_root()
        return over_loop(self.path('loop.img'), 4096)


class OnStripeOfThree(OnDisk, Case):
    EXPORT = 's'

    def serve(self):
        legs = ''
        leg_size = -(-SIZE // (3 * 65536)) * 65536
        for i in range(3):
            legs += f'disk {{ name: "d{i}" path: "{sparse_file(self.path(f"d{i}"), leg_size)}" }}\n'
        return Server(config=legs + f'''
            nbd {{ listen: "127.0.0.1:0" }}
            volume {{ name: "wide" stripe {{ chunk_bytes: 65536 leg: "d0" leg: "d1" leg: "d2" }} }}
            volume {{ name: "cut" slice {{ of: "wide" offset_bytes: 0 size_bytes: {SIZE} }} }}
            export {{ name: "s" volume: "cut" }}
            ''')


class OnSliceOfConcat(OnDisk, Case):
    EXPORT = 'part'

    def serve(self):
        a, b = (sparse_file(self.path(n), SIZE // 2 + 2 * MIB) for n in ('a', 'b'))
        return Server(config=f'''
            nbd {{ listen: "127.0.0.1:0" }}
            disk {{ name: "a" path: "{a}" }}
            disk {{ name: "b" path: "{b}" }}
            volume {{ name: "long" concat {{ leg: "a" leg: "b" }} }}
            volume {{ name: "p" slice {{ of: "long" offset_bytes: {MIB} size_bytes: {SIZE} }} }}
            export {{ name: "part" volume: "p" }}
            ''')


class ReadOnly(Case):
    def test_a_read_only_export_is_served_and_never_written(self):
        data = pattern(0, MIB)
        image = write_file(self.path('disk.img'), data)
        with Server('serve', '--readonly', image) as server:
            info = json.loads(run('nbdinfo', '--json', server.uri()))
            self.assertTrue(info['exports'][0]['is_read_only'])
            run('nbdsh', '-u', server.uri(), '-c', 'h.set_strict_mode(0)', '-c', '''
for write in (lambda: h.pwrite(bytes(512), 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
    try:
        write()
        raise SystemExit("a write succeeded")
    except nbd.Error as e:
        assert e.errno == "EPERM", e
''')
            run('nbdcopy', server.uri(), self.path('copy'))
            run('cmp', image, self.path('copy'))

    def test_two_read_only_servers_share_a_file_and_a_writer_is_refused(self):
        image = sparse_file(self.path('disk.img'), GIB)
        with Server('serve', '--readonly', image), Server('serve', '--readonly', image):
            status, error = refuses('serve', '--nbd', '127.0.0.1:0', image)
            self.assertEqual(status, 1)
            self.assertIn('disk.img', error)


class ReadModifyWrite(Case):
    """512-byte blocks told for a drive that has 4096-byte ones: who shares a block keeps his part.

    A model of the disk is changed in the order of the requests, which is the order of overlapping
    ones on one connection. What was trimmed may hold its old bytes or zeroes, sector by sector."""

    SECTOR, REGION, BATCH = 512, 64 * KIB, 48

    def setUp(self):
        super().setUp()
        self.need_root()
        self.dice = random.Random(512)
        self.model = bytearray(pattern(0, MIB))

    def a_range(self):
        """Ragged: whole sectors anywhere in the region, few of them on a block's border."""
        first = self.dice.randrange(self.REGION // self.SECTOR - 24)
        start = first * self.SECTOR
        return start, start + self.dice.choice((1, 1, 1, 2, 3, 7, 8, 9, 24)) * self.SECTOR

    def pipeline(self, client):
        batch = b''
        for cookie in range(self.BATCH):
            start, end = self.a_range()
            if self.dice.random() < 0.25:
                data, payload = bytes(end - start), b''
                command = wire.ZEROES
            else:
                data = payload = self.dice.randbytes(end - start)
                command = wire.WRITE
            self.model[start:end] = data
            batch += Wire.header(command, cookie, start, end - start) + payload
        client.send(batch)
        self.assertEqual({client.simple() for _ in range(self.BATCH)},
                         {(cookie, 0) for cookie in range(self.BATCH)})

    def trim(self, client):
        start, end = self.a_range()
        self.assertEqual(client.call(wire.TRIM, start, end - start), 0)
        now = client.read(start, end - start)
        for at in range(0, end - start, self.SECTOR):
            sector = now[at:at + self.SECTOR]
            old = self.model[start + at:start + at + self.SECTOR]
            self.assertIn(sector, (bytes(old), bytes(self.SECTOR)), start + at)
        self.model[start:end] = now

    def test_parts_of_blocks_written_zeroed_and_trimmed_match_a_model(self):
        image = write_file(self.path('4kn.img'), bytes(self.model))
        with loop_device(image, 4096) as device:
            self.assertEqual(run('blockdev', '--getss', device).strip(), '4096')
            with (Server('serve', '--block-size', '512', device) as server,
                  connect(server.address) as client):
                for turn in range(20 if SHORT else 200):
                    self.pipeline(client)
                    self.trim(client)
                    self.assertTrue(client.read(0, MIB) == self.model, f'turn {turn}')
                self.assertEqual(client.call(wire.FLUSH), 0)
        with open(image, 'rb') as f:
            self.assertTrue(f.read() == self.model, 'the file below differs')


if __name__ == '__main__':
    main()
