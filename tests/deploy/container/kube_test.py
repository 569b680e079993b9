#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `podman kube play` can run of the Kubernetes manifests: the StatefulSet's pod with its
config and its volume (a StatefulSet itself it does not know)."""
import copy
import json
import os
import shutil
import socket
import sys
import urllib.request

import podman
from suite import Case, MIB, eventually, main, pattern, run, write_file
from wire import connect

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import manifests  # pylint: disable=wrong-import-position

POD = 'sluice-test-kube'
CLAIM = 'sluice-test-kube-data'
NETWORK = 'podman-default-kube-network'  # podman makes it for the first pod


def setUpModule():
    podman.sluice_image()


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as s:
        return s.getsockname()[1]


def playable(of):
    """What podman runs: claim, config, pod; and {port name: the host's port}."""
    stateful = of['StatefulSet']
    claim = copy.deepcopy(stateful['spec']['volumeClaimTemplates'][0])
    config = copy.deepcopy(of['ConfigMap'])
    pod = copy.deepcopy(stateful['spec']['template'])
    container = pod['spec']['containers'][0]
    pod['spec']['volumes'].append({'name': claim['metadata']['name'],
                                   'persistentVolumeClaim': {'claimName': CLAIM}})
    claim.update(apiVersion='v1', kind='PersistentVolumeClaim')
    claim['metadata']['name'] = CLAIM
    config['metadata']['name'] = f'{POD}-config'
    for volume in pod['spec']['volumes']:
        if 'configMap' in volume:
            volume['configMap']['name'] = f'{POD}-config'
    pod.update(apiVersion='v1', kind='Pod')
    pod['metadata']['name'] = POD
    container.update(image=podman.IMAGE, imagePullPolicy='Never')
    ports = {}
    for port in container['ports']:
        port['hostIP'] = '127.0.0.1'
        port['hostPort'] = ports[port['name']] = free_port()
    return claim, config, pod, ports


class Rendered(Case):
    def test_kubectl_puts_together_what_the_schema_allows(self):
        rendered, findings = manifests.check(run('kubectl', 'kustomize', manifests.FOLDER))
        self.assertEqual(findings, [])
        plain = manifests.objects()
        self.assertEqual({o['kind'] for o in rendered}, set(plain))
        image, = (o['spec']['template']['spec']['containers'][0]['image'] for o in rendered
                  if o['kind'] == 'StatefulSet')
        self.assertRegex(image, r'^sluice:\d')


class Kube(Case):
    def setUp(self):
        super().setUp()
        claim, config, pod, self.ports = playable(manifests.objects())
        self.claim = self.write('claim.yaml', claim)
        self.pod = self.write('pod.yaml', config, pod)
        shutil.copy(podman.SECCOMP, self.path('sluice.json'))
        self.addCleanup(self.clean_up)

    def write(self, name, *objects):
        text = '---\n'.join(json.dumps(o) + '\n' for o in objects)
        return write_file(self.path(name), text.encode())

    @staticmethod
    def clean_up():
        podman.podman('pod', 'rm', '-f', '-i', POD)
        podman.podman('volume', 'rm', '-f', CLAIM, f'{POD}-config')
        if podman.exists('network', NETWORK) and not podman.podman('pod', 'ls', '-q'):
            podman.podman('network', 'rm', NETWORK)

    def play(self):
        podman.podman('kube', 'play', '--seccomp-profile-root', self.tmp, self.pod)
        eventually(lambda: 'ready ' in podman.log(f'{POD}-sluiced'), 30, 'the pod is ready')

    def get(self, path):
        url = f'http://127.0.0.1:{self.ports["http"]}{path}'
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status

    def test_the_pod_serves_is_ready_and_keeps_its_disk(self):
        data = pattern(0, MIB)
        podman.podman('kube', 'play', self.claim)
        self.play()
        for probe in ('/healthz', '/readyz'):
            self.assertEqual(self.get(probe), 200)
        self.assertEqual(podman.podman('exec', f'{POD}-sluiced', 'id', '-u').strip(), '10001')
        with connect(('127.0.0.1', self.ports['nbd'])) as client:
            self.assertEqual(client.write(0, data), 0)
        podman.podman('kube', 'down', self.pod)
        self.play()
        with connect(('127.0.0.1', self.ports['nbd'])) as client:
            self.assertEqual(client.read(0, MIB), data)


if __name__ == '__main__':
    main(seconds=580)
