#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands of `sluice` as a user gives them, against our server, nbdkit and qemu-nbd."""
import contextlib
import json
import os
import pty
import subprocess
import threading

from bench_test import SLUICE, Relay, command, nbdkit, sluice
from server import Server
from suite import Case, KIB, MIB, eventually, main, pattern, sparse_file, write_file

SIZE = 8 * MIB


def text(*arguments, status=0):
    """stdout of a command that must end with `status`."""
    code, out, err = sluice(*arguments)
    if code != status:
        raise AssertionError(f'sluice {arguments}: exit {code}, not {status}\n{out}{err}')
    return out


def cure(*arguments, status=1):
    """stderr of a command that must fail."""
    code, out, err = sluice(*arguments)
    assert (code, out) == (status, ''), (arguments, code, out, err)
    return err


def told(*arguments, status=0):
    return json.loads(text(*arguments, '--json', status=status))


def contents(path):
    with open(path, 'rb') as f:
        return f.read()


def image(path, size=SIZE):
    """Half of it holes, an eighth zeroes that take space, the rest data; its bytes."""
    sparse_file(path, size)
    data = pattern(0, 512 * KIB)
    with open(path, 'r+b') as f:
        for at in range(0, size, 2 * MIB):
            f.seek(at)
            f.write(data + bytes(256 * KIB))
        f.seek(size - 512)
        f.write(data[:512])
    return contents(path)


class AgainstAServer:
    """What holds for any server; each subclass below is one."""

    def setUp(self):
        super().setUp()
        self.uri = self.enterContext(self.serve())

    def test_a_file_goes_there_and_comes_back(self):
        data = image(self.path('source'))
        done = told('copy', self.path('source'), self.uri, '--verify')
        self.assertEqual((done['bytes'], done['verified']), (SIZE, True))
        self.assertEqual(done['data_bytes'] + done['zero_bytes'], SIZE)
        self.assertGreaterEqual(done['zero_bytes'], SIZE // 2)
        self.assertIn('copied', text('copy', self.uri, self.path('back')))
        self.assertEqual(contents(self.path('back')), data)
        self.assertLess(os.stat(self.path('back')).st_blocks * 512, SIZE // 2)
        self.assertTrue(told('verify', self.path('source'), self.uri)['equal'])

    def test_what_was_there_before_is_zeroed(self):
        old = write_file(self.path('old'), pattern(0, SIZE, seed=9))
        text('copy', old, self.uri)
        image(self.path('source'))
        text('copy', self.path('source'), self.uri, '--verify')

    def test_a_difference_is_found_where_it_is(self):
        image(self.path('source'))
        text('copy', self.path('source'), self.uri)
        with open(self.path('source'), 'r+b') as f:
            f.seek(5 * MIB + 77)
            f.write(b'x')
        found = told('verify', self.path('source'), self.uri, status=1)
        self.assertEqual((found['equal'], found['first_difference']), (False, 5 * MIB + 77))

    def test_read_and_write_move_a_range(self):
        data = pattern(0, 3 * MIB // 2)
        source = write_file(self.path('source'), data)
        text('write', '--offset', '1M', '--input', source, '--fua', '--flush', self.uri)
        text('read', '--offset', '1M', '--length', len(data), '--output', self.path('out'),
             self.uri)
        self.assertEqual(contents(self.path('out')), data)
        done = subprocess.run([SLUICE, 'read', '--offset', '1M', '--length', '512', self.uri],
                              stdout=subprocess.PIPE, check=True)
        self.assertEqual(done.stdout, data[:512])

    def test_stat_tells_size_and_abilities(self):
        info = told('info', self.uri)
        self.assertEqual(info['size_bytes'], SIZE)
        self.assertIn('flush', info['abilities'])
        self.assertIn(str(SIZE), text('stat', self.uri))

    def test_a_map_covers_all_and_knows_holes(self):
        text('write', '--offset', '1M', '--input',
             write_file(self.path('source'), pattern(0, 64 * KIB)), '--flush', self.uri)
        extents = told('map', self.uri)
        at = 0
        for extent in extents:
            self.assertEqual(extent['offset'], at)
            at += extent['length']
        self.assertEqual(at, SIZE)
        holding = [e for e in extents if e['offset'] <= MIB < e['offset'] + e['length']]
        self.assertEqual([e['zero'] for e in holding], [False])
        self.assertTrue(any(e['zero'] for e in extents))
        self.assertIn('data', text('map', self.uri))

    def test_past_the_end_is_refused(self):
        self.assertIn('past the end', cure('read', '--offset', '8M', '--length', '512', self.uri))
        large = sparse_file(self.path('large'), SIZE + 4096)
        self.assertIn('at least as large', cure('copy', large, self.uri))


class AgainstSluiced(AgainstAServer, Case):
    @contextlib.contextmanager
    def serve(self):
        disk = sparse_file(self.path('disk'), SIZE)
        with Server('serve', '--name', 'disk', disk) as server:
            yield server.uri('disk')

    def test_ls_lists_the_exports(self):
        rows = told('ls', self.uri)
        self.assertEqual([(r['name'], r['size_bytes'], r['read_only']) for r in rows],
                         [('disk', SIZE, False)])
        self.assertIn('disk', text('ls', self.uri.rsplit('/', 1)[0]))

    def test_between_two_servers(self):
        data = image(self.path('source'))
        text('copy', self.path('source'), self.uri)
        other = sparse_file(self.path('other'), SIZE)
        with Server('serve', other) as second:
            text('copy', '--verify', self.uri, second.uri())
        self.assertEqual(contents(other), data)


class AgainstNbdkit(AgainstAServer, Case):
    def serve(self):
        return nbdkit(self.path('sock'), 'memory', str(SIZE))


class AgainstQemuNbd(AgainstAServer, Case):
    def serve(self):
        sparse_file(self.path('disk'), SIZE)
        return command(self.path('sock'), 'qemu-nbd', '-f', 'raw', '-t', '-e', '8', '--discard',
                       'unmap', '-k', self.path('sock'), self.path('disk'))


class Mishaps(Case):
    def test_a_copy_through_a_line_that_breaks_is_whole(self):
        data = image(self.path('source'), 32 * MIB)
        disk = sparse_file(self.path('disk'), 32 * MIB)
        breaks = [200, 300, 400]

        def change(position, piece):
            if breaks and position > breaks[0]:
                breaks.pop(0)
                return None
            return piece

        with Server('serve', disk) as server, \
                Relay(server.address, self.path('relay'), change) as relay:
            done = told('copy', '--verify', self.path('source'), relay.uri)
        self.assertEqual(breaks, [])
        self.assertTrue(done['verified'])
        self.assertEqual(contents(disk), data)

    def test_an_interrupted_copy_goes_on_where_it_was(self):
        size = 600 * MIB
        source = sparse_file(self.path('source'), size)
        with open(source, 'r+b') as f:
            f.write(pattern(0, 64 * KIB))
            data = pattern(MIB, MIB)
            f.seek(256 * MIB)
            for _ in range(344):  # enough to be caught at
                f.write(data)
        disk = sparse_file(self.path('disk'), size)
        journal = self.path('journal')
        with Server('serve', disk) as server:
            with subprocess.Popen([SLUICE, 'copy', '--resume', journal, source, server.uri()],
                                  stdout=subprocess.DEVNULL) as copying:
                eventually(lambda: os.path.exists(journal) or copying.poll() is not None)
                copying.kill()
            self.assertTrue(os.path.exists(journal), 'the copy was done before it was interrupted')
            self.assertIn('another copy',
                          cure('copy', '--resume', journal, source, server.uri() + 'x'))
            done = told('copy', '--resume', journal, source, server.uri(), '--verify')
        self.assertGreaterEqual(done['resumed_at'], 256 * MIB)
        self.assertFalse(os.path.exists(journal))

    def test_a_changed_source_is_not_resumed(self):
        source = write_file(self.path('source'), pattern(0, MIB))
        write_file(self.path('journal'), b'sluice copy 1\nsource ?\n')
        self.assertIn('remove it', cure('copy', '--resume', self.path('journal'), source,
                                        self.path('target')))

    def test_errors_name_the_cure(self):
        source = write_file(self.path('source'), pattern(0, MIB))
        self.assertIn('source itself', cure('copy', source, source))
        self.assertIn('No such file', cure('copy', self.path('none'), self.path('target')))
        self.assertIn('is the server up?', cure('stat', f'nbd+unix:///?socket={self.tmp}/none'))
        self.assertIn('nbd://', cure('stat', 'http://x/'))
        self.assertIn('--help', cure('copy', source, status=2))
        self.assertIn('--jobs', cure('copy', '--jobs', '0', 'a', 'b', status=2))
        with Server('serve', '--name', 'disk', '--readonly', source) as server:
            self.assertIn('no export "other"', cure('stat', server.uri('other')))
            self.assertIn('read-only', cure('copy', source, server.uri('disk')))

    def test_every_command_has_a_help(self):
        for name in ('stat', 'ls', 'map', 'read', 'write', 'copy', 'verify', 'bench'):
            self.assertIn(f'sluice {name}', text(name, '--help'))

    def test_a_terminal_sees_a_bar(self):
        source = sparse_file(self.path('source'), 64 * MIB)
        with Server('serve', 'memory:64MiB') as server:
            with Relay(server.address, self.path('relay'), slowly()) as relay:
                ours, theirs = pty.openpty()
                with subprocess.Popen([SLUICE, 'copy', relay.uri, self.path('target')],
                                      stderr=theirs, stdout=subprocess.DEVNULL) as process:
                    seen = os.read(ours, 4096).decode()
                    self.assertEqual(process.wait(60), 0)
                os.close(ours)
                os.close(theirs)
        self.assertRegex(seen, r'copy \[[# ]{24}\] +\d+ %')
        self.assertTrue(os.path.getsize(source) == os.path.getsize(self.path('target')))


def slowly():
    """Replies with a second's pause in front of the first after the handshake."""
    paused = threading.Event()

    def change(position, piece):
        if position > 170 and not paused.is_set():
            paused.set()
            threading.Event().wait(1)
        return piece
    return change


if __name__ == '__main__':
    main()
