// SPDX-License-Identifier: Apache-2.0
// Whether the reactors turn. Each is asked now and then, by a post, which a healthy one answers in
// its next turn; nobody waits for the answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/reactor.h"

namespace sluice::http {

class Pulse {
 public:
  // The reactors outlive it, and their clock.
  Pulse(ReactorSet& reactors, Clock& clock, uint64_t stuck_ns);

  // Which reactor has owed an answer for longer than stuck_ns; empty: none. Asks those that owe
  // none. One thread at a time.
  std::string Check();

 private:
  using Beat = std::shared_ptr<std::atomic<uint64_t>>;  // when it was asked; 0: it has answered

  ReactorSet& reactors_;
  Clock& clock_;
  const uint64_t stuck_ns_;
  std::vector<Beat> beats_;  // by reactor
};

}  // namespace sluice::http
