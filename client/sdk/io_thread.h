// SPDX-License-Identifier: Apache-2.0
// The thread on which a volume's operations begin and end and its callbacks run, and what other
// threads post to it.
#pragma once

#include <cstdint>
#include <mutex>
#include <thread>

#include "sluice/export.h"

SLUICE_SDK_BEGIN
namespace internal {

// Of CLOCK_MONOTONIC.
uint64_t MonotonicNs();

class IoThread {
 public:
  // Delivered once; then it may delete itself.
  class Message {
   public:
    virtual ~Message() = default;
    virtual void Run() = 0;

   private:
    friend class IoThread;
    Message* next_ = nullptr;
  };

  IoThread() = default;
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Any thread. Messages of one thread are run in their order.
  void Post(Message& message);
  bool OnThread() const { return std::this_thread::get_id() == thread_.get_id(); }
  // Posts and waits until it has run. Not on the thread itself.
  void Call(Message& message);

 protected:
  ~IoThread() = default;

  // Any thread: something was posted while nothing was.
  virtual void Wake() = 0;

  // The rest on the thread alone.

  // Runs what was posted; what that posts in its turn waits for the next call.
  void RunPosted();
  bool posted() const;

  std::thread thread_;  // set before the first Post() of another thread

 private:
  mutable std::mutex mutex_;
  Message* first_ = nullptr;  // guarded by mutex_, like last_
  Message* last_ = nullptr;
};

}  // namespace internal
SLUICE_SDK_END
