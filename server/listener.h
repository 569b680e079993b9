// SPDX-License-Identifier: Apache-2.0
// Accepts connections on one socket, on one reactor. It survives a lack of descriptors or memory
// (back-off of 100 ms) and, while the turnstile is full, leaves further connections to the kernel's
// backlog.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "core/poller.h"
#include "core/reactor.h"
#include "core/stats.h"
#include "server/socket.h"
#include "server/turnstile.h"

namespace sluice {

// Written by the listeners' reactor, read by any thread; the listeners of one door share it.
struct ListenerStats {
  Counter accepted;
  Counter errors;   // of accept(2): no descriptor, no memory
  Counter delayed;  // accepted, and kept waiting by a full turnstile
};

class Listener {
 public:
  // Takes the connected descriptor and its right to be in a handshake.
  using Enter = absl::AnyInvocable<void(int fd, Turnstile::Ticket ticket)>;

  // The reactor runs on a RingPoller; `stats` outlives the listener. Any thread.
  Listener(Reactor& reactor, std::unique_ptr<ListeningSocket> socket, Turnstile& turnstile,
           ListenerStats& stats, Enter enter);
  ~Listener();  // REQUIRES: never started, or stopped
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  const Address& address() const { return socket_->address(); }

  // Removes a unix socket's file now: for a process that ends without more ado. Any thread.
  void RemoveFile() { socket_->RemoveFile(); }

  // --- the reactor's thread ---
  void Start() noexcept;
  // There may be room again behind the turnstile.
  void Resume() noexcept;
  // Ends accepting; the address is free again when `stopped` is called.
  void Stop(absl::AnyInvocable<void()> stopped) noexcept;

 private:
  struct AcceptOp : RingOp {
    Listener* owner = nullptr;
  };
  struct BackOff : Timer {
    Listener* owner = nullptr;
  };

  void Accept() noexcept;
  void Accepted(int result) noexcept;
  void LetIn() noexcept;
  void Finish() noexcept;

  Reactor& reactor_;
  std::unique_ptr<ListeningSocket> socket_;
  Turnstile& turnstile_;
  ListenerStats& stats_;
  Enter enter_;
  AcceptOp accept_;
  BackOff back_off_;
  bool accepting_ = false;
  bool stopping_ = false;
  int waiting_fd_ = -1;  // accepted, but the turnstile is full
  uint64_t warned_ns_ = 0;
  absl::AnyInvocable<void()> stopped_;
};

}  // namespace sluice
