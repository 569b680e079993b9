// SPDX-License-Identifier: Apache-2.0
// For benchmarks that go through several phases of a batch and time one of them.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>

namespace sluice::bench {

// Counts the time spent inside Do() of the chosen phase as that of the iteration.
class PhaseTimer {
 public:
  PhaseTimer(benchmark::State& state, int chosen) : state_(state), chosen_(chosen) {}

  template <typename F>
  void Do(int phase, F&& work) {
    if (phase != chosen_) return work();
    const auto begin = std::chrono::steady_clock::now();
    work();
    spent_ += std::chrono::steady_clock::now() - begin;
  }
  void EndIteration() {
    state_.SetIterationTime(std::chrono::duration<double>(spent_).count());
    spent_ = {};
  }

 private:
  benchmark::State& state_;
  const int chosen_;
  std::chrono::steady_clock::duration spent_{};
};

}  // namespace sluice::bench
