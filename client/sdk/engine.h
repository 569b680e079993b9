// SPDX-License-Identifier: Apache-2.0
// The I/O thread of a client: an epoll loop with an inbox. One turn: run what was posted, let
// handlers send what that gave, wait for sockets. So what many threads post meanwhile leaves in one
// send.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "sluice/buffer.h"
#include "sluice/export.h"
#include "sluice/status.h"

SLUICE_SDK_BEGIN
namespace internal {

// Of CLOCK_MONOTONIC.
uint64_t MonotonicNs();

class Engine {
 public:
  // Delivered once; then it may delete itself.
  class Message {
   public:
    virtual ~Message() = default;
    virtual void Run() = 0;

   private:
    friend class Engine;
    Message* next_ = nullptr;
  };

  class Handler {
   public:
    virtual void OnReady(uint32_t epoll_events) = 0;
    // Before the loop sleeps, after Soon().
    virtual void OnTurnEnd() = 0;
    // At least four times a second while busy().
    virtual void OnTick(uint64_t now_ns) = 0;
    virtual bool busy() const = 0;

   protected:
    ~Handler() = default;
  };

  static Result<std::shared_ptr<Engine>> Start();
  // Ends the thread. Not on the thread itself.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Any thread. Messages of one thread are run in their order.
  void Post(Message& message);
  bool OnThread() const { return std::this_thread::get_id() == thread_.get_id(); }
  // Posts and waits until it has run. Not on the thread itself.
  void Call(Message& message);

  BufferPool& buffers() { return buffers_; }

  // The rest on the thread alone.

  // Level-triggered; again for other events. The handler stays until Unwatch().
  void Watch(int fd, uint32_t events, Handler& handler, bool again);
  void Unwatch(int fd, Handler& handler);
  void Soon(Handler& handler) { soon_.push_back(&handler); }

 private:
  Engine(int epoll, int wake) : epoll_(epoll), wake_(wake) {}

  void Loop();
  void RunInbox();
  void RunTurnEnds();
  void Dispatch(int count);
  int SleepMs();

  const int epoll_;
  const int wake_;
  BufferPool buffers_;
  std::mutex mutex_;
  Message* first_ = nullptr;  // guarded by mutex_, like last_
  Message* last_ = nullptr;
  std::atomic<bool> stop_ = false;

  std::vector<Handler*> handlers_;
  std::vector<Handler*> soon_;
  std::array<epoll_event, 64> events_;
  int events_left_ = 0;
  uint64_t ticked_ns_ = 0;
  std::thread thread_;
};

}  // namespace internal
SLUICE_SDK_END
