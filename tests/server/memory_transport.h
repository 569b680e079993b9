// SPDX-License-Identifier: Apache-2.0
// A connection without a socket: the test holds the peer's end of the wire. For reactors on manual
// pollers, all on the test's thread.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "core/poller.h"
#include "core/reactor.h"
#include "server/nbd/transport.h"

namespace sluice {

class MemoryTransport;

// The peer's end. Either end may go first.
class Wire {
 public:
  void Write(const std::string& bytes);
  void Close();  // the peer shuts its side down

  std::string Take() { return std::exchange(received_, ""); }
  const std::string& received() const { return received_; }
  bool at_end() const { return ended_; }  // the server has sent its end of the stream
  bool gone() const { return server_ == nullptr; }
  void SetWindow(size_t bytes);  // most unread bytes that the server can send

 private:
  friend class MemoryTransport;
  MemoryTransport* server_ = nullptr;
  std::string unread_;    // by the server
  std::string received_;  // from it
  size_t window_ = 1 << 30;
  bool closed_ = false;
  bool ended_ = false;
};

class MemoryTransport final : public Transport {
 public:
  explicit MemoryTransport(std::shared_ptr<Wire> wire) : wire_(std::move(wire)) {
    wire_->server_ = this;
    receive_.owner = writable_.owner = this;
    receive_.done = [](RingOp& op) noexcept {
      auto& step = static_cast<Step&>(op);
      step.busy = step.queued = false;
      step.owner->user_->OnReceived(step.result);
    };
    writable_.done = [](RingOp& op) noexcept {
      auto& step = static_cast<Step&>(op);
      step.busy = step.queued = false;
      step.owner->user_->OnWritable();
    };
  }
  ~MemoryTransport() override {
    SLUICE_CHECK(idle());
    wire_->server_ = nullptr;
    wire_->ended_ = true;
  }

  void Attach(Reactor& reactor, User& user) noexcept override {
    SLUICE_CHECK(idle());
    poller_ = static_cast<ManualPoller*>(&reactor.poller());
    user_ = &user;
  }
  void Receive(const iovec* to, size_t count) noexcept override {
    SLUICE_CHECK(!receive_.busy);
    receive_.busy = true;
    to_ = to;
    to_count_ = count;
    Deliver();
  }
  void CancelReceive() noexcept override {
    if (receive_.busy && !receive_.queued) Queue(receive_, -ECANCELED);
  }
  int Send(const iovec* from, size_t count) noexcept override {
    if (aborted_) return -EPIPE;
    size_t sent = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t room = wire_->window_ - std::min(wire_->window_, wire_->received_.size());
      const size_t part = std::min(room, from[i].iov_len);
      wire_->received_.append(static_cast<const char*>(from[i].iov_base), part);
      sent += part;
    }
    return sent == 0 ? -EAGAIN : static_cast<int>(sent);
  }
  void AwaitWritable() noexcept override {
    if (writable_.busy) return;
    writable_.busy = true;
    Deliver();
  }
  bool receiving() const noexcept override { return receive_.busy; }
  bool idle() const noexcept override { return !receive_.busy && !writable_.busy; }
  void ShutdownWrite() noexcept override { wire_->ended_ = true; }
  void Abort() noexcept override {
    aborted_ = true;
    wire_->ended_ = true;
    Deliver();
  }
  bool PeerClosed() const noexcept override { return wire_->closed_; }

  // Ends whatever can end now.
  void Deliver() noexcept {
    if (receive_.busy && !receive_.queued) {
      if (aborted_) {
        Queue(receive_, 0);
      } else if (!wire_->unread_.empty()) {
        Queue(receive_, static_cast<int>(Copy()));
      } else if (wire_->closed_) {
        Queue(receive_, 0);
      }
    }
    const bool room = wire_->received_.size() < wire_->window_;
    if (writable_.busy && !writable_.queued && (aborted_ || room)) Queue(writable_, 0);
  }

 private:
  struct Step : RingOp {
    MemoryTransport* owner = nullptr;
    bool busy = false;
    bool queued = false;
  };
  void Queue(Step& step, int result) {
    step.queued = true;
    poller_->Complete(step, result);
  }
  size_t Copy() {
    size_t copied = 0;
    for (size_t i = 0; i < to_count_; ++i) {
      const size_t part = std::min(to_[i].iov_len, wire_->unread_.size() - copied);
      std::memcpy(to_[i].iov_base, wire_->unread_.data() + copied, part);
      copied += part;
    }
    wire_->unread_.erase(0, copied);
    return copied;
  }

  std::shared_ptr<Wire> wire_;
  ManualPoller* poller_ = nullptr;
  User* user_ = nullptr;
  Step receive_;
  Step writable_;
  const iovec* to_ = nullptr;
  size_t to_count_ = 0;
  bool aborted_ = false;
};

inline void Wire::Write(const std::string& bytes) {
  unread_ += bytes;
  if (server_ != nullptr) server_->Deliver();
}
inline void Wire::Close() {
  closed_ = true;
  if (server_ != nullptr) server_->Deliver();
}
inline void Wire::SetWindow(size_t bytes) {
  window_ = bytes;
  if (server_ != nullptr) server_->Deliver();
}

}  // namespace sluice
