// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/range_guard.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

bool Overlap(const Op& a, const Op& b) {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

}  // namespace

bool RangeGuard::Busy(const Op& op) const {
  const auto behind = inside_.lower_bound(op.offset + op.length);
  return behind != inside_.begin() && std::prev(behind)->second > op.offset;
}

bool RangeGuard::Enter(Op& op) {
  const bool waits = Busy(op) || std::any_of(held_.begin(), held_.end(),
                                             [&](const Op* h) { return Overlap(*h, op); });
  if (waits) {
    held_.push_back(&op);
  } else if (op.changes()) {
    inside_.emplace(op.offset, op.offset + op.length);
  }
  return !waits;
}

void RangeGuard::Leave(uint64_t offset, std::vector<Op*>& freed) {
  SLUICE_CHECK(inside_.erase(offset) == 1);
  for (Op* op : std::exchange(held_, {})) {
    if (Enter(*op)) freed.push_back(op);
  }
}

std::deque<Op*> RangeGuard::TakeHeld() { return std::exchange(held_, {}); }

}  // namespace internal
SLUICE_SDK_END
