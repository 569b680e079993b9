# SPDX-License-Identifier: Apache-2.0
"""Draws the comparison as one SVG: above, requests a second; below, server CPU per request.

usage: plot.py JSON SVG    (needs matplotlib: Debian's python3-matplotlib, for Debian's python3)
"""
import json
import sys

import matplotlib
matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402

matplotlib.rcParams.update({
    'svg.fonttype': 'none', 'svg.hashsalt': 'sluice', 'font.family': 'DejaVu Sans, sans-serif',
    'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False})

# Contender -> (label, colour); drawn in this order.
STYLE = {
    'sluice': ('Sluice', '#0b6e99'),
    'nbdkit': ('nbdkit', '#c9b458'),
    'nbdkit-cached': ('nbdkit (page cache)', '#e3d7a0'),
    'qemu-nbd': ('qemu-nbd', '#b07a5e'),
    'qemu-sd': ('qemu-storage-daemon', '#8c8c8c'),
    'nbd-server': ('nbd-server (page cache)', '#7a9a72'),
    'limit-wire': ('null responder, one thread', '#e8e8e8'),
    'limit-dev': ('fio on the device itself', '#d9d9d9'),
}
LIMITS = {'limit-wire', 'limit-dev'}

PANELS = [
    ('no drive, unix socket, 4 KiB, depth 32', [
        ('random read\n1 connection', 'null unix randread-4k-d32 x1'),
        ('random read\n4 connections', 'null unix randread-4k-d32 x4'),
        ('random write\n4 connections', 'null unix randwrite-4k-d32 x4')]),
    ('disk, unix socket, 4 KiB, depth 32, 1 connection', [
        ('random read', 'disk unix randread-4k-d32 x1'),
        ('random write\n(durable)', 'disk unix randwrite-4k-d32 x1'),
        ('contiguous write\n(durable)', 'disk unix write-4k-d32 x1')]),
]


def number(run, key, name, metric):
    value = run['cells'].get(key, {}).get(name, {})
    if metric == 'iops' and 'durable_iops' in value:
        return value['durable_iops']['median']
    return value.get(metric, {}).get('median')


def short(value):
    """Thousands, as few characters as fit above a bar."""
    return f'{value / 1e3:.2f} M' if value >= 1000 else f'{value:.0f}'


def draw(axes, run, groups, metric):
    """One panel: a group of bars per job; what was not measured has no bar."""
    names = [n for n in STYLE if any(number(run, key, n, metric) for _, key in groups)]
    width = 0.84 / max(1, len(names))
    for place, (_, key) in enumerate(groups):
        for rank, name in enumerate(names):
            value = number(run, key, name, metric)
            if not value:
                continue
            value = value / 1e3 if metric == 'iops' else value
            at = place + (rank - (len(names) - 1) / 2) * width
            limit = name in LIMITS
            axes.bar(at, value, width * 0.92, color=STYLE[name][1], hatch='///' if limit else None,
                     edgecolor='#9a9a9a' if limit else 'none', linewidth=0.6 if limit else 0)
            text = short(value) if metric == 'iops' else f'{value:.1f}'
            axes.text(at, value, text, ha='center', va='bottom', fontsize=7.5,
                      fontweight='bold' if name == 'sluice' else 'normal', color='#333333')
    axes.set_xticks(range(len(groups)), [label for label, _ in groups])
    axes.tick_params(axis='x', length=0)
    axes.grid(axis='y', color='#eeeeee')
    axes.set_axisbelow(True)
    return names


def main(json_path, svg_path):
    with open(json_path, encoding='utf-8') as f:
        run = json.load(f)
    figure, axes = pyplot.subplots(2, len(PANELS), figsize=(13, 7.6))
    drawn = set()
    for column, (title, groups) in enumerate(PANELS):
        for row, metric in enumerate(('iops', 'cpu_us')):
            drawn.update(draw(axes[row][column], run, groups, metric))
        axes[0][column].set_title(title, fontsize=11, loc='left')
    axes[0][0].set_ylabel('thousand requests/s\n(more is better)')
    axes[1][0].set_ylabel('server CPU, µs per request\n(less is better)')
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=STYLE[n][1]) if n not in LIMITS else
               pyplot.Rectangle((0, 0), 1, 1, facecolor=STYLE[n][1], edgecolor='#9a9a9a',
                                hatch='///') for n in STYLE if n in drawn]
    figure.legend(handles, [STYLE[n][0] for n in STYLE if n in drawn], loc='upper center',
                  ncol=(len(handles) + 1) // 2, frameon=False)
    machine = run['machine']
    figure.text(0.5, 0.005, f'{machine["model"]}, {machine["cpus"]} CPUs, Linux {machine["kernel"]}'
                f'; medians of {run["options"]["rounds"]} interleaved rounds; '
                f'{run["began"][:10]}', ha='center', fontsize=8, color='#666666')
    figure.tight_layout(rect=(0, 0.025, 1, 0.92))
    figure.savefig(svg_path, metadata={'Date': None}, facecolor='white')


if __name__ == '__main__':
    main(*sys.argv[1:])
