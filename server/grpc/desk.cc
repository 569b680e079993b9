// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/desk.h"

#include <utility>

namespace sluice::rpc {

Desk::Desk(uint32_t threads, size_t waiting_max) : waiting_max_(waiting_max) {
  for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

Desk::~Desk() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Desk::Run(absl::AnyInvocable<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= waiting_max_) return false;
    waiting_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

void Desk::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    {
      absl::AnyInvocable<void()> job = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      job();
    }
    lock.lock();
  }
}

}  // namespace sluice::rpc
