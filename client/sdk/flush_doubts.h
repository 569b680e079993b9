// SPDX-License-Identifier: Apache-2.0
// What a flush can promise when a connection or a session was lost before it: the server may have
// restarted, and then writes that it had answered and nobody had flushed are gone. A flush that was
// asked for before such a doubt was told tells it, once. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "client/sdk/transport.h"

SLUICE_SDK_BEGIN
namespace internal {

class FlushDoubts {
 public:
  // An op was asked for.
  void Begin(Op& op) const { op.doubts = told_; }
  // It is sent: a flush covers what has been answered by now.
  void Mark(Op& op) const { op.mark = answered_; }
  // It was carried out.
  void Count(const Op& op) {
    if (op.changes() && (op.flags & kFua) == 0) ++answered_;
  }
  // What has been answered and not flushed may be gone.
  void Lose() {
    if (answered_ > flushed_) ++doubts_;
  }
  // Of a flush that was carried out. `lost`: what was, for the text.
  Status Outcome(const Op& flush, const std::string& lost) {
    flushed_ = std::max(flushed_, flush.mark);
    if (doubts_ <= flush.doubts) return {};
    told_ = doubts_;
    return Status(StatusCode::kUnknownOutcome,
                  lost +
                      " was lost since the last flush: if the server restarted, writes it had "
                      "answered may be gone; write them again and flush");
  }

 private:
  uint64_t answered_ = 0;  // writes
  uint64_t flushed_ = 0;   // of them
  uint64_t doubts_ = 0;
  uint64_t told_ = 0;  // of them
};

}  // namespace internal
SLUICE_SDK_END
