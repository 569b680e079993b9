// SPDX-License-Identifier: Apache-2.0
// One thread for calls that block (open, lseek, BLKDISCARD, fsync of directories): never made on a
// reactor.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "absl/functional/any_invocable.h"

namespace sluice {

class Worker {
 public:
  Worker();
  ~Worker();  // runs what is queued, then joins

  // Runs `job` on the worker's thread, in order. Any thread. A job reports back by Reactor::Post().
  void Run(absl::AnyInvocable<void()> job);

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<absl::AnyInvocable<void()>> jobs_;  // guarded by mutex_
  bool stop_ = false;                            // guarded by mutex_
  std::thread thread_;
};

}  // namespace sluice
