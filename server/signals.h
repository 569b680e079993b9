// SPDX-License-Identifier: Apache-2.0
// Signals as events of a reactor, by signalfd(2).
#pragma once

#include <sys/signalfd.h>

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "core/poller.h"
#include "core/reactor.h"

namespace sluice {

// Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 in this thread and those it starts from now on, and
// ignores SIGPIPE. In main, before any other thread.
void BlockSignals();

class Signals {
 public:
  // REQUIRES: BlockSignals(). Fails when descriptors are short.
  static absl::StatusOr<std::unique_ptr<Signals>> Create();
  ~Signals();  // REQUIRES: never started, or stopped
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Calls `deliver` with each signal's number from now on. The reactor runs on a RingPoller; its
  // thread, as Stop().
  void Start(Reactor& reactor, absl::AnyInvocable<void(int signal)> deliver) noexcept;
  void Stop(absl::AnyInvocable<void()> stopped) noexcept;

 private:
  explicit Signals(int fd);
  void Await() noexcept;
  void Readable() noexcept;

  struct PollOp : RingOp {
    Signals* owner = nullptr;
  };
  int fd_;
  Reactor* reactor_ = nullptr;
  PollOp poll_;
  bool polling_ = false;
  absl::AnyInvocable<void(int)> deliver_;
  absl::AnyInvocable<void()> stopped_;
};

}  // namespace sluice
