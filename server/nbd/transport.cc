// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/transport.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "core/check.h"
#include "core/reactor.h"

namespace sluice {

PlainTransport::PlainTransport(int fd) : fd_(fd) {
  receive_.owner = this;
  receive_.done = [](RingOp& op) noexcept {
    auto& receive = static_cast<Reception&>(op);
    receive.busy = false;
    receive.owner->user_->OnReceived(receive.result);
  };
  writable_.owner = this;
  writable_.done = [](RingOp& op) noexcept {
    auto& wait = static_cast<Wait&>(op);
    wait.busy = false;
    wait.owner->user_->OnWritable();
  };
}

PlainTransport::~PlainTransport() {
  SLUICE_CHECK(idle());
  close(fd_);
}

void PlainTransport::Attach(Reactor& reactor, User& user) noexcept {
  SLUICE_CHECK(idle());
  ring_ = static_cast<RingPoller*>(&reactor.poller());
  user_ = &user;
}

void PlainTransport::Receive(const iovec* to, size_t count) noexcept {
  SLUICE_CHECK(!receive_.busy);
  receive_.busy = true;
  ring_->Receive(receive_, fd_, to, count);
}

void PlainTransport::CancelReceive() noexcept {
  if (receive_.busy) ring_->CancelReceive(receive_);
}

int PlainTransport::Send(const iovec* from, size_t count) noexcept {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(from);
  message.msg_iovlen = count;
  const ssize_t sent = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 ? -errno : static_cast<int>(sent);
}

void PlainTransport::AwaitWritable() noexcept {
  if (writable_.busy) return;
  writable_.busy = true;
  ring_->PollFd(writable_, fd_, POLLOUT);
}

void PlainTransport::ShutdownWrite() noexcept { shutdown(fd_, SHUT_WR); }

void PlainTransport::Abort() noexcept {
  shutdown(fd_, SHUT_RDWR);
  if (receive_.busy) ring_->CancelReceive(receive_);
  if (writable_.busy) ring_->CancelOp(writable_);
}

bool PlainTransport::PeerClosed() const noexcept {
  pollfd peer{fd_, POLLRDHUP, 0};
  return poll(&peer, 1, 0) == 1 && (peer.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace sluice
