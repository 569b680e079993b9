// SPDX-License-Identifier: Apache-2.0
// Which blocks of the region this run has changed, a bit each. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace sluice::bench {

class Coverage {
 public:
  explicit Coverage(uint64_t blocks) : words_((blocks + 63) / 64) {}

  void Set(uint64_t block) {
    words_[block / 64].fetch_or(uint64_t{1} << (block % 64), std::memory_order_relaxed);
  }
  bool Has(uint64_t block) const {
    return (words_[block / 64].load(std::memory_order_relaxed) >> (block % 64) & 1) != 0;
  }

 private:
  std::vector<std::atomic<uint64_t>> words_;
};

}  // namespace sluice::bench
