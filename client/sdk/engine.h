// SPDX-License-Identifier: Apache-2.0
// The I/O thread of a client's NBD volumes: an epoll loop. One turn: run what was posted, let
// handlers send what that gave, wait for sockets. So what many threads post meanwhile leaves in one
// send.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "client/sdk/io_thread.h"
#include "sluice/buffer.h"
#include "sluice/export.h"
#include "sluice/status.h"

SLUICE_SDK_BEGIN
namespace internal {

class Engine final : public IoThread {
 public:
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

  BufferPool& buffers() { return buffers_; }

  // The rest on the thread alone.

  // Level-triggered; again for other events. The handler stays until Unwatch().
  void Watch(int fd, uint32_t events, Handler& handler, bool again);
  void Unwatch(int fd, Handler& handler);
  void Soon(Handler& handler) { soon_.push_back(&handler); }

 private:
  Engine(int epoll, int wake) : epoll_(epoll), wake_(wake) {}

  void Wake() override;
  void Loop();
  void RunTurnEnds();
  void Dispatch(int count);
  int SleepMs();

  const int epoll_;
  const int wake_;
  BufferPool buffers_;
  std::atomic<bool> stop_ = false;

  std::vector<Handler*> handlers_;
  std::vector<Handler*> soon_;
  std::array<epoll_event, 64> events_;
  int events_left_ = 0;
  uint64_t ticked_ns_ = 0;
};

}  // namespace internal
SLUICE_SDK_END
