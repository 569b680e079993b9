// SPDX-License-Identifier: Apache-2.0
// Tells who watches over the process that every reactor still turns. A round asks each reactor for
// a sign; only when all have given it is the watcher told, and the next round begins. A reactor
// that is stuck in one turn therefore silences us, and the watcher acts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"

namespace sluice {

class Watchdog {
 public:
  // The watcher waits for `timeout_ns`; `alive` is called, on reactor 0, four times in that long.
  // Outlives the reactors' threads.
  Watchdog(ReactorSet& reactors, uint64_t timeout_ns, absl::AnyInvocable<void()> alive);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // --- reactor 0's thread ---
  void Start() noexcept;
  void Stop() noexcept;  // before it dies

 private:
  struct RoundTimer : Timer {
    Watchdog* owner = nullptr;
  };

  void Ask() noexcept;
  void EndRound() noexcept;
  bool AllAnswered() const noexcept;

  ReactorSet& reactors_;
  const uint64_t round_ns_;
  absl::AnyInvocable<void()> alive_;
  RoundTimer timer_;
  uint64_t round_ = 0;
  std::array<std::atomic<uint64_t>, Reactor::kMax> answered_{};  // the last round, by reactor
};

}  // namespace sluice
