// SPDX-License-Identifier: Apache-2.0
// The I/O thread of a volume over gRPC: a completion queue, which also runs gRPC's own side of the
// sockets, so that a request and its answer cross no other thread of this process. One turn: run
// what was posted, let the handler send what that gave, wait for the queue.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <cstdint>

#include "client/sdk/io_thread.h"

SLUICE_SDK_BEGIN
namespace internal {

class GrpcLoop final : public IoThread {
 public:
  // What is given to the queue comes back once.
  class Tag {
   public:
    virtual void Proceed(bool ok) = 0;

   protected:
    ~Tag() = default;
  };

  // A call that gives tags. The loop does not end before it.
  class Guest {
   public:
    explicit Guest(GrpcLoop& loop) : loop_(loop) { ++loop_.guests_; }
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

   protected:
    ~Guest() { --loop_.guests_; }
    GrpcLoop& loop_;
  };

  class Handler {
   public:
    // Before the loop sleeps.
    virtual void OnTurnEnd() = 0;
    // When next_tick_ns() is past.
    virtual void OnTick(uint64_t now_ns) = 0;
    virtual uint64_t next_tick_ns() const = 0;  // UINT64_MAX: not at all

   protected:
    ~Handler() = default;
  };

  explicit GrpcLoop(Handler& handler);
  // Waits for its guests to go, then ends the thread. Not on the thread itself.
  ~GrpcLoop();

  ::grpc::CompletionQueue& queue() { return queue_; }

 private:
  void Wake() override;
  void Loop();
  bool Turn();

  Handler& handler_;
  ::grpc::CompletionQueue queue_;
  ::grpc::Alarm alarm_;
  std::atomic<bool> alarm_set_ = false;  // its tag has not come back yet
  uint32_t guests_ = 0;                  // the thread's
  std::atomic<bool> stop_ = false;
};

}  // namespace internal
SLUICE_SDK_END
