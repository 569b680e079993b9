# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the comparison: medians, the best peer, and the goals P1 to P15 and P17.

A table is {cell key: {contender: {metric: number}}}, the numbers medians of the rounds; a contender
that could not run, and a metric that does not apply, are missing or None. A goal is a list of
checks; it is met when every check is. A check whose numbers are missing is not met and says so.
Where a goal names no number of connections, every one that was measured counts.
"""
import collections
import statistics

from comparison import contenders
from comparison import matrix

Check = collections.namedtuple('Check', 'goal basis measured met')  # met: True, False or None

READ, WRITE, MIXED = matrix.D32
CONTIGUOUS = 'write-4k-d32'
LOWER_IS_BETTER = {'p50_us', 'p99_us', 'p999_us', 'cpu_us', 'cpu_s_per_gib', 'device_writes'}


def summary(values):
    """Median, least and greatest of the rounds' values; None when there are none."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values),
            'rounds': values}


def ratio(value, base):
    """value / base, None when it does not exist."""
    return None if value is None or not base else value / base


class Table:
    def __init__(self, cells, cpus):
        self.cells = cells
        self.cpus = cpus

    def value(self, cell, contender, metric='iops'):
        return (self.cells.get(cell, {}).get(contender) or {}).get(metric)

    def best(self, cell, metric='iops', among=contenders.PEERS):
        """(name, value) of the best of some contenders, (None, None) when none was measured."""
        known = [(self.value(cell, name, metric), name) for name in among]
        known = [pair for pair in known if pair[0] is not None]
        if not known:
            return None, None
        value, name = (min if metric in LOWER_IS_BETTER else max)(known)
        return name, value


def plain(number):
    if number is None:
        return '-'
    if abs(number) >= 1e6:
        return f'{number / 1e6:.2f} M'
    if abs(number) >= 1e4:
        return f'{number / 1e3:.0f} k'
    return f'{number:.3g}' if abs(number) < 100 else f'{number:.0f}'


def at_least(goal, basis, value, factor, base, of):
    """value >= factor x base, in the words `of` what the base is."""
    got = ratio(value, base)
    words = 'not measured' if got is None else f'{got:.2f} x ({plain(value)} : {plain(base)} {of})'
    return Check(goal, f'{basis}: >= {factor} x {of.split(" (")[0]}', words,
                 None if got is None else got >= factor)


def at_most(goal, basis, value, bound, of, factor=None):
    """value <= bound, or <= factor x bound."""
    limit = None if bound is None else bound * (factor or 1)
    if value is None or limit is None:
        words, met = 'not measured', None
    elif factor:
        got = ratio(value, bound)
        words = ('not measured' if got is None
                 else f'{got:.2f} x ({plain(value)} : {plain(bound)} {of})')
        met = None if got is None else got <= factor
    else:
        words, met = f'{plain(value)} : {plain(limit)}', value <= limit
    times = f'{factor:.3g} x ' if factor else ''
    return Check(goal, f'{basis}: <= {times}{of.split(" (")[0]}', words, met)


def key(backing, job, connections=1, transport='unix', mode=matrix.FREE):
    return matrix.cell(backing, transport, job, connections, mode).key


def against_peer(table, goal, cell, factor, metric='iops', among=contenders.PEERS,
                 who='sluice', kind='peer'):
    name, base = table.best(cell, metric, among)
    word = metric.replace('_us', '').replace('_', ' ').replace('iops', 'IOPS')
    basis = f'{cell}, {word}' + ('' if who == 'sluice' else f' of {who}')
    value = table.value(cell, who, metric)
    of = f'best {kind} ({name})'
    if metric in LOWER_IS_BETTER:
        return at_most(goal, basis, value, base, of, factor)
    return at_least(goal, basis, value, factor, base, of)


def p1(t):
    return [against_peer(t, 'P1', key('null', READ, 1), 3.5),
            against_peer(t, 'P1', key('null', READ, 4), 6)]


def p2(t):
    return [against_peer(t, 'P2', key('null', READ, n, 'tcp'), 2.5) for n in (1, 4)]


def p3(t):
    checks = []
    for cell in (key('null', job, n) for job in (READ, WRITE) for n in (1, 4)):
        checks += [against_peer(t, 'P3', cell, 1 / 3, 'cpu_us'),
                   at_most('P3', f'{cell}, cpu', t.value(cell, 'sluice', 'cpu_us'),
                           t.value(cell, 'limit-wire', 'cpu_us'), 'limit-wire', 2.5)]
    return checks


def p4(t):
    return [against_peer(t, 'P4', key('null', job, n), factor)
            for job in (WRITE, MIXED) for n, factor in ((4, 5), (1, 2.5))]


def p5(t):
    """Without polling our server is held to a client that sleeps as well."""
    asleep = key('null', 'randread-4k-d1', mode=matrix.ASLEEP)
    polling = key('null', 'randread-4k-d1', mode=matrix.POLLING)
    checks = [
        against_peer(t, 'P5', asleep, 0.6, 'p50_us'),
        at_most('P5', f'{polling}, p50', t.value(polling, 'sluice', 'p50_us'),
                t.value(polling, 'limit-ping', 'p50_us'), 'limit-ping', 1.5),
        at_most('P5', f'{asleep}, p50 of sluice-asleep', t.value(asleep, 'sluice-asleep', 'p50_us'),
                t.value(asleep, 'limit-ping', 'p50_us'), 'limit-ping', 1.2)]
    return checks + [against_peer(t, 'P5', cell, 1.1, 'cpu_us', who=who)
                     for cell, who in ((asleep, 'sluice'), (asleep, 'sluice-asleep'),
                                       (polling, 'sluice'))]


def p6(t):
    cell = key('disk', 'randread-4k-d1', mode=matrix.POLLING)
    ping = t.value(key('null', 'randread-4k-d1', mode=matrix.POLLING), 'limit-ping', 'p50_us')
    device = t.value(cell, 'limit-dev', 'p50_us')
    bound = None if ping is None or device is None else device + ping + 5
    return [at_most('P6', f'{cell}, p50', t.value(cell, 'sluice', 'p50_us'), bound,
                    'limit-dev + limit-ping + 5 us'),
            against_peer(t, 'P6', cell, 0.7, 'p50_us')]


def p7(t):
    checks = []
    for cell in (key('disk', READ, n) for n in (1, 4)):
        device = t.value(cell, 'limit-dev', 'cpu_us')
        checks += [
            at_least('P7', cell, t.value(cell, 'sluice'), 0.9 if t.cpus <= 2 else 0.95,
                     t.value(cell, 'limit-dev'), 'limit-dev'),
            against_peer(t, 'P7', cell, 1.5),
            at_most('P7', f'{cell}, cpu', t.value(cell, 'sluice', 'cpu_us'),
                    None if device is None else device + 2, 'limit-dev + 2 us')]
    return checks


def p8(t):
    checks = []
    for cell in (key('disk', WRITE, n) for n in (1, 4)):
        checks += [
            at_least('P8', f'{cell}, durable', t.value(cell, 'sluice', 'durable_iops'), 0.95,
                     t.value(cell, 'limit-dev'), 'limit-dev'),
            against_peer(t, 'P8', cell, 1.25, 'durable_iops', contenders.DIRECT_PEERS,
                         kind='O_DIRECT peer'),
            against_peer(t, 'P8', cell, 1.2, 'durable_iops', contenders.PAGE_PEERS,
                         'sluice-buffered', 'page-cache peer')]
    return checks


def p9(t):
    checks = []
    for cell in (key('disk', CONTIGUOUS, n) for n in (1, 4)):
        ours = t.value(cell, 'sluice', 'device_writes')
        _, theirs = t.best(cell, 'device_writes', contenders.DIRECT_PEERS)
        checks += [at_most('P9', f'{cell}, device writes per request', ours, 0.1, '0.1'),
                   at_most('P9', f'{cell}, device writes per request', ours, theirs,
                           'any O_DIRECT peer', 0.1)]
    return checks


def p10(t):
    checks = []
    for cell in (key('disk', CONTIGUOUS, n) for n in (1, 4)):
        checks += [
            against_peer(t, 'P10', cell, 4, 'durable_iops', contenders.DIRECT_PEERS,
                         kind='O_DIRECT peer'),
            against_peer(t, 'P10', cell, 2, 'durable_iops', contenders.PAGE_PEERS,
                         kind='page-cache peer'),
            at_least('P10', f'{cell}, durable', t.value(cell, 'sluice', 'durable_iops'), 1.5,
                     t.value(cell, 'limit-dev'), 'limit-dev'),
            at_most('P10', f'{cell}, cpu', t.value(cell, 'sluice', 'cpu_us'), 2.5, '2.5 us')]
    return checks


def p11(t):
    checks = []
    for job in matrix.LARGE:
        cell, wire = key('disk', job), t.value(key('null', job), 'limit-wire')
        device = t.value(cell, 'limit-dev')
        slower = None if wire is None or device is None else min(wire, device)
        checks.append(at_least('P11', cell, t.value(cell, 'sluice'), 0.95, slower,
                               'the slower of limit-dev and limit-wire'))
        for cell in (key('null', job, n) for n in (1, 4)):
            checks += [
                at_least('P11', cell, t.value(cell, 'sluice'), 0.8, t.value(cell, 'limit-wire'),
                         'limit-wire'),
                at_most('P11', f'{cell}, cpu per GiB', t.value(cell, 'sluice', 'cpu_s_per_gib'),
                        t.value(cell, 'limit-wire', 'cpu_s_per_gib'), 'limit-wire', 1.3)]
    return checks


def p12(t):
    return [against_peer(t, 'P12', key('tmpfs', job, n), 2)
            for job in (*matrix.D32, CONTIGUOUS) for n in (1, 4)]


def worst(checks, ratios):
    """Of checks alike the one furthest from its bound, and the first that was not measured."""
    known = [pair for pair in zip(ratios, checks) if pair[1].met is not None]
    missing = [check for check in checks if check.met is None]
    return [check for _, check in sorted(known, key=lambda pair: pair[0])[-1:]] + missing[:1]


def groups_of(wanted):
    """{(backing, transport): [cell]} of the free cells that `wanted` takes."""
    groups = collections.defaultdict(list)
    for c in matrix.full():
        if c.mode == matrix.FREE and wanted(c):
            groups[c.backing, c.transport].append(c)
    return groups.values()


def p13(t):
    """The same job on 4 connections instead of 1, for each backing and transport the worst; and the
    same number of requests in flight, spread over 4 connections."""
    single = {c.key for c in matrix.full() if c.connections == 1}
    checks = []
    for cells in groups_of(lambda c: c.connections == 4 and
                           key(c.backing, c.job, 1, c.transport) in single):
        four = [t.value(c.key, 'sluice') for c in cells]
        one = [t.value(key(c.backing, c.job, 1, c.transport), 'sluice') for c in cells]
        checks.extend(worst([at_least('P13', c.key, ours, 0.95, base, '1 connection')
                             for c, ours, base in zip(cells, four, one)],
                            [ratio(base, ours) for ours, base in zip(four, one)]))
    for backing in ('null', 'disk'):
        for job in (READ, WRITE):
            cell = key(backing, job, mode=matrix.SAME_DEPTH)
            checks.append(at_least('P13', cell, t.value(cell, 'sluice-4x8'), 0.95,
                                   t.value(cell, 'sluice'), '1 connection'))
    return checks


def p14(t):
    """For each backing and transport the worst of its cells of depth 32."""
    checks = []
    for group in groups_of(lambda c: matrix.JOBS[c.job].depth == 32):
        cells = [c.key for c in group]
        p99 = [t.value(cell, 'sluice', 'p99_us') for cell in cells]
        p999 = [t.value(cell, 'sluice', 'p999_us') for cell in cells]
        checks.extend(worst(
            [against_peer(t, 'P14', cell, 1, 'p99_us') for cell in cells],
            [ratio(ours, t.best(cell, 'p99_us')[1]) for ours, cell in zip(p99, cells)]))
        checks.extend(worst(
            [at_most('P14', f'{cell}, p99.9', far, near, 'its p99', 3)
             for cell, far, near in zip(cells, p999, p99)],
            [ratio(far, near) for far, near in zip(p999, p99)]))
    return checks


def p15(t):
    return [at_most('P15', f'{cell}, p50', t.value(cell, 'sluice', 'p50_us'),
                    t.value(cell, 'sluice-ungathered', 'p50_us'), 'with gather off', 1.02)
            for cell in (key('memory', job, mode=matrix.GATHER)
                         for job in ('randread-4k-d1', 'randwrite-4k-d1'))]


IDLE = 'idle'  # the key of the idle cell
IDLE_CPU_US_PER_S = 100


def p17(t):
    return [at_most('P17', 'idle, wakes a second', t.value(IDLE, 'sluice', 'wakes_per_s'), 0, '0'),
            at_most('P17', 'idle, CPU us a second', t.value(IDLE, 'sluice', 'cpu_us_per_s'),
                    IDLE_CPU_US_PER_S, f'{IDLE_CPU_US_PER_S} (no polling)'),
            at_most('P17', 'idle, KiB per connection',
                    t.value(IDLE, 'sluice', 'kib_per_connection'), 300, '300')]


GOALS = {f.__name__.upper(): f for f in
         (p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p17)}


def evaluate(table):
    """{goal: [Check]} in order."""
    return {name: goal(table) for name, goal in GOALS.items()}


def verdict(checks):
    """'met', 'not met', or 'not measured' when nothing fails but something is missing."""
    if any(c.met is False for c in checks):
        return 'not met'
    return 'not measured' if any(c.met is None for c in checks) else 'met'
