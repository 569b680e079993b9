# SPDX-License-Identifier: Apache-2.0
"""Instructions per request, by stage, as callgrind counts them in path_driver.

A run of many requests less a run of few leaves what the requests themselves took. Counted is our
own code: what it inlines or calls from header-only libraries is its own, what it calls in shared
libraries (copies, mostly) is the stage `libc`, whose count depends on the CPU, and the driver's
client does not count at all.
"""
import json
import os
import re
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
WORKLOADS = ('null_read', 'null_write', 'read', 'random_write', 'contiguous_write')
FEW, MANY = 2048, 12288  # requests; whole rounds of the driver's batches

# Code belongs to a stage by its file, else by the function it was inlined into.
FILES = [
    ('client', r'^tests/'),
    ('bio', r'^core/(bio|group|target)\.'),
    ('pool', r'^core/pool\.'),
    ('turn', r'^core/(reactor|poller|clock|mailbox)\.'),
    ('guard', r'^storage/range_guard\.'),
    ('gather', r'^storage/(gather|carrier)\.'),
    ('bufq', r'^storage/bufq'),
    ('complete', r'^storage/disk_completion\.'),
    ('parse', r'^server/nbd/(check|staging)\.'),
]
FUNCTIONS = [
    ('client', r'\bbench::'),
    ('receive', r'Connection::(Receive|StampReceive)|Member::OnReceived|Session::ReceiveInto'),
    ('send', r'Connection::|Session::(Sent|Retire|Resume|Output)|ReplyQueue::(Output|Sent|Compact)'
             r'|SessionMemory::(Give|Free)'),
    ('reply', r'Session::(On|Answer)|Render|ReplyQueue::|Encode|NbdError|DataCursor|Head::'),
    ('parse', r'nbd::'),
    ('bio', r'sluice::(Submit|Done|Finish|Nest|PushCallback|SliceSegments|Copy(To|From)Bio)\b'
            r'|BioGroup::'),
    ('pool', r'BufferPool::|BioPool::|Slab<'),
    ('turn', r'Reactor::'),
    ('guard', r'RangeGuard::'),
    ('gather', r'Gather::'),
    ('bufq', r'Bufq|Policy::|Deadline|SortTree|Elevator'),
    ('complete', r'FlightIndex::Erase|Disk::(OnSlotDone|PrepareRest|EndSlot|FreeSlot|EndRun'
                 r'|EndOperation|EndBio|MayConsumeErrors)'),
    ('submit', r'Disk::|FlightIndex::|SlowPath::|Flusher::|NullDisk::|Medium'),
    ('other', r'\bsluice::'),
]


def stage_of(file, function):
    """The stage of code of `file` inside `function`; None if neither is ours."""
    path = os.path.normpath(file)
    ours = re.search(r'.*/((core|storage|proto|server|tests)/[^:]*)$', path)
    if path.startswith('/usr/') or not ours:
        path = ''
    else:
        path = ours.group(1)
    for stage, pattern in FILES:
        if re.search(pattern, path):
            return stage
    for stage, pattern in FUNCTIONS:
        if re.search(pattern, function):
            return stage
    return None


class Profile:
    """One callgrind.out file: its cost by stage. Format: valgrind's manual, cl-format."""

    def __init__(self, path, binary):
        self.stages = {}
        self.total = 0
        self._binary = os.path.basename(binary)
        self._names = {'ob': {}, 'fl': {}, 'fn': {}}
        with open(path, encoding='utf-8') as file:
            self._read(file)

    def _name(self, kind, text):
        number, _, name = text.partition(' ')
        if name:
            self._names[kind][number] = name
        return self._names[kind].get(number, text)

    def _add(self, stage, cost):
        self.stages[stage] = self.stages.get(stage, 0) + cost

    def _read(self, lines):
        kinds = {'ob': 'ob', 'fl': 'fl', 'fi': 'fl', 'fe': 'fl', 'fn': 'fn', 'cob': 'ob',
                 'cfi': 'fl', 'cfl': 'fl', 'cfn': 'fn'}
        at = {'ob': '', 'fl': '', 'fn': '', 'cob': None, 'cfn': '', 'cfl': None}
        called = False
        for line in lines:
            key, equals, value = line.rstrip('\n').partition('=')
            if equals and key in kinds:
                at[{'fi': 'fl', 'fe': 'fl', 'cfi': 'cfl'}.get(key, key)] = self._name(
                    kinds[key], value)
            elif key == 'calls':
                called = True
            elif line.startswith('totals:'):
                self.total = int(line.split()[1])
            elif line[0] in '0123456789+-*':
                cost = int(line.split()[1])
                if called:
                    self._call(at, cost)
                    at['cob'] = at['cfl'] = None
                    called = False
                elif os.path.basename(at['ob']) == self._binary:
                    stage = stage_of(at['fl'], at['fn'])
                    if stage:
                        self._add(stage, cost)

    def _call(self, at, cost):
        """What a call costs is the callee's, unless that is not ours."""
        if os.path.basename(at['ob']) != self._binary:
            return
        caller = stage_of(at['fl'], at['fn'])
        if caller is None:
            return
        if at['cob'] is not None and os.path.basename(at['cob']) != self._binary:
            self._add('client' if caller == 'client' else 'libc', cost)
        elif stage_of(at['cfl'] or at['fl'], at['cfn']) is None:
            self._add(caller, cost)


def count(driver, workload, requests):
    """(its Profile, the driver's own counters or {})"""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'callgrind.out')
        run = subprocess.run(
            ['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', driver, workload,
             str(requests)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=120, check=False)
        if run.returncode != 0:
            raise RuntimeError(f'path_driver {workload} under callgrind:\n{run.stderr[-3000:]}')
        return Profile(out, driver), json.loads(run.stdout or '{}')


def per_request(driver, workload):
    """(instructions of one request by stage, without the client; the driver's counters)"""
    few, _ = count(driver, workload, FEW)
    many, counters = count(driver, workload, MANY)
    stages = {stage: (cost - few.stages.get(stage, 0)) / (MANY - FEW)
              for stage, cost in many.stages.items()}
    total = (many.total - few.total) / (MANY - FEW)
    if abs(sum(stages.values()) - total) > 0.01 * total:
        raise RuntimeError(f'{workload}: {total} instructions a request, but {stages} are found')
    stages.pop('client', None)
    return stages, counters
