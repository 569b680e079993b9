// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/io_thread.h"

#include <ctime>
#include <semaphore>
#include <utility>

#include "core/check.h"
#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

class CalledMessage final : public IoThread::Message {
 public:
  explicit CalledMessage(IoThread::Message& inner) : inner_(inner) {}
  void Run() override {
    inner_.Run();
    done_.release();
  }
  void Wait() { done_.acquire(); }

 private:
  IoThread::Message& inner_;
  std::binary_semaphore done_{0};
};

}  // namespace

uint64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}

void IoThread::Post(Message& message) {
  message.next_ = nullptr;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = first_ == nullptr;
    (first ? first_ : last_->next_) = &message;
    last_ = &message;
  }
  if (first && !OnThread()) Wake();
}

void IoThread::Call(Message& message) {
  SLUICE_CHECK(!OnThread());
  CalledMessage called(message);
  Post(called);
  called.Wait();
}

void IoThread::RunPosted() {
  Message* at = nullptr;
  {
    const std::lock_guard lock(mutex_);
    at = std::exchange(first_, nullptr);
    last_ = nullptr;
  }
  while (at != nullptr) std::exchange(at, at->next_)->Run();
}

bool IoThread::posted() const {
  const std::lock_guard lock(mutex_);
  return first_ != nullptr;
}

}  // namespace internal
SLUICE_SDK_END
