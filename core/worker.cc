// SPDX-License-Identifier: Apache-2.0
#include "core/worker.h"

#include <utility>

namespace sluice {

Worker::Worker() : thread_([this] { Loop(); }) {}

Worker::~Worker() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

void Worker::Run(absl::AnyInvocable<void()> job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
}

void Worker::Loop() {
  for (;;) {
    absl::AnyInvocable<void()> job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](Worker* worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(worker->mutex_) {
            return worker->stop_ || !worker->jobs_.empty();
          },
          this));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace sluice
