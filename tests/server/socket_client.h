// SPDX-License-Identifier: Apache-2.0
// A blocking client on one end of a socket pair, for doors with real threads.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/nbd_handshake.h"
#include "proto/nbd_transmission.h"

namespace sluice::nbd {

class SocketClient {
 public:
  explicit SocketClient(int fd) : fd_(fd) {
    const timeval limit{10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  }
  SocketClient(SocketClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  SocketClient& operator=(SocketClient&& other) noexcept {
    std::swap(fd_, other.fd_);
    cookie_ = other.cookie_;
    return *this;
  }
  ~SocketClient() {
    if (fd_ >= 0) close(fd_);
  }

  bool Open(std::string_view name) {
    std::vector<uint8_t> query(6 + name.size());
    EncodeExportQuery(name, {}, query);
    if (!Read(kGreetingBytes) || !Say(EncodeClientFlags(kFixedNewstyle | kNoZeroes)) ||
        !Say(EncodeOptionHeader({Option::kGo, static_cast<uint32_t>(query.size())})) ||
        !Say(query)) {
      return false;
    }
    while (Read(kOptionReplyHeaderBytes)) {
      const auto reply = DecodeOptionReplyHeader(bytes_);
      if (!reply || IsError(reply->type)) return false;
      if (reply->type == OptionReply::kAck) return true;
      if (!Read(reply->length)) return false;
    }
    return false;
  }
  // Sends a request and waits for nothing. Writes carry `payload`, or zeroes.
  bool Send(Command command, uint64_t offset, uint32_t length, ConstByteSpan payload = {}) {
    std::array<uint8_t, kRequestBytes> request;
    EncodeRequest({0, command, ++cookie_, offset, length}, request);
    if (!Say(request)) return false;
    if (command != Command::kWrite) return true;
    return payload.empty() ? Say(std::vector<uint8_t>(length)) : Say(payload);
  }
  // The error of the answer; nothing if there was none.
  std::optional<Error> Ask(Command command, uint64_t offset, uint32_t length,
                           ConstByteSpan payload = {}) {
    if (!Send(command, offset, length, payload) || !Read(kSimpleReplyBytes)) return {};
    const auto reply = DecodeSimpleReply(bytes_);
    if (!reply || reply->cookie != cookie_) return {};
    const Error error = reply->error;
    if (command == Command::kRead && error == Error::kNone && !Read(length)) return {};
    return error;
  }
  std::optional<Error> Ask(Command command, uint32_t length) { return Ask(command, 0, length); }
  // What the last successful read gave.
  ConstByteSpan data() const { return bytes_; }
  bool AtEnd() {
    uint8_t byte = 0;
    return recv(fd_, &byte, 1, 0) == 0;
  }

 private:
  // Until all is moved: a ring of this thread that ends interrupts its system calls.
  template <typename Move>
  static bool MoveAll(size_t count, Move&& move) {
    for (size_t done = 0; done < count;) {
      const ssize_t moved = move(done, count - done);
      if (moved == 0 || (moved < 0 && errno != EINTR)) return false;
      if (moved > 0) done += static_cast<size_t>(moved);
    }
    return true;
  }
  bool Say(ConstByteSpan bytes) {
    return MoveAll(bytes.size(), [&](size_t at, size_t left) {
      return send(fd_, bytes.data() + at, left, MSG_NOSIGNAL);
    });
  }
  bool Read(size_t count) {
    bytes_.resize(count);
    return MoveAll(count, [&](size_t at, size_t left) {
      return recv(fd_, bytes_.data() + at, left, MSG_WAITALL);
    });
  }

  int fd_;
  uint64_t cookie_ = 0;
  std::vector<uint8_t> bytes_;
};

}  // namespace sluice::nbd
