# SPDX-License-Identifier: Apache-2.0
"""A server that is controlled over gRPC, with a disk of its own, "base"."""
import os

from rpc import Channel, Failed
from server import Server
from suite import Case, MIB


class Controlled(Case):
    """It may add disks in self.roots."""

    def setUp(self):
        super().setUp()
        self.roots = self.path('disks')
        os.mkdir(self.roots)
        self.server = None

    def config(self, more=''):
        return (f'nbd {{ listen: "127.0.0.1:0" }} grpc {{ listen: "unix:{self.path("g.sock")}" }}'
                f'state_dir: "{self.path("state")}" disk_roots: "{self.roots}"'
                'disk { name: "base" memory_bytes: 16777216 }'
                f'export {{ name: "base" volume: "base" }} {more}')

    def start(self, more=''):
        self.server = self.enterContext(Server(config=self.config(more)))
        self.channel = self.enterContext(Channel(self.server))
        return self.channel

    def restart(self, kill=False):
        self.channel.channel.close()
        if kill:
            self.server.kill()
        else:
            self.assertEqual(self.server.stop(), 0)
        return self.start()

    def disk_path(self, name):
        return os.path.join(self.roots, name)

    def add_disk(self, name, size=16 * MIB, **more):
        return self.channel.disks.AddDisk(disk={
            'name': name, 'path': self.disk_path(name), 'create_bytes': size}, **more).disk

    def make_export(self, name, volume, **more):
        return self.channel.exports.CreateExport(
            export={'name': name, 'volume': volume}, **more).export

    def assert_fails(self, name, function, /, *arguments, text='', **more):
        with self.assertRaises(Failed) as failed:
            function(*arguments, **more)
        self.assertEqual(str(failed.exception), name, failed.exception.text)
        self.assertIn(text, failed.exception.text)

    def names(self):
        """All that is there: disks, volumes, exports."""
        return ([d.spec.name for d in self.channel.disks.ListDisks().disks],
                [v.spec.name for v in self.channel.volumes.ListVolumes().volumes],
                [e.spec.name for e in self.channel.exports.ListExports().exports])
