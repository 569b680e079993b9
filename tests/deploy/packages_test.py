#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""deploy/packages: what the image is given is what the programs in it link, no less and no more."""
import functools
import os
import re
import subprocess

from server import BINARY
from suite import Case, main, run

PROGRAMS = ('sluiced', 'sluice')
TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))


def section(name):
    with open(os.path.join(TREE, 'deploy/packages'), encoding='utf-8') as f:
        text = f.read()
    return re.findall(r'^(\w\S*)', re.search(rf'^# \[{name}\].*\n((?:\w.*\n)+)', text,
                                            re.M).group(1), re.M)


@functools.lru_cache(None)
def wants():
    """{installed package: those that it depends on}."""
    listed = run('dpkg-query', '-W', '-f', '${Package}\t${Depends}, ${Pre-Depends}\n')
    return {package: re.findall(r'(?:^|[,|] *)([a-z0-9][a-z0-9.+-]+)', depends)
            for package, depends in (line.split('\t') for line in listed.splitlines())}


def closure(packages):
    found, queue = set(), list(packages)
    while queue:
        package = queue.pop()
        if package not in found:
            found.add(package)
            queue += wants().get(package, ())
    return found


def owners(program):
    """The packages of the libraries that a program needs itself."""
    path = os.path.join(os.path.dirname(BINARY), program)
    needed = re.findall(r'NEEDED +(\S+)', run('objdump', '-p', path))
    paths = dict(re.findall(r'(\S+) => (\S+)', run('ldd', path)))
    files = [os.path.realpath(paths[name]) for name in needed if name in paths]
    files += [file.removeprefix('/usr') for file in files]  # a merged /usr is known by either name
    done = subprocess.run(['dpkg', '-S', *files], stdout=subprocess.PIPE, text=True, check=False,
                          stderr=subprocess.DEVNULL)  # it complains of the name that it lacks
    return {line.split(':')[0] for line in done.stdout.splitlines()}


class ImagePackages(Case):
    def test_what_is_linked_is_installed(self):
        there = closure([*section('image'), 'apt', 'base-files', 'dpkg'])  # in every base image
        for program in PROGRAMS:
            linked = owners(program)
            self.assertGreater(len(linked), 3)
            self.assertLessEqual(linked, there, f'{program}: add to [image] of deploy/packages')

    def test_nothing_is_installed_that_none_of_them_links(self):
        linked = set().union(*map(owners, PROGRAMS))
        self.assertLessEqual(set(section('image')), linked, 'strike it from [image]')


if __name__ == '__main__':
    main()
