// SPDX-License-Identifier: Apache-2.0
// Looking for work for a while before sleeping: how long it pays, learnt from how long the waits
// were. Waking a sleeping CPU costs more than many a request. One thread.
//
// Who spins gives way at each look (Clock::Yield): a client on the same CPU, above all, whose next
// request is waited for. Where somebody keeps the CPU for long, there is no spin for a while.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/units.h"

namespace sluice {

class SpinBudget {
 public:
  static constexpr uint64_t kTrafficNs = kMillisecond;  // no spin after this long without work

  explicit SpinBudget(uint64_t max_ns) noexcept : max_ns_(max_ns), ns_(max_ns) {}

  // The longest that a spin may take now; 0: none.
  uint64_t ns() const noexcept { return ns_ < kMinNs ? 0 : ns_; }

  // A look took so long, with giving way. False: the spin is over, others need the CPU.
  bool MayGoOn(uint64_t look_ns, uint64_t now_ns) noexcept {
    if (look_ns < kLongLookNs) return true;
    ns_ = 0;
    learns_ns_ = now_ns + kTrafficNs;
    return false;
  }

  // A wait is over; it took so long, spin and sleep.
  void Learn(uint64_t waited_ns, uint64_t now_ns) noexcept {
    if (waited_ns > max_ns_ + kWakeNs) {
      ns_ /= 2;
    } else if (waited_ns > ns_ && now_ns >= learns_ns_) {
      ns_ = std::min(max_ns_, std::max(ns_ * 2, kMinNs));
    }
  }

 private:
  static constexpr uint64_t kMinNs = 2 * kMicrosecond;  // less is not worth a spin
  // More than a client needs between an answer and its next request.
  static constexpr uint64_t kLongLookNs = 200 * kMicrosecond;
  // What waking a CPU that had gone idle may add to a wait: a spin would not have paid it. Without
  // it a drive that answers just within the budget is slept for, each sleep looks too long for a
  // spin, and there it stays.
  static constexpr uint64_t kWakeNs = 25 * kMicrosecond;

  const uint64_t max_ns_;
  uint64_t ns_;
  uint64_t learns_ns_ = 0;  // it does not grow before this
};

}  // namespace sluice
