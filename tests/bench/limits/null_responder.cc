// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/limits/null_responder.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "core/units.h"

namespace sluice::bench {
namespace {

constexpr size_t kReceiveBytes = 256 * kKiB;
constexpr size_t kMaxRequests = kReceiveBytes / nbd::kRequestBytes + 1;  // of one receive

// What every READ brings: written once, so that it is memory like any other.
ConstByteSpan ReadData() {
  static const std::vector<uint8_t> kData(kMiB, 0x5a);
  return kData;
}

}  // namespace

NullResponder::NullResponder(int fd)
    : fd_(fd), in_(kReceiveBytes), headers_(kMaxRequests * nbd::kSimpleReplyBytes) {
  parts_.reserve(2 * kMaxRequests);
}

NullResponder::~NullResponder() { close(fd_); }

NullResponder::Turn NullResponder::Serve() {
  if (unsent()) {
    if (!Send()) return Turn::kClosed;
    if (unsent()) return Turn::kNothing;
  }
  const ssize_t got = recv(fd_, in_.data() + kept_, in_.size() - kept_, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Turn::kNothing;
  if (got <= 0 || !Parse(kept_ + static_cast<size_t>(got)) || !Send()) return Turn::kClosed;
  return Turn::kServed;
}

// False at DISC and at what is no request.
bool NullResponder::Parse(size_t count) {
  ConstByteSpan bytes = ConstByteSpan(in_).first(count);
  while (true) {
    if (payload_left_ > 0) {
      const size_t skipped = std::min<uint64_t>(bytes.size(), payload_left_);
      payload_left_ -= skipped;
      bytes = bytes.subspan(skipped);
      if (payload_left_ > 0) break;
      Answer(write_);
    }
    if (bytes.size() < nbd::kRequestBytes) break;
    const auto request = nbd::DecodeRequest(bytes.first(nbd::kRequestBytes));
    if (!request || request->command == nbd::Command::kDisc) return false;
    if (request->length > nbd::kDefaultMaxPayloadBytes) return false;
    bytes = bytes.subspan(nbd::kRequestBytes);
    if (request->command == nbd::Command::kWrite && request->length > 0) {
      write_ = *request;
      payload_left_ = request->length;
    } else {
      Answer(*request);
    }
  }
  kept_ = bytes.size();
  if (kept_ > 0) std::memmove(in_.data(), bytes.data(), kept_);
  return true;
}

void NullResponder::Answer(const nbd::Request& request) {
  uint8_t* const header = headers_.data() + header_bytes_;
  nbd::EncodeSimpleReply({.cookie = request.cookie}, std::span<uint8_t, nbd::kSimpleReplyBytes>(
                                                         header, nbd::kSimpleReplyBytes));
  header_bytes_ += nbd::kSimpleReplyBytes;
  const bool joins =
      !parts_.empty() &&
      static_cast<uint8_t*>(parts_.back().iov_base) + parts_.back().iov_len == header;
  if (joins) {
    parts_.back().iov_len += nbd::kSimpleReplyBytes;
  } else {
    parts_.push_back({header, nbd::kSimpleReplyBytes});
  }
  if (request.command != nbd::Command::kRead) return;
  const ConstByteSpan data = ReadData();
  for (uint64_t left = request.length; left > 0;) {
    const size_t piece = std::min<uint64_t>(left, data.size());
    parts_.push_back({const_cast<uint8_t*>(data.data()), piece});
    left -= piece;
  }
}

bool NullResponder::Send() {
  while (unsent()) {
    msghdr message{};
    message.msg_iov = parts_.data() + first_;
    message.msg_iovlen = std::min<size_t>(parts_.size() - first_, IOV_MAX);
    const ssize_t sent = sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    auto bytes = static_cast<size_t>(sent);
    while (bytes > 0 && bytes >= parts_[first_].iov_len) bytes -= parts_[first_++].iov_len;
    if (bytes == 0) continue;
    parts_[first_].iov_base = static_cast<uint8_t*>(parts_[first_].iov_base) + bytes;
    parts_[first_].iov_len -= bytes;
  }
  parts_.clear();
  first_ = header_bytes_ = 0;
  return true;
}

}  // namespace sluice::bench
