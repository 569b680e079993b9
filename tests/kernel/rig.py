# SPDX-License-Identifier: Apache-2.0
"""A guest kernel and servers that it reaches: what the suites of this folder stand on."""
import os
import shlex
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '../e2e'))
from guest import GUEST, HOST, Guest  # noqa: E402
from machine import Emulated, Systemd, UserMode  # noqa: E402
from server import BINARY, Server  # noqa: E402
from suite import Case, MIB, main, sparse_file  # noqa: E402

__all__ = ['Emulated', 'GRPC', 'GUEST', 'HOST', 'KernelCase', 'MIB', 'PARTS', 'PORT', 'SERVER',
           'SLUICE', 'Systemd', 'TREE', 'URI', 'main', 'sparse_file']

PORT = 10809
GRPC = f'{HOST}:10810'
URI = f'nbd://{HOST}'
SERVER = os.path.realpath(BINARY)
SLUICE = os.path.join(os.path.dirname(SERVER), 'sluice')
# A real tree to write: some hundred source files, which the guest sees where the host has them.
TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
PARTS = 'storage server proto client'
SUMS = f'find {PARTS} -type f -print0 | sort -z | xargs -0 sha256sum'
# What the kernel says when it could not do what a file system asked of a device.
TROUBLE = 'I/O error|EXT4-fs error|XFS.*(error|corrupt)|Possible stuck request'


class KernelCase(Case):
    """One guest for all tests of a class; each test has its image and its server. Whatever a test
    leaves attached or mounted is gone before the next."""

    MACHINE = UserMode()

    @classmethod
    def setUpClass(cls):
        cls.guest = None
        cls.missing = cls.MACHINE.missing()
        if os.geteuid() != 0 or not os.path.exists('/dev/net/tun'):
            cls.missing = 'root and /dev/net/tun'
        if cls.missing:
            return
        folder = tempfile.mkdtemp(prefix='sluice-kernel-')
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.guest = cls.enterClassContext(Guest(folder, cls.MACHINE))

    def setUp(self):
        super().setUp()
        if self.guest is None:
            self.skipTest(f'needs {self.missing}')
        self.guest.attempt('dmesg -C')
        self.cleaned = False
        self.image = self.path('disk.img')

    def clean_up(self):
        """While the last server is there, once a test."""
        if self.cleaned:
            return
        self.cleaned = True
        self.guest.attempt(
            'for d in 0 1 2 3; do\n'
            f'  [ -e /sys/block/nbd$d/pid ] && {{ {SLUICE} detach --force nbd$d || '
            'nbd-client -d /dev/nbd$d; }\n'
            'done\n'
            'umount -R /mnt')

    def serve(self, *arguments, address=f'{HOST}:{PORT}', **options):
        """sluiced where the guest reaches it, on this test's image, until the test ends."""
        server = self.enterContext(self.server(*arguments, address=address, **options))
        self.addCleanup(self.clean_up)
        return server

    def server(self, *arguments, address=f'{HOST}:{PORT}', **options):
        if 'config' not in options:
            arguments = ('serve', *arguments, '--nbd', address, '--insecure-tcp', self.image)
        return Server(*arguments, preexec_fn=self.guest.enter, **options)

    def serve_disk(self, size):
        """A server of one disk, "disk", that is controlled from the host and from the guest."""
        self.control = f'unix:{self.path("grpc.sock")}'
        return self.serve(config=f'''
            nbd {{ listen: "{HOST}:{PORT}" insecure_tcp: true }}
            grpc {{ listen: "{self.control}" listen: "{GRPC}" insecure_tcp: true }}
            state_dir: "{self.path('state')}"
            disk {{ name: "disk" path: "{self.image}" create_bytes: {size} }}
            export {{ name: "disk" volume: "disk" }}''')

    def say(self, *words):
        """What an operator on the host says to the server."""
        return self.assert_runs(SLUICE, *map(str, words),
                                env={**os.environ, 'SLUICE_SERVER': self.control})

    def run_in(self, script, seconds=60):
        return self.guest.run(script, seconds)

    def assert_fails(self, script, *texts):
        """The script fails in the guest and says so."""
        status, output = self.guest.attempt(script)
        self.assertNotEqual(status, 0, output)
        for text in texts:
            self.assertIn(text, output)

    def write_tree(self, where='/mnt'):
        """Copies the tree, durably."""
        parts = ' '.join(os.path.join(TREE, part) for part in PARTS.split())
        self.run_in(f'cp -r {parts} {where}; sync -f {where}')

    def check_tree(self, where='/mnt'):
        """Every file is there as it was written, read from the device."""
        self.run_in('[ -e /tmp/tree ] || '
                    f'{{ cd {shlex.quote(TREE)}; {SUMS} >/tmp/sums; mv /tmp/sums /tmp/tree; }}\n'
                    f'echo 3 >/proc/sys/vm/drop_caches; cd {where}; {SUMS} >/tmp/copy\n'
                    'cmp /tmp/tree /tmp/copy; [ $(wc -l </tmp/tree) -gt 150 ]')

    def check_kernel_log(self):
        """The kernel had nothing to complain of."""
        self.run_in(f"! dmesg | grep -E '{TROUBLE}'")

    def used(self):
        """Bytes the image takes on the host."""
        return os.stat(self.image).st_blocks * 512

    def size_in_guest(self, device='nbd0'):
        return int(self.run_in(f'cat /sys/block/{device}/size')) * 512
