# SPDX-License-Identifier: Apache-2.0
"""The tables a person reads, as Markdown: the goals, then every cell.

`run` is what compare writes as JSON:
  {"machine": {...}, "versions": {...}, "options": {...}, "began": ISO time, "seconds": total,
   "cells": {key: {contender: {metric: {"median", "min", "max", "rounds"}}}},
   "unable": {key: {contender: reason}}, "goals": {goal: {"verdict", "checks": [...]}}}
"""
from comparison import contenders
from comparison import goals

NOISY_CPUS = 0.2


def medians(run):
    """The table goals.py judges."""
    return goals.Table({key: {name: {metric: s['median'] for metric, s in metrics.items()}
                              for name, metrics in cell.items()}
                        for key, cell in run['cells'].items()}, run['machine']['cpus'])


def markdown_table(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '| ' + ' | '.join('---' for _ in head) + ' |']
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join(lines)


def goal_rows(run):
    """A row for each check; those that were not measured share one for each goal."""
    for name, goal in run['goals'].items():
        for check in goal['checks']:
            if check['met'] is not None:
                yield [name, check['basis'], check['measured'],
                       'met' if check['met'] else '**not met**']
        missing = [check['basis'] for check in goal['checks'] if check['met'] is None]
        if missing:
            yield [name, f'{missing[0]}' + (f' and {len(missing) - 1} more' if missing[1:] else ''),
                   'not measured', '**not measured**']


def first_words(reason):
    return ' '.join(reason.split())[:200].replace('|', '/')


def goals_summary(run):
    verdicts = {name: goal['verdict'] for name, goal in run['goals'].items()}
    return '; '.join(f'{verdict}: {" ".join(n for n, v in verdicts.items() if v == verdict)}'
                     for verdict in ('met', 'not met', 'not measured')
                     if verdict in verdicts.values())


def rate(cell):
    durable = cell.get('durable_iops')
    return goals.plain(cell.get('iops')) + (f' ({goals.plain(durable)})' if durable else '')


def cell_row(table, key, name):
    value = lambda metric: table.value(key, name, metric)  # noqa: E731
    metric = 'durable_iops' if value('durable_iops') else 'iops'
    _, peer = table.best(key, metric)
    _, limit = table.best(key, 'iops', ('limit-dev', 'limit-wire'))
    times = lambda base: '-' if not base else f'{value(metric) / base:.2f}'  # noqa: E731
    writes = goals.plain(value('device_writes'))
    if value('own_device_writes') is not None:
        writes += f' (own {goals.plain(value("own_device_writes"))})'
    return [name, rate(table.cells[key][name]),
            ' / '.join(goals.plain(value(m)) for m in ('p50_us', 'p99_us', 'p999_us')),
            goals.plain(value('cpu_us')), goals.plain(value('cpu_s_per_gib')), writes, times(peer),
            times(limit), f'{value("foreign_cpus"):.2f}']


HEAD = ['', 'IOPS (durable)', 'p50 / p99 / p99.9 µs', 'server CPU µs/request', 'CPU s/GiB',
        'device writes/request', 'x best peer', 'x limit', 'foreign CPUs']


def cell_tables(run):
    table = medians(run)
    for key, cell in run['cells'].items():
        if key == goals.IDLE:
            continue
        rows = [cell_row(table, key, name) for name in cell]
        rows += [[name, f'cannot run: {first_words(reason)}', *[''] * 7]
                 for name, reason in run['unable'].get(key, {}).items()]
        yield f'### {key}\n\n' + markdown_table(HEAD, rows)


def idle_table(run):
    table, cell = medians(run), run['cells'].get(goals.IDLE, {})
    metrics = ('wakes_per_s', 'cpu_us_per_s', 'kib_per_connection')
    rows = [[name, *(goals.plain(table.value(goals.IDLE, name, m)) for m in metrics)]
            for name in cell]
    rows += [[name, f'cannot run: {first_words(reason)}', '', '']
             for name, reason in run['unable'].get(goals.IDLE, {}).items()]
    return markdown_table(['200 idle connections', 'wakes/s', 'CPU µs/s', 'KiB/connection'], rows)


def noisy(run):
    table = medians(run)
    return [f'{key} {name}' for key, cell in run['cells'].items() for name in cell
            if (table.value(key, name, 'foreign_cpus') or 0) > NOISY_CPUS]


def goals_table(run):
    return markdown_table(['goal', 'basis', 'measured', ''], goal_rows(run))


def markdown(run):
    machine, options = run['machine'], run['options']
    facts = [f'- {run["began"]}, {run["seconds"]:.0f} s; {machine["cpus"]} CPUs, '
             f'{machine["model"]}, Linux {machine["kernel"]}; disk: {machine["disk"]}',
             '- ' + ', '.join(f'{name} {version}' for name, version in run['versions'].items()),
             f'- medians of {options["rounds"]} interleaved rounds of {options["seconds"]} s; '
             'contenders take turns within a round',
             f'- foreign CPUs above {NOISY_CPUS} in {len(noisy(run))} of '
             f'{sum(map(len, run["cells"].values()))} medians (kernel writeback counts as foreign)']
    kinds = {kind: ', '.join(c.name for c in contenders.ALL.values() if c.kind == kind)
             for kind in ('peer', 'limit')}
    facts.append(f'- peers: {kinds["peer"]}; limits: {kinds["limit"]}; x best peer and x limit are '
                 'of durable IOPS where there are any')
    return '\n\n'.join([
        '# Sluice compared', '\n'.join(facts), '## Goals', goals_summary(run), goals_table(run),
        '## Cells', *cell_tables(run), '## Idle', idle_table(run)]) + '\n'
