# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes manifests as objects, checked against Kubernetes' own schemas (npm's
kubernetes-models, installed from the lock file into the build folder)."""
import filecmp
import functools
import json
import os
import re
import shutil
import subprocess

from server import BINARY
from suite import run

TREE = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))
FOLDER = os.path.join(TREE, 'deploy/kubernetes')
BUILD = os.path.dirname(os.path.dirname(os.path.abspath(BINARY)))
SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'schema')


def checker():
    """The folder in which check.js finds its libraries."""
    home = os.path.join(BUILD, 'schema')
    os.makedirs(home, exist_ok=True)
    lock = os.path.join(home, 'node_modules/installed-lock.json')
    wanted = os.path.join(SCHEMA, 'package-lock.json')
    for name in os.listdir(SCHEMA):
        shutil.copy(os.path.join(SCHEMA, name), home)
    if not (os.path.exists(lock) and filecmp.cmp(lock, wanted, shallow=False)):
        run('npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', cwd=home)
        shutil.copy(wanted, lock)
    return home


def check(text):
    """(objects, findings) of a stream of YAML documents."""
    done = subprocess.run(['node', 'check.js'], cwd=checker(), input=text, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    findings = done.stderr.splitlines()
    assert (done.returncode == 0) == (not findings), done
    return json.loads(done.stdout or '[]'), findings


def resources():
    """What the kustomization puts together, as text."""
    with open(os.path.join(FOLDER, 'kustomization.yaml'), encoding='utf-8') as f:
        names = re.findall(r'^  - (\S+\.yaml)$', f.read(), re.M)
    texts = []
    for name in names:
        with open(os.path.join(FOLDER, name), encoding='utf-8') as f:
            texts.append(f.read())
    return '---\n'.join(texts)


@functools.lru_cache(None)
def objects():
    """{kind: object} of what the kustomization puts together."""
    found, findings = check(resources())
    assert not findings, findings
    return {o['kind']: o for o in found}
