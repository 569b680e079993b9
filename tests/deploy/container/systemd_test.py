#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian packages on a machine that systemd runs: installed, started by the first connection,
drained, restarted, watched, upgraded, purged."""
import os
import re
import shutil
import subprocess
import tempfile
import threading

import podman
from podman import Container
from suite import Case, KIB, eventually, main, pattern, run

IMAGE = 'localhost/sluice-test:systemd'
SYSTEMD = ('--systemd=always', '--cap-add', 'SYS_ADMIN', '--security-opt',
           f'seccomp={podman.SECCOMP}')
SOCKET = 'nbd+unix:///?socket=/run/sluice/nbd.sock'
TCP = 'nbd://127.0.0.1:10809'
SOCKETS = ('sluiced.socket', 'sluiced-grpc.socket')
DROP_IN = '/run/systemd/system/sluiced.service.d/test.conf'
EXPOSURE_MAX = 2.0
# What lintian may say: of scripts that debhelper or cpack would write otherwise, of one path for
# all architectures, of a unit that is wanted before remote file systems are mounted.
TOLERATED = {'maintainer-script-calls-systemctl', 'maintscript-calls-ldconfig',
             'pkg-config-unavailable-for-cross-compilation',
             'systemd-service-file-refers-to-unusual-wantedby-target'}


def packages(folder):
    run('cpack', '-G', 'DEB', '-B', folder, cwd=podman.BUILD, timeout=250)
    shutil.rmtree(os.path.join(folder, '_CPack_Packages'))


def setUpModule():
    with tempfile.TemporaryDirectory(prefix='sluice-test-debs-') as folder:
        packages(folder)
        podman.build(IMAGE, os.path.join(os.path.dirname(__file__), 'systemd.Containerfile'),
                     context=folder)


class Machine(Container):
    """A container in which systemd is the first process."""

    def __init__(self, name):
        super().__init__(name, IMAGE, options=SYSTEMD, wait_for=None)
        eventually(lambda: self.try_(('systemctl', 'is-system-running')).strip() == 'running', 60,
                   'systemd runs')

    def try_(self, command):
        return subprocess.run(['podman', 'exec', self.name, *command], env=podman.ENGINE,
                              text=True, check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT).stdout

    def systemctl(self, *arguments):
        return self.execute('systemctl', '--no-pager', *arguments)

    def state(self, unit='sluiced.service'):
        return self.try_(('systemctl', 'is-active', unit)).strip()

    def show(self, name, unit='sluiced.service'):
        return self.systemctl('show', '-P', name, unit).strip()

    def drop_in(self, text):
        self.execute('install', '-D', '/dev/null', DROP_IN)
        self.execute('sh', '-c', f'printf "[Service]\\n{text}\\n" >{DROP_IN}')
        self.systemctl('daemon-reload')

    def journal(self):
        return self.execute('journalctl', '--no-pager', '-u', 'sluiced.service')


class Systemd(Case):
    def setUp(self):
        super().setUp()
        self.machine = self.enterContext(Machine('systemd'))

    def write(self, uri, data):
        with open(self.path('data'), 'wb') as f:
            f.write(data)
        podman.podman('cp', self.path('data'), f'{self.machine.name}:/tmp/data')
        self.machine.execute('sluice', 'write', '--input', '/tmp/data', '--flush', uri)

    def assert_holds(self, uri, data):
        self.machine.execute('sluice', 'read', '--length', str(len(data)), '--output', '/tmp/back',
                             uri)
        podman.podman('cp', f'{self.machine.name}:/tmp/back', self.path('back'))
        with open(self.path('back'), 'rb') as f:
            self.assertEqual(f.read(), data)

    def test_an_installed_server_waits_to_be_told_and_starts_at_the_first_connection(self):
        m = self.machine
        self.assertEqual((m.state(), m.state('sluiced.socket')), ('inactive', 'inactive'))
        self.assertEqual(m.execute('id', '-un', 'sluice').strip(), 'sluice')
        m.systemctl('enable', '--now', 'sluiced.socket')
        m.systemctl('start', 'sluiced-grpc.socket')
        self.assertEqual(m.state(), 'inactive')
        m.execute('sluice', 'stat', SOCKET)
        self.assertEqual(m.state(), 'active')
        status = m.show('StatusText')
        for address in ('nbd=unix:/run/sluice/nbd.sock', 'nbd=127.0.0.1:10809',
                        'grpc=unix:/run/sluice/grpc.sock', 'http=127.0.0.1:10811'):
            self.assertIn(address, status)
        self.assertEqual(m.execute('stat', '-c', '%U:%G %a', '/run/sluice/nbd.sock').strip(),
                         'sluice:sluice 660')
        report = m.execute('systemd-analyze', 'security', '--no-pager', 'sluiced.service')
        exposure = re.search(r'exposure level for sluiced\.service: ([\d.]+)', report).group(1)
        self.assertLessEqual(float(exposure), EXPOSURE_MAX)

    def test_a_restart_loses_no_data_and_refuses_nobody(self):
        m = self.machine
        m.systemctl('start', *SOCKETS)
        data = pattern(0, 256 * KIB)
        self.write(TCP, data)
        first = m.show('MainPID')
        answers = []

        def ask():
            for _ in range(20):
                answers.append(m.try_(('sluice', 'ls', TCP)))
        asking = threading.Thread(target=ask)
        asking.start()
        for _ in range(3):
            m.systemctl('restart', 'sluiced.service')
        asking.join()
        self.assertNotEqual(m.show('MainPID'), first)
        for answer in answers:
            self.assertIn('disk0', answer)
        self.assert_holds(SOCKET, data)

    def test_a_stop_under_load_drains(self):
        m = self.machine
        m.systemctl('start', 'sluiced.service')
        load = threading.Thread(target=m.try_, args=(
            ('sluice', 'bench', '--rw', 'randwrite', '--destroy', '--time', '20s', TCP),))
        load.start()
        eventually(lambda: self.written() > 100, 30, 'the load runs')
        m.systemctl('stop', 'sluiced.service')
        load.join()
        self.assertEqual((m.show('Result'), m.show('ExecMainStatus')), ('success', '0'))
        self.assertIn('stopped, exit status 0', m.journal())

    def written(self):
        self.machine.systemctl('kill', '-s', 'USR1', 'sluiced.service')
        counts = re.findall(r'writes=(\d+)', self.machine.journal())
        return int(counts[-1]) if counts else 0

    def test_a_server_that_hangs_is_started_anew(self):
        m = self.machine
        m.drop_in('WatchdogSec=2\\nTimeoutAbortSec=1')
        m.systemctl('start', 'sluiced.service')
        first = m.show('MainPID')
        m.systemctl('kill', '-s', 'STOP', 'sluiced.service')
        eventually(lambda: m.show('NRestarts') == '1' and m.state() == 'active', 30, 'a restart')
        self.assertNotEqual(m.show('MainPID'), first)
        self.assertIn('Watchdog timeout', m.journal())
        m.execute('sluice', 'stat', TCP)

    def test_an_upgrade_keeps_the_config_and_restarts_and_a_purge_keeps_the_disks(self):
        m = self.machine
        m.execute('sh', '-c', 'echo "# ours" >>/etc/sluice/sluiced.textproto')
        m.systemctl('enable', '--now', 'sluiced.service')
        first = m.show('MainPID')
        m.execute('sh', '-c', 'dpkg -i /packages/sluice-server_*.deb')
        m.execute('grep', '-qx', '# ours', '/etc/sluice/sluiced.textproto')
        self.assertNotEqual(m.show('MainPID'), first)
        self.assertEqual(m.state(), 'active')

        m.execute('apt-get', 'purge', '-y', 'sluice-server', 'sluice', 'libsluice-dev',
                  'libsluice0')
        self.assertEqual(m.state(), 'inactive')
        self.assertNotIn('sluice', m.systemctl('list-unit-files', '--all'))
        left = m.execute('sh', '-c', 'find / -xdev -name "*sluice*" -not -path "/packages*" '
                         '-not -path "/proc*" -not -path "/var/lib/systemd*"').split()
        self.assertEqual([x for x in left if not x.startswith('/run/')], ['/var/lib/sluice'])
        m.execute('test', '-s', '/var/lib/sluice/disk0.img')
        self.assertEqual(m.systemctl('is-system-running').strip(), 'running')


class Lint(Case):
    def test_lintian_finds_no_more_than_it_may(self):
        packages(self.path('debs'))
        debs = [os.path.join(self.path('debs'), x) for x in os.listdir(self.path('debs'))]
        found = run('lintian', '--allow-root', '--fail-on', 'none', *debs)
        tags = {line.split()[2] for line in found.splitlines() if line[:2] in ('E:', 'W:')}
        self.assertLessEqual(tags, TOLERATED, found)


if __name__ == '__main__':
    main(seconds=580)
