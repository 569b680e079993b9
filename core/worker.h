// SPDX-License-Identifier: Apache-2.0
// One thread for calls that block (open, lseek, BLKDISCARD, fsync of directories): never made on a
// reactor.
#pragma once

#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace sluice {

class Worker {
 public:
  Worker();
  ~Worker();  // runs what is queued, then joins

  // Runs `job` on the worker's thread, in order. Any thread. A job reports back by Reactor::Post().
  void Run(absl::AnyInvocable<void()> job);

 private:
  void Loop();

  absl::Mutex mutex_;
  std::deque<absl::AnyInvocable<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace sluice
