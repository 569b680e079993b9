# SPDX-License-Identifier: Apache-2.0
"""The two ways to run a Linux kernel in a process, as guest.py does: what it needs that is not here
(missing()), the command (start(), which gets a folder where the guest's "init" lies), and what that
does first (begin()). The console is stdin and stdout, the network the tap device tap0, which the
guest knows as INTERFACE.
"""
import glob
import os
import re
import shutil
import subprocess

MODULE = 'kernel/drivers/block/nbd.ko'
UML_MODULES = '/usr/lib/uml/modules'
KERNELS_OWN = 'mount -t proc proc /proc; mount -t sysfs sys /sys'


class UserMode:
    """User-mode Linux: boots in two seconds and its root is the host's, read-only, so that every
    program is there. It has one CPU, and the nbd driver uses one connection a CPU."""

    INTERFACE = 'vec0'
    TAP = ''

    @staticmethod
    def missing():
        return None if shutil.which('linux.uml') else 'linux.uml (package user-mode-linux)'

    @staticmethod
    def nbd_module():
        return glob.glob(f'{UML_MODULES}/*/{MODULE}')[0]

    @staticmethod
    def begin():
        return (f'{KERNELS_OWN}\nfor own in /tmp /run; do mount -t tmpfs own $own; done\n'
                'ln -s /proc/self/fd /dev/fd')

    @staticmethod
    def start(folder):
        return ('linux.uml', 'mem=512M', 'rootfstype=hostfs', 'rootflags=/', 'ro', 'quiet',
                f'init={folder}/init', 'umid=guest', f'uml_dir={folder}/', 'selinux=0', 'noreboot',
                'con=null', 'con0=fd:0,fd:1', 'ssl=null',
                'vec0:transport=tap,ifname=tap0,depth=128,gro=1')


class Systemd(UserMode):
    """User-mode Linux whose first process is systemd, up to its sysinit.target. Its root is
    the host's with an overlay in memory, so that all of it may be written; the kernel's modules are
    where modprobe looks for them, and `prepare`, lines of shell, is done before systemd begins."""

    def __init__(self, prepare):
        self.prepare = prepare

    def missing(self):
        lacking = [name for name in ('systemctl', 'udevadm') if not shutil.which(name)]
        return super().missing() or (f'{lacking[0]} (packages systemd, udev)' if lacking else None)

    def begin(self):
        """Three stages of the one script: the overlay, systemd, and beside it the commands."""
        return f'''
case ${{1-}} in
systemd)
  {KERNELS_OWN}
  mount -t devtmpfs devices /dev
  for own in /tmp /run; do mount -t tmpfs own $own; done
  {self.prepare}
  exec 3<&0; /guest commands <&3 3<&- &
  exec /lib/systemd/systemd --unit=sysinit.target --show-status=no ;;
commands) ;;
*)
  insmod {UML_MODULES}/*/kernel/fs/overlayfs/overlay.ko
  mount -t tmpfs own /mnt; mkdir /mnt/upper /mnt/work /mnt/root
  mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root
  cp "$0" /mnt/root/guest; cd /mnt/root; rm -f .dockerenv  # it is no container
  mkdir -p usr/lib/modules; ln -s {UML_MODULES}/* usr/lib/modules/
  exec chroot . /guest systemd ;;
esac
until [ -S /run/systemd/private ]; do sleep 0.2; done
systemctl start sysinit.target  # joins what is under way
'''


class Emulated:
    """A distribution's own kernel under QEMU's software emulation, with several CPUs, each of them
    a thread (where they take turns on one, answers that have arrived wait for the driver to wake).
    All there is are the named programs and folders of the host, copied into its memory, at the
    same paths."""

    INTERFACE = 'eth0'
    TAP = 'vnet_hdr'
    # What Guest itself runs there.
    TOOLS = ('base64', 'bash', 'dmesg', 'insmod', 'ip', 'mount', 'stty', 'tail')

    def __init__(self, cpus, programs, folders):
        self.cpus = cpus
        self.programs = (*self.TOOLS, *programs)
        self.folders = folders

    @staticmethod
    def kernels():
        """The versions that are installed and have the driver, the newest last."""
        versions = (name.removeprefix('/boot/vmlinuz-') for name in glob.glob('/boot/vmlinuz-*'))
        return sorted((v for v in versions if os.path.exists(f'/lib/modules/{v}/{MODULE}')),
                      key=lambda v: [int(part) for part in re.findall(r'\d+', v)])

    def missing(self):
        if not shutil.which('qemu-system-x86_64'):
            return 'qemu-system-x86_64 (package qemu-system-x86)'
        if not self.kernels():
            return 'a kernel with the nbd driver (package linux-image-cloud-amd64)'
        return None

    def nbd_module(self):
        return f'/lib/modules/{self.kernels()[-1]}/{MODULE}'

    def begin(self):
        return '\n'.join((KERNELS_OWN, 'mount -t devtmpfs devices /dev',
                          *(f'insmod {driver}' for driver in self._drivers())))

    def start(self, folder):
        with open(os.path.join(folder, 'initrd'), 'wb') as archive:
            self._pack(archive, '/', self._files())
            self._pack(archive, folder, ['init'])
        return ('qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg,thread=multi', '-cpu', 'max',
                '-smp', str(self.cpus), '-m', '512', '-nodefaults', '-no-user-config',
                '-display', 'none', '-no-reboot', '-serial', 'stdio',
                '-kernel', f'/boot/vmlinuz-{self.kernels()[-1]}', '-initrd', f'{folder}/initrd',
                '-append', 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr '
                           'rcupdate.rcu_expedited=1 idle=halt',
                '-netdev', 'tap,id=net,ifname=tap0,script=no,downscript=no',
                '-device', 'virtio-net-pci,netdev=net,romfile=')

    def _drivers(self):
        """Of the network, in the order they are loaded in."""
        said = ''.join(subprocess.run(
            ['modprobe', '-S', self.kernels()[-1], '--show-depends', driver], check=True, text=True,
            stdout=subprocess.PIPE).stdout for driver in ('virtio_pci', 'virtio_net'))
        return list(dict.fromkeys(re.findall(r'^insmod (\S+)', said, re.M)))

    def _files(self):
        """What the guest has, without the first slash; a folder comes before what is in it."""
        programs = [shutil.which(program) for program in self.programs]
        linked = subprocess.run(['ldd', *programs], check=True, text=True,
                                stdout=subprocess.PIPE).stdout
        libraries = re.findall(r'(?:=> |^\t)(/\S+)', linked, re.M)
        found = {*programs, *libraries, *self._drivers(), self.nbd_module()}
        for folder in self.folders:
            for where, _, names in os.walk(folder):
                found.update(os.path.join(where, name) for name in names)
        parents = {'/proc', '/sys', '/dev', '/tmp', '/run', '/mnt'}
        for path in found:
            while (path := os.path.dirname(path)) != '/':
                parents.add(path)
        return [path[1:] for path in (*sorted(parents), *sorted(found))]

    @staticmethod
    def _pack(archive, root, names):
        subprocess.run(['cpio', '--create', '--format=newc', '--dereference', '--quiet'],
                       cwd=root, input='\n'.join(names).encode(), stdout=archive, check=True)
