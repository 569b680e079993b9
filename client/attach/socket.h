// SPDX-License-Identifier: Apache-2.0
// A connected socket of ours that the kernel's nbd driver uses too.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <utility>

namespace sluice::attach {

// Owns the descriptor. Movable. The driver holds a reference of its own, so that closing ours ends
// nothing; when the driver gives a connection up it shuts it down, which we see here.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }

  int fd() const { return fd_; }

  // What poll(2) is to wake for: the peer's end or a reset. Data is the driver's, not ours.
  static constexpr short kEvents = POLLRDHUP;

  // The peer has closed it, or the driver has.
  bool Dead() const {
    pollfd look{.fd = fd_, .events = kEvents, .revents = 0};
    return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  }

 private:
  int fd_ = -1;
};

}  // namespace sluice::attach
