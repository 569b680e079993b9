// SPDX-License-Identifier: Apache-2.0
// Threads for calls that block: these are never made on a completion queue's thread, which serves
// the data door, nor on a reactor. What finds no room is refused. Any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace sluice::rpc {

class Desk {
 public:
  Desk(uint32_t threads, size_t waiting_max);
  ~Desk();  // what waits is carried out
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;

  // False: as many wait as may, and `job` is not carried out.
  [[nodiscard]] bool Run(absl::AnyInvocable<void()> job);

 private:
  void Loop();

  const size_t waiting_max_;
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<absl::AnyInvocable<void()>> waiting_;
  bool stop_ = false;
  std::vector<std::thread> threads_;  // but this one
};

}  // namespace sluice::rpc
