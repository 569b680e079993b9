# SPDX-License-Identifier: Apache-2.0
"""One measurement: a load against one server, and what it cost.

A run's result is a dict of numbers (None: does not apply):
  iops, durable_iops       requests a second; the same with the final flush in the time (writes)
  p50_us, p99_us, p999_us  latency
  cpu_us, cpu_s_per_gib    CPU of the server, all threads and children, per request and per GiB
  client_cpu_us            CPU of the load generator per request
  device_writes, device_reads    requests the kernel completed at the file's device per NBD request
  own_device_writes        the same by our server's own counters (writes only)
  foreign_cpus             CPUs that were busy with anything else meanwhile
"""
import collections
import contextlib
import json
import os
import resource
import subprocess
import time

from comparison import contenders
from comparison import matrix

WARM_UP_SECONDS = 0.2
TICKS = os.sysconf('SC_CLK_TCK')
CLIENT_CPU, SERVER_CPU = 0, 1


def descendants(pid):
    """The children of a process that live, theirs included."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/children', encoding='ascii') as f:
                for child in map(int, f.read().split()):
                    yield child
                    yield from descendants(child)


def own_cpu_s(pid):
    """CPU of a process: its threads that live and those that ended, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED


def tree_cpu_s(pid):
    """CPU of a process and its children; that of ended ones to the scheduler's tick."""
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        fields = f.read().rpartition(')')[2].split()
    ended = (int(fields[13]) + int(fields[14])) / TICKS  # cutime, cstime
    total = own_cpu_s(pid) + ended
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            total += own_cpu_s(child)
    return total


def device_of(path):
    """(reads, writes) the kernel completed at the device of a file's file system, or None."""
    number = os.stat(path).st_dev
    with open('/proc/diskstats', encoding='ascii') as f:
        for line in f:
            fields = line.split()
            if int(fields[0]) == os.major(number) and int(fields[1]) == os.minor(number):
                return int(fields[3]), int(fields[7])
    return None


def busy_cpu_s():
    """CPU time all CPUs together spent at work, what the hypervisor took included."""
    with open('/proc/stat', encoding='ascii') as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def ended_children_cpu_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


Sample = collections.namedtuple('Sample', 'at server busy clients own device')


def sample(server, path):
    return Sample(time.monotonic(), tree_cpu_s(server.pid) if server else 0, busy_cpu_s(),
                  ended_children_cpu_s(), time.process_time(), device_of(path) if path else None)


def counters_of(server, path):
    """Our own server's counters of the disk at `path`; {} of another server, or without a disk."""
    return next(iter(server.stats().values()), {}) if server.stats and path else {}


def settle(server):
    """Waits until a server that forks has reaped the children of a run."""
    deadline = time.monotonic() + 0.5
    while server and any(descendants(server.pid)) and time.monotonic() < deadline:
        time.sleep(0.005)


def run_json(command, seconds, cpu):
    pin = None if cpu is None else (lambda: os.sched_setaffinity(0, {cpu}))
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=seconds + 20, check=False, preexec_fn=pin,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise contenders.Unable(str(e)) from None
    if done.returncode != 0:
        raise contenders.Unable(f'{os.path.basename(command[0])} exits {done.returncode}: '
                                f'{done.stderr.strip()[-300:]}')
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise contenders.Unable(f'{os.path.basename(command[0])} prints no JSON: '
                                f'{done.stdout[:200]!r}') from None


def milliseconds(seconds):
    return f'{seconds * 1000:.0f}ms'


def bench_command(site, uri, job, connections, seconds, poll_us=0):
    command = [os.path.join(site.bin, 'sluice'), 'bench', uri, '--rw', job.rw, '--block-size',
               str(job.block_size), '--depth', str(job.depth), '--connections', str(connections),
               '--time', milliseconds(seconds), '--warmup', '0', '--json']
    if job.read_percent is not None:
        command += ['--read-percent', str(job.read_percent)]
    if job.rw not in ('randread', 'read'):
        command += ['--destroy', '--flush']
    return command + (['--poll', str(poll_us)] if poll_us else [])


def fio_command(path, job, connections, seconds):
    share = f'{100 // connections}%'
    command = ['fio', '--name=x', f'--filename={path}', '--ioengine=io_uring', '--direct=1',
               f'--rw={job.rw}', f'--bs={job.block_size}', f'--iodepth={job.depth}',
               f'--numjobs={connections}', f'--runtime={milliseconds(seconds)}', '--time_based',
               f'--ramp_time={milliseconds(WARM_UP_SECONDS)}', '--group_reporting',
               '--output-format=json', '--unified_rw_reporting=1', '--lat_percentiles=1',
               '--norandommap', '--randrepeat=0']
    if job.rw == 'write' and connections > 1:
        command += [f'--size={share}', f'--offset_increment={share}']
    if job.read_percent is not None:
        command += [f'--rwmixread={job.read_percent}']
    return command


def costs(before, after, requests, block_size):
    """What a run of so many requests cost, from the samples at its ends."""
    elapsed = after.at - before.at
    server = after.server - before.server
    ours = server + after.clients - before.clients + after.own - before.own
    result = {
        'cpu_us': server / requests * 1e6,
        'cpu_s_per_gib': server / (requests * block_size) * 2 ** 30,
        'foreign_cpus': max(0, (after.busy - before.busy - ours) / elapsed),
    }
    if before.device and after.device:
        result['device_reads'] = (after.device[0] - before.device[0]) / requests
        result['device_writes'] = (after.device[1] - before.device[1]) / requests
    return result


def own_device_writes(before, after):
    """Device writes per write by our own counters; None without writes or counters."""
    delta = {k: after.get(k, 0) - before.get(k, 0) for k in ('writes', 'device_writes')}
    return delta['device_writes'] / delta['writes'] if delta['writes'] else None


def forget_pages(path):
    """So that nobody reads what another left in the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def measure_fio(path, job, connections, seconds, cpu):
    before = sample(None, path)
    answer = run_json(fio_command(path, job, connections, seconds), seconds, cpu)
    after = sample(None, path)
    fio = answer['jobs'][0]
    mixed = fio['mixed']
    if fio['error'] or not mixed['total_ios']:
        raise contenders.Unable(f'fio: error {fio["error"]}, {mixed["total_ios"]} requests')
    at = mixed['lat_ns']['percentile']
    cpu_s = (fio['usr_cpu'] + fio['sys_cpu']) / 100 * fio['job_runtime'] / 1e3
    result = costs(before, after, mixed['total_ios'], job.block_size)
    # fio counts its own CPU without its start; its device counts hold the warm-up: drop them.
    result.update(iops=mixed['iops'], p50_us=at['50.000000'] / 1e3, p99_us=at['99.000000'] / 1e3,
                  p999_us=at['99.900000'] / 1e3, cpu_us=cpu_s / mixed['total_ios'] * 1e6,
                  cpu_s_per_gib=cpu_s / (mixed['total_ios'] * job.block_size) * 2 ** 30)
    result.pop('device_reads', None)
    result.pop('device_writes', None)
    return result


def measure_ping(site, cell, seconds):
    """Both ends poll where the client does. Its CPU is both ends' and no server's."""
    poll = str(matrix.CLIENT_POLL_US if cell.mode == matrix.POLLING else 0)
    command = [os.path.join(site.bin, 'limit_ping'), '--time', str(seconds), '--client-poll', poll,
               '--server-poll', poll, '--client-cpu', str(CLIENT_CPU), '--server-cpu',
               str(SERVER_CPU)]
    before = sample(None, None)
    answer = run_json(command, seconds, None)
    foreign = costs(before, sample(None, None), answer['requests'], 1)['foreign_cpus']
    return {'iops': answer['iops'], 'p50_us': answer['p50_us'], 'p99_us': answer['p99_us'],
            'p999_us': answer['p99.9_us'], 'foreign_cpus': foreign}


def measure_server(site, cell, name, job, connections, seconds):
    """Starts the server, loads it, and stops it."""
    pinned = cell.mode != matrix.FREE and cell.mode != matrix.SAME_DEPTH
    client = CLIENT_CPU if pinned else None
    polls = cell.mode in (matrix.POLLING, matrix.GATHER)
    poll_us = matrix.CLIENT_POLL_US if polls else 0
    path = site.files.get(cell.backing)
    with contenders.start(name, site, cell.backing, cell.transport,
                          SERVER_CPU if pinned else None, poll_us) as server:
        def load(span):
            return run_json(bench_command(site, server.uri, job, connections, span, poll_us),
                            span, client)
        load(WARM_UP_SECONDS)
        settle(server)
        counters = counters_of(server, path)
        before = sample(server, path)
        answer = load(seconds)
        settle(server)
        after = sample(server, path)
        own_writes = own_device_writes(counters, counters_of(server, path))
    if answer['errors'] or not answer['requests']:
        raise contenders.Unable(f'{answer["errors"]} errors in {answer["requests"]} requests')
    latency = answer['latency_us']
    result = costs(before, after, answer['requests'], job.block_size)
    result.update(iops=answer['iops'], durable_iops=answer['durable_iops'],
                  p50_us=latency['p50'], p99_us=latency['p99'], p999_us=latency['p99.9'],
                  client_cpu_us=answer['client_cpu_us_per_request'],
                  own_device_writes=own_writes)
    return result


def measure(site, cell, name, seconds):
    """One turn of one contender. Raises Unable, AssertionError or OSError when it cannot."""
    job, connections = matrix.JOBS[cell.job], cell.connections
    if name.endswith('-4x8'):
        job, connections = job._replace(depth=job.depth // 4), connections * 4
    path = site.files.get(cell.backing)
    if path:
        forget_pages(path)
    if name == 'limit-dev':
        return measure_fio(path, job, connections, seconds,
                           CLIENT_CPU if cell.mode == matrix.POLLING else None)
    if name == 'limit-ping':
        return measure_ping(site, cell, seconds)
    return measure_server(site, cell, name, job, connections, seconds)
