#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts the fences against late writes out of the server's sources, for the negative control of
replay_test.

usage: cut_fence.py SOURCE_ROOT PATH OUT    writes SOURCE_ROOT/PATH without its fences to OUT

Each cut is a text that must stand in the file exactly once, and what stands there instead.
"""
import sys

CUTS = {
    'server/grpc/session_ops.cc': [
        # An op id runs at most once, and never over a later one.
        ('if (!op.unnumbered) {\n    const OpWindow::Verdict',
         'if (op.unnumbered && !op.unnumbered) {\n    const OpWindow::Verdict'),
    ],
    'server/grpc/session.cc': [
        # An attach closes the streams before it and waits for what they began.
        ('for (const Joined& joined : old) Close(*joined.party, Reason::kStaleAttach);',
         'parties_ = std::move(old);'),
        ('if (newer || !attaching_.empty()) {', 'if (newer && false) {'),
        ('attach_seq < attach_seq_ || attach_seq == 0', 'attach_seq == 0'),
    ],
    'server/grpc/registry.cc': [
        # A session whose lease is over ends.
        ('Remove(*holder, Reason::kSessionLost, true, [] {});',
         'static_cast<void>(holder);'),
    ],
    'server/grpc/registry_open.cc': [
        # A takeover ends the session before it.
        ('if (holder != nullptr) Remove(*holder, Reason::kStaleEpoch, true, [] {});',
         'static_cast<void>(holder);'),
        # It waits for NBD connections.
        ('if (all && seats > 0) {', 'if (all && false) {'),
        # An epoch that is presented is the newest.
        ('} else if (ask.epoch != 0 && ask.epoch != epochs_.Current(opening.exported->name)) {',
         '} else if (false) {'),
        ('if (opening->ask.epoch != 0 && opening->ask.epoch != opening->epoch) {',
         'if (false) {'),
    ],
    'server/nbd/roster.cc': [
        # Nothing of a dead connection is parsed after its successor was admitted.
        ('if (all || member->leaving() || member->PeerClosed()) settling.ids.insert(id);',
         'static_cast<void>(id);'),
    ],
}


def main(cuts):
    root, path, out = sys.argv[1:]
    with open(f'{root}/{path}', encoding='utf-8') as f:
        text = f.read()
    for cut, instead in cuts[path]:
        if text.count(cut) != 1:
            sys.exit(f'cut_fence.py: {path}: stands there {text.count(cut)} times: {cut}')
        text = text.replace(cut, instead)
    with open(out, 'w', encoding='utf-8') as f:
        f.write(text)


if __name__ == '__main__':
    main(CUTS)
