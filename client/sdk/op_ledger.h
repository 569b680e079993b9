// SPDX-License-Identifier: Apache-2.0
// The ops of one session that were sent and are not answered, by op id. Ids rise by one; so many as
// the server's window holds may be open at a time, counted from the oldest. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "client/sdk/transport.h"
#include "core/check.h"

SLUICE_SDK_BEGIN
namespace internal {

class OpLedger {
 public:
  static constexpr uint32_t kNoLane = UINT32_MAX;  // not sent since the last attach

  struct Entry {
    Op* op = nullptr;  // null: answered
    uint32_t lane = kNoLane;
  };

  // Of a new session; what is open must have been taken.
  void Reset(uint32_t window) {
    SLUICE_CHECK(open_ == 0);
    entries_.assign(std::clamp<uint32_t>(window, 1, 1u << 16), Entry());
    last_ = answered_ = 0;
  }

  uint64_t open() const { return open_; }
  // No id is free at present.
  bool full() const { return last_ - answered_ >= entries_.size(); }
  // Every op up to this id is answered; 0: none.
  uint64_t answered_through() const { return answered_; }

  // REQUIRES: not full.
  uint64_t Add(Op& op, uint32_t lane) {
    SLUICE_CHECK(!full());
    ++open_;
    entries_[++last_ % entries_.size()] = {&op, lane};
    return last_;
  }
  // Null: not open.
  Entry* Find(uint64_t id) {
    if (id <= answered_ || id > last_) return nullptr;
    Entry& entry = entries_[id % entries_.size()];
    return entry.op != nullptr ? &entry : nullptr;
  }
  // REQUIRES: open.
  Op& Take(uint64_t id) {
    Entry* const entry = Find(id);
    SLUICE_CHECK(entry != nullptr);
    Op& op = *entry->op;
    *entry = Entry();
    --open_;
    while (answered_ < last_ && entries_[(answered_ + 1) % entries_.size()].op == nullptr) {
      ++answered_;
    }
    return op;
  }
  // In their order.
  std::vector<uint64_t> OpenIds() {
    std::vector<uint64_t> ids;
    for (uint64_t id = answered_ + 1; id <= last_; ++id) {
      if (Find(id) != nullptr) ids.push_back(id);
    }
    return ids;
  }

 private:
  std::vector<Entry> entries_ = std::vector<Entry>(1);  // by id modulo its size
  uint64_t last_ = 0;                                   // id given
  uint64_t answered_ = 0;
  uint64_t open_ = 0;
};

}  // namespace internal
SLUICE_SDK_END
