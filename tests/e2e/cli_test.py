#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice` as an operator drives a running sluiced through its gRPC door."""
import json
import os
import pty
import re
import signal
import subprocess
import termios
import time

from bench_test import SLUICE, bench
from server import Server
from suite import Case, MIB, eventually, main, pattern, write_file

CONFIG = '''
nbd {{ listen: "127.0.0.1:0" }}
grpc {{ listen: "unix:{tmp}/grpc.sock" }}
state_dir: "{tmp}/state"
disk_roots: "{tmp}/disks"
reactors: 2
disk {{ name: "d0" memory_bytes: 67108864 bufq: "fcfs" }}
disk {{ name: "d1" memory_bytes: 67108864 }}
volume {{ name: "long" concat {{ leg: "d0" leg: "d1" }} }}
export {{ name: "long" volume: "long" description: "both" }}
'''


class Operator(Case):
    """A server with two disks, and the words an operator says to it."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path('disks'))
        os.mkdir(self.path('state'))
        self.start()

    def start(self):
        self.server = self.enterContext(Server(config=CONFIG.format(tmp=self.tmp)))
        self.address = f'unix:{self.tmp}/grpc.sock'

    def run_sluice(self, *words):
        done = subprocess.run([SLUICE, *map(str, words)], capture_output=True, text=True,
                              timeout=60, check=False,
                              env={**os.environ, 'SLUICE_SERVER': self.address})
        return done.returncode, done.stdout, done.stderr

    def say(self, *words):
        status, out, err = self.run_sluice(*words)
        self.assertEqual((status, err), (0, ''), words)
        return out

    def told(self, *words):
        return json.loads(self.say(*words, '--json'))

    def cure(self, *words, status=1):
        code, out, err = self.run_sluice(*words)
        self.assertEqual((code, out), (status, ''), (words, err))
        return err

    def rows(self, *words):
        """The table as {first column: line}."""
        return {line.split()[0]: line for line in self.say(*words).splitlines()[1:]}


class Life(Operator):
    def test_of_a_disk_a_volume_and_an_export(self):
        image = self.path('disks/new.img')
        self.assertIn('disk new added, 64.0 MiB',
                      self.say('disk', 'add', 'new', image, '--create', '64M', '--bufq', 'fcfs'))
        disk = self.told('disk', 'show', 'new')
        self.assertEqual((disk['state'], disk['size_bytes'], disk['strategy']),
                         ('online', 64 * MIB, 'fcfs'))
        self.assertTrue(disk['added_at_run_time'])
        self.assertIn('deadline now', self.say('disk', 'swap', 'new', 'deadline'))
        self.assertIn('takes 8 requests', self.say('disk', 'depth', 'new', '8'))
        self.assertRegex(self.rows('disk', 'list')['new'], r'online +64.0 MiB +deadline +8 ')

        self.say('volume', 'create', 'slice', 'part', 'new', '--offset', '1M', '--size', '4M')
        self.assertIn('has grown, 9.0 MiB', self.say('volume', 'grow', 'part', '--size', '9M'))
        self.say('volume', 'create', 'stripe', 'even', 'part', '--chunk', '64K')
        self.assertEqual(self.told('volume', 'show', 'even')['size_bytes'], 9 * MIB)
        self.assertIn('export data created, 9.0 MiB of even',
                      self.say('export', 'create', 'data', 'even', '--description', 'it'))
        self.assertRegex(self.rows('ls')['data'], r'9.0 MiB +rw +even +0 +it')

        self.assertIn('updated: rw, priority 0',
                      self.say('export', 'update', 'data', '--description', 'mine',
                               '--priority', 0))
        self.assertRegex(self.rows('ls')['data'], r'9.0 MiB +rw +even +0 +mine')

        source = write_file(self.path('source'), pattern(0, 8 * MIB))
        self.say('copy', source, self.server.uri('data'), '--verify', '--quiet')
        self.assertIn('even', self.cure('volume', 'delete', 'part'))
        self.say('export', 'delete', 'data')
        self.say('volume', 'delete', 'even')
        self.assertIn('part', self.cure('disk', 'remove', 'new'))
        self.say('volume', 'delete', 'part')
        self.assertIn(': done', self.say('disk', 'drain', 'new'))
        self.assertEqual(self.told('disk', 'show', 'new')['state'], 'drained')
        self.assertIn('removed', self.say('disk', 'remove', 'new'))
        self.assertNotIn('new', self.rows('disk', 'list'))
        with open(image, 'rb') as f:
            f.seek(MIB)
            self.assertEqual(f.read(8 * MIB), pattern(0, 8 * MIB))

        kinds = [json.loads(line)['kind'] for line in self.say('events', '--json').splitlines()]
        for kind in ('disk_added', 'volume_created', 'export_created', 'export_deleted',
                     'volume_deleted', 'disk_removed'):
            self.assertIn(kind, kinds)
        self.assertIn('drain', self.say('operation', 'list'))

    def test_what_was_made_survives_a_restart(self):
        self.say('disk', 'add', 'new', self.path('disks/new.img'), '--create', '16M')
        self.say('export', 'create', 'new', 'new', '--read-only')
        self.assertEqual(self.server.stop(), 0)
        self.start()
        self.assertRegex(self.rows('export', 'list')['new'], r'16.0 MiB +ro +new')

    def test_a_concat_is_deleted_and_made_again_as_it_was(self):
        for disk in ('a', 'b'):
            self.say('disk', 'add', disk, 'memory:4M')
        self.assertIn('created, 5.0 MiB', self.say('volume', 'create', 'concat', 'v', 'a', 'b',
                                                   '--leg-bytes', '1M'))
        self.assertRegex(self.say('volume', 'show', 'v'), r'leg bytes +1048576\n')
        self.assertIn('another', self.cure('volume', 'create', 'concat', 'v', 'a', 'b',
                                           '--leg-bytes', '2M'))
        self.say('volume', 'delete', 'v')
        self.assertIn('created, 5.0 MiB', self.say('volume', 'create', 'concat', 'v', 'a', 'b',
                                                   '--leg-bytes', '1048576'))

    def test_of_a_session(self):
        with subprocess.Popen([SLUICE, 'bench', self.server.uri('long'), '--time', '60s'],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as load:
            sessions = eventually(lambda: self.told('session', 'list', '--export', 'long'),
                                  what='the session is listed')
            self.assertEqual([s['door'] for s in sessions], ['nbd'])
            self.assertIn(sessions[0]['handle'], self.say('session', 'list'))
            self.assertIn('revoked', self.say('session', 'revoke', sessions[0]['handle']))
            self.assertEqual(load.wait(30), 1)
        self.assertEqual(self.told('session', 'list'), [])


class Watching(Operator):
    def test_top_counts_what_was_done(self):
        bench(self.server.uri('long'), '--rw', 'write', '--destroy', '--requests', 2000,
              '--warmup', '0')
        stats = self.told('top', '--once', '--interval', '200ms')
        total = {disk['name']: disk['total'] for disk in stats['disks']}
        self.assertEqual(sum(t['writes'] for t in total.values()), 2000)
        self.assertEqual(sum(t['written_bytes'] for t in total.values()), 2000 * 4096)
        self.assertEqual({disk['iops'] for disk in stats['disks']}, {0})

    def test_top_shows_the_rate_of_a_load(self):
        with subprocess.Popen([SLUICE, 'bench', self.server.uri('long'), '--time', '60s',
                               '--json'], stdout=subprocess.PIPE, text=True) as load:
            time.sleep(1)
            shown = self.told('top', '--once', '--interval', '1s')
            load.send_signal(signal.SIGINT)
            out, _ = load.communicate(timeout=30)
        real = json.loads(out)
        iops = sum(disk['iops'] for disk in shown['disks'])
        self.assertGreater(iops, 0.3 * real['iops'])
        self.assertLess(iops, 3 * real['iops'])
        self.assertEqual(shown['exports'][0]['users'], 1)

    def test_top_on_a_terminal_leaves_it_as_it_was(self):
        for way in (b'q', b'\x03'):  # or Ctrl-C
            with self.subTest(way):
                self.top_leaves_the_terminal(way)

    def top_leaves_the_terminal(self, way):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM='xterm', SLUICE_SERVER=self.address)
            os.execv(SLUICE, [SLUICE, 'top', '--interval', '100ms'])
        seen = b''
        while b'EXPORT' not in seen or seen.count(b'\x1b[H') < 3:
            seen += os.read(terminal, 65536)
        raw = termios.tcgetattr(terminal)[3]
        self.assertEqual(raw & (termios.ECHO | termios.ICANON), 0)
        os.write(terminal, way)
        try:
            while chunk := os.read(terminal, 65536):
                seen += chunk
        except OSError:
            pass  # the terminal's other side is closed
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        cooked = termios.tcgetattr(terminal)[3]
        self.assertEqual(cooked & (termios.ECHO | termios.ICANON), termios.ECHO | termios.ICANON)
        os.close(terminal)
        self.assertIn(b'\x1b[?1049h', seen)
        self.assertTrue(seen.endswith(b'\x1b[?25h\x1b[?1049l'), seen[-80:])
        self.assertIn(b'long', seen)

    def test_events_follow_what_happens(self):
        with subprocess.Popen([SLUICE, '--server', self.address, 'events', '--follow', '--json'],
                              stdout=subprocess.PIPE, text=True) as watcher:
            time.sleep(0.5)  # it watches from now on
            self.say('disk', 'swap', 'd1', 'deadline')
            event = json.loads(watcher.stdout.readline())
            watcher.kill()
        self.assertEqual((event['kind'], event['subject']), ('disk_changed', 'd1'))
        again = self.say('events', '--since', event['revision'] - 1, '--json').splitlines()
        self.assertEqual(json.loads(again[0])['revision'], event['revision'])


class Reading(Operator):
    def test_goes_on_beside_the_one_who_writes(self):
        source = write_file(self.path('source'), bytes(128 * MIB))
        uri = f'sluice+unix:///long?socket={self.tmp}/grpc.sock'
        with subprocess.Popen([SLUICE, 'write', uri], stdin=subprocess.PIPE) as writer:
            eventually(lambda: ' rw ' in self.say('session', 'list'))
            for words in (('read', uri, '--output', self.path('out')), ('map', uri),
                          ('stat', uri), ('copy', uri, self.path('copy'), '--quiet'),
                          ('verify', source, uri, '--quiet'),
                          ('bench', uri, '--time', '100ms', '--warmup', 0)):
                with self.subTest(words):
                    self.say(*words)
            self.assertIn('held read-write', self.cure('copy', source, uri, '--quiet'))
            writer.stdin.close()
            self.assertEqual(writer.wait(), 0)


class WrongUse(Operator):
    def test_every_mistake_is_told_with_its_cure(self):
        for words, says in (
                (('disk', 'show', 'nix'), 'nix'),
                (('disk', 'swap', 'd0', 'nosuch'), 'nosuch'),
                (('disk', 'add', 'd9', '/etc/passwd'), 'disk_roots'),
                (('disk', 'remove', 'd0'), 'config'),
                (('volume', 'create', 'concat', 'v', 'nix'), 'nix'),
                (('volume', 'create', 'slice', 's', 'd0', '--size', '1T'), 'd0'),
                (('volume', 'delete', 'nix'), 'nix'),
                (('export', 'create', 'long', 'd0'), 'long'),
                (('export', 'update', 'long', '--read-only'), 'config'),
                (('export', 'delete', 'nix'), 'nix'),
                (('session', 'revoke', 'nix'), 'nix'),
                (('operation', 'wait', 'nix'), 'nix'),
                (('disk', 'swap', 'd0', 'deadline', '--etag', 'old'), 'look at it again')):
            with self.subTest(words):
                self.assertIn(says, self.cure(*words))

    def test_a_line_that_cannot_be_meant_is_two(self):
        self.assertIn('did you mean disk?', self.cure('disks', status=2))
        self.assertIn('--size', self.cure('volume', 'create', 'slice', 's', 'd0', status=2))
        self.assertIn('--insecure-tcp', self.cure('--server', 'h:1', 'ls', status=2))

    def test_a_request_id_is_answered_once(self):
        words = ('disk', 'add', 'new', 'memory:1M', '--request-id', 'mine')
        self.assertEqual(self.say(*words), self.say(*words))


class TheServer(Operator):
    def test_tells_about_itself_and_drains(self):
        info = self.told('server', 'info')
        self.assertRegex(info['version'], r'^\d+\.\d+\.\d+$')
        self.assertEqual(info['reactors'], 2)
        self.assertIn('before info', self.say('server', 'log-level', 'debug'))
        self.assertIn('ends', self.say('drain'))
        self.assertEqual(self.server.wait(30), 0)
        self.assertIn('Start sluiced', self.cure('ls'))

    def test_its_exports_are_read_and_written_by_name(self):
        data = pattern(0, MIB)
        write_file(self.path('in'), data)
        self.say('write', 'long', '--input', self.path('in'), '--offset', '1M', '--flush')
        self.say('read', 'long', '--offset', '1M', '--length', '1M', '--output', self.path('out'))
        with open(self.path('out'), 'rb') as f:
            self.assertEqual(f.read(), data)
        about = self.told('stat', 'long')
        self.assertEqual(about['size_bytes'], 128 * MIB)
        self.assertTrue(about['uri'].startswith('sluice+unix:///long?socket='))
        self.assertIn('data', self.say('map', 'long', '--length', '4M'))
        grpc, nbd = about['uri'], self.server.uri('long')
        self.say('copy', grpc, self.path('image'), '--quiet')
        self.assertTrue(self.told('verify', self.path('image'), nbd)['equal'])
        self.say('copy', self.path('image'), grpc, '--quiet', '--verify')


class Completion(Operator):
    def test_offers_the_servers_names(self):
        for words, found in ((('disk', 'show', ''), {'d0', 'd1'}),
                             (('volume', 'create', 'concat', 'x', ''), {'d0', 'd1', 'long'}),
                             (('export', 'delete', ''), {'long'}),
                             (('disk', 'swap', 'd0', ''), {'fcfs', 'deadline'})):
            lines = self.say('complete', '--', *words).splitlines()
            self.assertLessEqual(found, {line.split('\t')[0] for line in lines}, words)

    def test_works_in_each_shell(self):
        environment = {**os.environ, 'SLUICE_SERVER': self.address,
                       'PATH': os.path.dirname(SLUICE) + ':' + os.environ['PATH']}
        bash = '''source <(sluice completion bash)
            COMP_WORDS=(sluice disk show d); COMP_CWORD=3; _sluice; echo "${COMPREPLY[@]}"'''
        zsh = '''autoload -U compinit; compinit -u -D; source <(sluice completion zsh)
            _describe() { print -r -- "${(@)found%%:*}" }
            words=(sluice disk show d) CURRENT=4; _sluice'''
        fish = '''sluice completion fish | source; complete -C "sluice disk show d"'''
        for shell in (['bash', '--norc', '-c', bash], ['zsh', '-f', '-c', zsh],
                      ['fish', '--no-config', '-c', fish]):
            out = subprocess.run(shell, env={**environment, 'HOME': self.tmp}, check=True,
                                 stdout=subprocess.PIPE, text=True, timeout=60).stdout
            self.assertEqual(re.findall(r'\bd\d\b', out), ['d0', 'd1'], shell[0])


if __name__ == '__main__':
    main()
