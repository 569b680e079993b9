#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts the fences against late writes out of the SDK's sources, for the negative control of
client_replay_test; as tests/server/replay/cut_fence.py does with the server's.

usage: cut_sdk_fence.py SOURCE_ROOT PATH OUT    writes SOURCE_ROOT/PATH without its fences to OUT
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                '../../server/replay'))
from cut_fence import main  # noqa: E402

CUTS = {
    'client/sdk/range_guard.cc': [
        # Changes that overlap are never outstanding together.
        ('const bool waits = Busy(op) ||', 'const bool waits = false && Busy(op) &&'),
        ('SLUICE_CHECK(inside_.erase(offset) == 1);', 'inside_.erase(offset);'),
    ],
    'client/sdk/grpc_transport.cc': [
        # What an attach tells as done is not sent again.
        ('const bool told = known != attached.completed().end();',
         'const bool told = false && known != attached.completed().end();'),
        # Nor is what the server has forgotten the end of.
        ('} else if (told || id > attached.completed_through()) {', '} else if (id > 0) {'),
        # Who is one of several writers does not send again by itself after a restart.
        ('if (op.changes() && options_.access == Access::kShared) {',
         'if (op.changes() && options_.access == Access::kReadOnly) {'),
    ],
    'client/sdk/grpc_session.cc': [
        # The epoch that was held is presented.
        ('if (ever_ && options_.access == Access::kReadWrite) request.set_epoch(epoch_);', ''),
        # Nothing is sent once the lease is over.
        ('if (MonotonicNs() < lease_end_ns_) return true;', 'if (lease_end_ns_ != 0) return true;'),
        ('if (now_ns >= lease_end_ns_) return LoseLease();', ''),
    ],
}

if __name__ == '__main__':
    main(CUTS)
