// SPDX-License-Identifier: Apache-2.0
// Moves a connection's bytes: the seam between the protocol's machines and a socket. Plain sockets
// here, memory in tests. A transport belongs to one user on one reactor; it can be handed to
// another reactor while it is idle.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/ring.h"

namespace sluice {

class Reactor;

class Transport {
 public:
  // Told of what ended, from the reactor's loop, never from inside a call below.
  class User {
   public:
    // Bytes taken in (> 0), 0 at the end of the stream, or a negative errno (-ECANCELED: nothing
    // came before CancelReceive()).
    virtual void OnReceived(int result) noexcept = 0;
    // Send() may take more now, or would fail now.
    virtual void OnWritable() noexcept = 0;

   protected:
    ~User() = default;
  };

  virtual ~Transport() = default;  // REQUIRES: idle; closes

  // Binds to the reactor of this thread. REQUIRES: idle.
  virtual void Attach(Reactor& reactor, User& user) noexcept = 0;

  // Starts the one receive; the vector and its memory stay until OnReceived().
  // REQUIRES: none under way; 1 to IOV_MAX entries, not all empty.
  virtual void Receive(const iovec* to, size_t count) noexcept = 0;
  // Ends it early; OnReceived() comes all the same. Nothing if none is under way.
  virtual void CancelReceive() noexcept = 0;

  // Sends what goes now: bytes (> 0), -EAGAIN, or another negative errno. At most IOV_MAX entries.
  virtual int Send(const iovec* from, size_t count) noexcept = 0;
  // One OnWritable() when it is worth trying again. Nothing if that is under way already.
  virtual void AwaitWritable() noexcept = 0;

  virtual bool receiving() const noexcept = 0;
  // No receive and no wait is under way.
  virtual bool idle() const noexcept = 0;

  // After what was sent: the end of the stream.
  virtual void ShutdownWrite() noexcept = 0;
  // Ends both directions at once, waits included: OnReceived() and OnWritable() come soon.
  virtual void Abort() noexcept = 0;
  // True if the peer has closed, shut down or broken its side. Does not block; any time.
  virtual bool PeerClosed() const noexcept = 0;
};

// A connected stream socket.
class PlainTransport final : public Transport {
 public:
  // Takes the descriptor. The reactors it is attached to run on a RingPoller.
  explicit PlainTransport(int fd);
  ~PlainTransport() override;
  PlainTransport(const PlainTransport&) = delete;
  PlainTransport& operator=(const PlainTransport&) = delete;

  void Attach(Reactor& reactor, User& user) noexcept override;
  void Receive(const iovec* to, size_t count) noexcept override;
  void CancelReceive() noexcept override;
  int Send(const iovec* from, size_t count) noexcept override;
  void AwaitWritable() noexcept override;
  bool receiving() const noexcept override { return receive_.busy; }
  bool idle() const noexcept override { return !receive_.busy && !writable_.busy; }
  void ShutdownWrite() noexcept override;
  void Abort() noexcept override;
  bool PeerClosed() const noexcept override;

 private:
  struct Reception : ReceiveOp {
    PlainTransport* owner = nullptr;
    bool busy = false;
  };
  struct Wait : RingOp {
    PlainTransport* owner = nullptr;
    bool busy = false;
  };

  RingPoller* ring_ = nullptr;
  User* user_ = nullptr;
  int fd_;
  Reception receive_;
  Wait writable_;
};

}  // namespace sluice
