# SPDX-License-Identifier: Apache-2.0
"""Containers for tests: engine settings, images, and containers that are gone when a test is over.

Everything made here is called sluice-test... or tagged so; deploy/test removes it by that name.
"""
import os
import subprocess
import tempfile

from server import BINARY
from suite import eventually, run

TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), '../../..'))
BUILD = os.path.dirname(os.path.dirname(os.path.abspath(BINARY)))
SECCOMP = os.path.join(TREE, 'deploy/seccomp.json')
BASE = 'debian:bookworm-slim'
IMAGE = 'localhost/sluice-test:new'
# How the README says that the image is run: no right that it does not need.
HARDENED = ('--security-opt', f'seccomp={SECCOMP}', '--security-opt', 'no-new-privileges',
            '--cap-drop', 'all', '--read-only', '--pids-limit', '256', '--memory', '1g')
ENGINE = {**os.environ, 'CONTAINERS_CONF': os.path.join(os.path.dirname(__file__),
                                                       'containers.conf')}


def podman(*arguments, timeout=300):
    return run('podman', *arguments, timeout=timeout, env=ENGINE)


def exists(kind, name):
    return subprocess.run(['podman', kind, 'exists', name], env=ENGINE, check=False,
                          stderr=subprocess.DEVNULL).returncode == 0


def log(container):
    """What a container said on stdout and stderr."""
    return subprocess.run(['podman', 'logs', container], env=ENGINE, text=True, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def base_image():
    """Debian's slim image, made of the distribution's packages where none is at hand: nothing is
    pulled."""
    if exists('image', f'localhost/{BASE}'):
        return
    with tempfile.TemporaryDirectory(prefix='sluice-test-base-') as root:
        mirror = run('sh', '-c', "sed -nE 's/^(URIs:|deb) *(\\[.*\\] *)?([^ ]+).*/\\3/p' "
                     '/etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | '
                     'head -n 1').strip()
        run('debootstrap', '--variant=minbase', 'bookworm', root, *([mirror] if mirror else []),
            timeout=500)
        left_out = ('proc/*', 'sys/*', 'dev/*', 'usr/share/doc/*', 'usr/share/man/*',
                    'usr/share/locale/*', 'var/cache/apt/archives/*.deb', 'var/lib/apt/lists/*_*')
        archive = f'{root}.tar'
        try:
            run('tar', '-C', root, '-cf', archive, *(f'--exclude=./{x}' for x in left_out), '.')
            podman('import', '--change', 'CMD ["bash"]', archive, BASE)
        finally:
            if os.path.exists(archive):
                os.unlink(archive)


def build(tag, containerfile, *arguments, context=TREE):
    base_image()
    podman('build', '--format', 'docker', '--network', 'host', '--label', 'sluice-test=1',
           '-f', containerfile, '-t', tag, *arguments, context, timeout=500)
    return tag


def sluice_image(tag=IMAGE, *arguments):
    """The image, of the binaries that this build made."""
    with tempfile.TemporaryDirectory(prefix='sluice-test-out-') as out:
        for component in ('server', 'client'):
            run('cmake', '--install', BUILD, '--strip', '--prefix', f'{out}/out/usr',
                '--component', component)
        return build(tag, os.path.join(TREE, 'deploy/Containerfile'),
                     '--build-context', f'build={out}', *arguments)


class Container:
    """A container that runs in the background; gone, with its unnamed volumes, at the end."""

    def __init__(self, name, image, *command, options=(), wait_for='ready '):
        self.name = f'sluice-test-{name}'
        self.remove()  # what an interrupted run left
        podman('run', '-d', '--name', self.name, *options, image, *command)
        try:
            if wait_for:
                eventually(lambda: wait_for in self.log() or not self.running(), 30, self.name)
        except BaseException:
            self.remove()
            raise

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if failed:
            print(f'--- the log of {self.name}\n{self.log()[-3000:]}---')
        self.remove()

    def remove(self):
        podman('rm', '-f', '-i', '-v', '-t', '5', self.name)

    def log(self):
        return log(self.name)

    def inspect(self, template):
        return podman('inspect', '--format', template, self.name).strip()

    def running(self):
        return self.inspect('{{.State.Running}}') == 'true'

    def exit_status(self):
        podman('wait', self.name)
        return int(self.inspect('{{.State.ExitCode}}'))

    def execute(self, *command):
        return podman('exec', self.name, *command)

    def stop(self, seconds=40):
        podman('stop', '-t', str(seconds), self.name)
        return self.exit_status()

    def healthy(self):
        return subprocess.run(['podman', 'healthcheck', 'run', self.name], env=ENGINE,
                              check=False, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def port(self, inside):
        """HOST, PORT on loopback where a published port is."""
        host, port = podman('port', self.name, str(inside)).strip().rsplit(':', 1)
        return host, int(port)


class Volume:
    """A named volume, gone at the end."""

    def __init__(self, name):
        self.name = f'sluice-test-{name}'
        podman('volume', 'create', self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        podman('volume', 'rm', '-f', self.name)
