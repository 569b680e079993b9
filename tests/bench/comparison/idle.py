# SPDX-License-Identifier: Apache-2.0
"""What an idle server costs: wakes, CPU and memory with many connections that say nothing.

Each connection has asked for one read before, so that what a request needs was there once; the last
request is answered SETTLE_SECONDS before the watch begins.
"""
import contextlib
import os
import time

from comparison import contenders
from comparison import measure
import wire  # of tests/e2e, which contenders.py puts on the path

CONNECTIONS = 200
SETTLE_SECONDS = 0.002  # a server has 1 ms to stop polling; the sampling itself is no part of it
READ_BYTES = 131072


def switches(pid):
    """How often the threads of a process and its children went to sleep by themselves."""
    count = 0
    for process in (pid, *measure.descendants(pid)):
        for task in os.listdir(f'/proc/{process}/task'):
            with open(f'/proc/{process}/task/{task}/status', encoding='ascii') as f:
                count += int(f.read().split('\nvoluntary_ctxt_switches:')[1].split()[0])
    return count


def resident_bytes(pid):
    total = 0
    for process in (pid, *measure.descendants(pid)):
        with open(f'/proc/{process}/statm', encoding='ascii') as f:
            total += int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return total


def watch(site, name, seconds):
    """{wakes_per_s, cpu_us_per_s, kib_per_connection} of one server over the null backing."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contenders.start(name, site, 'null', 'unix'))
        stack.enter_context(wire.connect(server.address, contenders.EXPORT)).read(0, READ_BYTES)
        began = resident_bytes(server.pid)
        clients = [stack.enter_context(wire.connect(server.address, contenders.EXPORT))
                   for _ in range(CONNECTIONS)]
        for client in clients:
            client.read(0, READ_BYTES)
        time.sleep(SETTLE_SECONDS)
        woken, cpu, at = switches(server.pid), measure.tree_cpu_s(server.pid), time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - at
        return {
            'wakes_per_s': (switches(server.pid) - woken) / elapsed,
            'cpu_us_per_s': (measure.tree_cpu_s(server.pid) - cpu) / elapsed * 1e6,
            'kib_per_connection': (resident_bytes(server.pid) - began) / CONNECTIONS / 1024,
        }
