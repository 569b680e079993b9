# SPDX-License-Identifier: Apache-2.0
"""What is compared: the jobs, and the cells in which the contenders take their turns.

A cell is one job over one backing, one transport and one number of connections; its contenders are
named as in contenders.py. Depth is per connection.
"""
import collections

Job = collections.namedtuple('Job', 'name rw block_size depth read_percent', defaults=(None,))

JOBS = {job.name: job for job in (
    Job('randread-4k-d1', 'randread', 4096, 1),
    Job('randwrite-4k-d1', 'randwrite', 4096, 1),
    Job('randread-4k-d32', 'randread', 4096, 32),
    Job('randwrite-4k-d32', 'randwrite', 4096, 32),
    Job('mixed70-4k-d32', 'randrw', 4096, 32, 70),
    Job('write-4k-d32', 'write', 4096, 32),
    Job('read-128k-d8', 'read', 131072, 8),
    Job('write-128k-d8', 'write', 131072, 8),
)}

# How client and server run. Pinned: the client's CPU is 0, the server's 1. A polling client spins
# 200 us before it sleeps.
FREE, ASLEEP, POLLING = 'free', 'pinned', 'pinned, client polls'
CLIENT_POLL_US = 200

QEMU = ('qemu-nbd', 'qemu-sd')
CONTENDERS = {
    'memory': ('sluice',),
    'null': ('sluice', 'nbdkit', *QEMU, 'limit-wire'),
    'tmpfs': ('sluice', 'nbdkit', *QEMU, 'nbd-server', 'limit-dev'),
    'disk': ('sluice', 'nbdkit', 'nbdkit-cached', *QEMU, 'nbd-server', 'limit-dev'),
}
D32 = ('randread-4k-d32', 'randwrite-4k-d32', 'mixed70-4k-d32')
LARGE = ('read-128k-d8', 'write-128k-d8')


class Cell(collections.namedtuple('Cell', 'backing transport job connections mode contenders')):
    """`job` is a name of JOBS, `mode` one of the three above or a sentence of its own."""

    @property
    def key(self):
        mode = '' if self.mode == FREE else f' ({self.mode})'
        return f'{self.backing} {self.transport} {self.job} x{self.connections}{mode}'


def cell(backing, transport, job, connections=1, mode=FREE, contenders=None):
    if contenders is None:
        contenders = CONTENDERS[backing]
        if backing == 'disk' and job in ('randwrite-4k-d32', 'write-4k-d32'):
            contenders += ('sluice-buffered',)
    return Cell(backing, transport, job, connections, mode, tuple(contenders))


def grid(backing, transport, jobs, connections=(1, 4)):
    return [cell(backing, transport, job, n) for job in jobs for n in connections]


SAME_DEPTH = '32 requests on 1 connection or 8 on each of 4'
GATHER = 'pinned, client polls, gather on or off'
# Of how many short turns one round consists: where a goal is a few percent, many small samples.
PIECES = {GATHER: 5}
PIECE_SECONDS = 0.3


def full():
    """Every cell, in the order of the run."""
    two_ends = ('sluice', 'sluice-asleep', 'nbdkit', *QEMU, 'limit-wire', 'limit-ping')
    cells = [cell('null', 'unix', 'randread-4k-d1')]
    cells += grid('null', 'unix', D32 + LARGE)
    cells += [cell('null', 'tcp', 'randread-4k-d1')]
    cells += grid('null', 'tcp', D32[:2]) + grid('null', 'tcp', D32[2:] + LARGE, (4,))
    cells += [cell('null', 'unix', 'randread-4k-d1', 1, mode, two_ends)
              for mode in (ASLEEP, POLLING)]
    cells += grid('tmpfs', 'unix', D32 + ('write-4k-d32',))
    cells += [cell('disk', 'unix', 'randread-4k-d1'),
              cell('disk', 'unix', 'randread-4k-d1', 1, POLLING)]
    cells += grid('disk', 'unix', D32 + ('write-4k-d32',)) + grid('disk', 'unix', LARGE, (1,))
    cells += [cell('disk', 'tcp', 'randread-4k-d32')]
    two_ways = ('sluice', 'sluice-4x8')
    cells += [cell(backing, 'unix', job, 1, SAME_DEPTH, two_ways + more)
              for backing, more in (('null', ('limit-wire', 'limit-wire-4x8')), ('disk', ()))
              for job in D32[:2]]
    cells += [cell('memory', 'unix', job, 1, GATHER, ('sluice', 'sluice-ungathered'))
              for job in ('randread-4k-d1', 'randwrite-4k-d1')]
    return cells


QUICK = (
    'null unix randread-4k-d32 x1', 'null unix randread-4k-d32 x4', 'null unix randwrite-4k-d32 x4',
    'null tcp randread-4k-d32 x1', f'null unix randread-4k-d1 x1 ({ASLEEP})',
    f'null unix randread-4k-d1 x1 ({POLLING})', 'tmpfs unix randread-4k-d32 x1',
    f'disk unix randread-4k-d1 x1 ({POLLING})', 'disk unix randread-4k-d32 x1',
    'disk unix randwrite-4k-d32 x1', 'disk unix write-4k-d32 x1', 'disk unix read-128k-d8 x1',
    f'memory unix randwrite-4k-d1 x1 ({GATHER})')


def quick():
    """A subset that shows each kind of cell."""
    return [c for c in full() if c.key in QUICK]
