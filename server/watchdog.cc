// SPDX-License-Identifier: Apache-2.0
#include "server/watchdog.h"

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

constexpr uint64_t kRoundsInTimeout = 4;  // one may come late, and still the watcher hears us

}  // namespace

Watchdog::Watchdog(ReactorSet& reactors, uint64_t timeout_ns, absl::AnyInvocable<void()> alive)
    : reactors_(reactors),
      round_ns_(std::max<uint64_t>(timeout_ns / kRoundsInTimeout, 1)),
      alive_(std::move(alive)) {
  timer_.owner = this;
  timer_.run = [](Timer& timer) noexcept { static_cast<RoundTimer&>(timer).owner->EndRound(); };
}

void Watchdog::Start() noexcept { Ask(); }

void Watchdog::Stop() noexcept { reactors_.at(0).Disarm(timer_); }

void Watchdog::Ask() noexcept {
  ++round_;
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    reactors_.at(id).Post([&answered = answered_[id], round = round_] {
      answered.store(round, std::memory_order_relaxed);
    });
  }
  reactors_.at(0).Arm(timer_, reactors_.at(0).now_ns() + round_ns_);
}

// Who has not answered yet is not asked again: its posts would pile up while it is stuck.
void Watchdog::EndRound() noexcept {
  if (AllAnswered()) {
    alive_();
    return Ask();
  }
  reactors_.at(0).Arm(timer_, reactors_.at(0).now_ns() + round_ns_);
}

bool Watchdog::AllAnswered() const noexcept {
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    if (answered_[id].load(std::memory_order_relaxed) != round_) return false;
  }
  return true;
}

}  // namespace sluice
