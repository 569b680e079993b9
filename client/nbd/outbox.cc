// SPDX-License-Identifier: Apache-2.0
#include "client/nbd/outbox.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "client/nbd_connection.h"

namespace sluice {

void Outbox::Push(const nbd::Request& request, ConstByteSpan payload) {
  uint8_t* const header = headers_.data() + header_bytes_;
  nbd::EncodeRequest(request, std::span<uint8_t, nbd::kRequestBytes>(header, nbd::kRequestBytes));
  header_bytes_ += nbd::kRequestBytes;
  pushed_bytes_ += nbd::kRequestBytes + payload.size();
  const bool joins =
      !empty() &&
      static_cast<uint8_t*>(parts_[last_ - 1].iov_base) + parts_[last_ - 1].iov_len == header;
  if (joins) {
    parts_[last_ - 1].iov_len += nbd::kRequestBytes;
  } else {
    parts_[last_++] = {header, nbd::kRequestBytes};
  }
  if (!payload.empty()) {
    parts_[last_++] = {const_cast<uint8_t*>(payload.data()), payload.size()};
  }
}

absl::Status Outbox::Send(int fd) {
  while (!empty()) {
    msghdr message{};
    message.msg_iov = parts_.data() + first_;
    message.msg_iovlen = std::min<size_t>(last_ - first_, IOV_MAX);
    const ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::OkStatus();
      return ConnectionLost(errno);
    }
    sent_bytes_ += static_cast<uint64_t>(sent);
    Drop(static_cast<size_t>(sent));
  }
  header_bytes_ = first_ = last_ = 0;
  return absl::OkStatus();
}

void Outbox::Drop(size_t bytes) {
  while (bytes > 0 && bytes >= parts_[first_].iov_len) bytes -= parts_[first_++].iov_len;
  if (bytes == 0) return;
  iovec& part = parts_[first_];
  part.iov_base = static_cast<uint8_t*>(part.iov_base) + bytes;
  part.iov_len -= bytes;
}

}  // namespace sluice
