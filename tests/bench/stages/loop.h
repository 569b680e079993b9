// SPDX-License-Identifier: Apache-2.0
// Reactors turned by hand, for benchmarks: work is run inside a turn, and the poller costs nothing.
// One thread.
#pragma once

#include <memory>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/poller.h"
#include "core/reactor.h"

namespace sluice::bench {

class Loop {
 public:
  static constexpr uint32_t kCredits = 4096;  // bio cells

  explicit Loop(Clock& clock, uint16_t reactors = 1)
      : set_(Pollers(reactors), clock, ReactorOptions{kCredits, size_t{64} << 20, 0}) {
    op_.context = this;
    op_.done = [](RingOp& op) noexcept {
      auto& loop = *static_cast<Loop*>(op.context);
      loop.run_(loop.work_);
    };
    set_.at(0).Turn();
  }

  ReactorSet& set() { return set_; }
  Reactor& reactor(uint16_t id = 0) { return set_.at(id); }
  ManualPoller& poller() { return static_cast<ManualPoller&>(reactor().poller()); }

  // The next Turn() of reactor 0 begins with `work`, which stays until then.
  template <typename F>
  void Arm(F& work) {
    work_ = &work;
    run_ = [](void* of) noexcept { (*static_cast<F*>(of))(); };
    poller().Complete(op_, 0);
    Turn();
  }
  void Turn() { reactor().Turn(); }
  // Runs `work` in a turn of its own.
  template <typename F>
  void On(F&& work) {
    Arm(work);
    Turn();
  }

 private:
  static std::vector<std::unique_ptr<Poller>> Pollers(uint16_t count) {
    std::vector<std::unique_ptr<Poller>> pollers;
    for (uint16_t i = 0; i < count; ++i) pollers.push_back(std::make_unique<ManualPoller>());
    return pollers;
  }

  ReactorSet set_;
  RingOp op_;
  void* work_ = nullptr;
  void (*run_)(void* work) noexcept = nullptr;
};

}  // namespace sluice::bench
