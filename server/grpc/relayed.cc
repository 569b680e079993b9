// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/relayed.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/string_view.h"
#include "core/check.h"

namespace sluice::rpc {
namespace {

using Step = TlsStream::Step;

// RFC 9113, 6.8: the last stream is not told, for none of them is gone on with.
std::string GoAway(absl::string_view text) {
  constexpr char kEnhanceYourCalm = 11;
  const auto length = static_cast<char>(8 + text.size());
  std::string frame = {0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, kEnhanceYourCalm};
  return frame.append(text.data(), text.size());
}

}  // namespace

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

Relayed::Relayed(OwnedFd outer, std::shared_ptr<const TlsContext> tls, uint32_t frame_max)
    : outer_(std::move(outer)), tls_(std::move(tls), outer_.get()), meter_(frame_max) {}

void Relayed::Open(OwnedFd inner, GuestBook::Holder& holder) {
  SLUICE_CHECK(state_ == State::kKnown);
  inner_ = std::move(inner);
  holder_ = &holder;
  up_.data = std::make_unique_for_overwrite<std::byte[]>(kBuffer);
  down_.data = std::make_unique_for_overwrite<std::byte[]>(kBuffer);
  state_ = State::kOpen;
}

void Relayed::TellOuter(bool readable, bool writable) {
  for (Step* wants : {&read_wants_, &write_wants_}) {
    if ((*wants == Step::kWantRead && readable) || (*wants == Step::kWantWrite && writable)) {
      *wants = Step::kDone;
    }
  }
}

void Relayed::TellInner(bool readable, bool writable) {
  inner_readable_ |= readable;
  inner_writable_ |= writable;
}

bool Relayed::Run(uint64_t now_ns) {
  if (state_ == State::kShaking) {
    Shake();
    return false;
  }
  if (paused_until_ns_ <= now_ns) paused_until_ns_ = 0;
  size_t passed = 0;
  while (state_ == State::kOpen) {
    if (passed >= kFairBytes) return true;
    size_t moved = ReadOuter(now_ns);
    moved += WriteInner();
    moved += ReadInner(now_ns);
    moved += WriteOuter();
    if (moved == 0) return false;
    // A record of one byte costs as much as one of 4 KiB.
    passed += std::max(moved, kStepBytes);
  }
  return false;
}

void Relayed::Finish(std::string why) {
  state_ = State::kOver;
  why_ = std::move(why);
}

void Relayed::Shake() {
  if (read_wants_ != Step::kDone) return;
  const Step step = tls_.Handshake();
  if (step == Step::kDone) {
    state_ = State::kKnown;
  } else if (step == Step::kFailed || step == Step::kEnd) {
    Finish(tls_.error().empty() ? "closed in the handshake" : tls_.error());
  } else {
    read_wants_ = step;
  }
}

// Each of the four moves what it can and returns how much; an end counts as a byte.
size_t Relayed::ReadOuter(uint64_t now_ns) {
  if (!up_.empty() || up_.ended || paused_until_ns_ != 0 || read_wants_ != Step::kDone) return 0;
  const TlsStream::Moved moved = tls_.Read({up_.data.get(), kBuffer});
  switch (moved.step) {
    case Step::kDone:
      break;
    case Step::kWantRead:
    case Step::kWantWrite:
      read_wants_ = moved.step;
      return 0;
    case Step::kEnd:
      up_.ended = true;
      return 1;
    case Step::kFailed:
      Finish(tls_.error());
      return 0;
  }
  const Offence offence = meter_.FromClient({up_.data.get(), moved.bytes}, now_ns);
  if (offence != Offence::kNone) {
    Offend(offence);
    return 0;
  }
  const uint64_t even_ns = holder_->Pass(meter_.Take(), now_ns);
  if (even_ns > now_ns) paused_until_ns_ = even_ns;
  up_.begin = 0;
  up_.end = moved.bytes;
  return moved.bytes;
}

size_t Relayed::WriteInner() {
  if (state_ != State::kOpen || inner_shut_) return 0;
  if (up_.empty()) {
    if (!up_.ended) return 0;
    shutdown(inner_.get(), SHUT_WR);
    inner_shut_ = true;
    return 1;
  }
  if (!inner_writable_) return 0;
  const auto bytes = up_.bytes();
  const ssize_t sent = send(inner_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno == EINTR) return 1;
    if (errno == EAGAIN) {
      inner_writable_ = false;
      return 0;
    }
    // gRPC has closed it; what it said before is still read.
    up_.begin = up_.end;
    up_.ended = inner_shut_ = true;
    return 1;
  }
  up_.begin += static_cast<size_t>(sent);
  return static_cast<size_t>(sent);
}

size_t Relayed::ReadInner(uint64_t now_ns) {
  if (state_ != State::kOpen || !down_.empty() || down_.ended || !inner_readable_) return 0;
  const ssize_t got = recv(inner_.get(), down_.data.get(), kBuffer, MSG_DONTWAIT);
  if (got < 0 && errno == EINTR) return 1;
  if (got < 0 && errno == EAGAIN) {
    inner_readable_ = false;
    return 0;
  }
  if (got <= 0) {
    down_.ended = true;
    return 1;
  }
  down_.begin = 0;
  down_.end = static_cast<size_t>(got);
  if (const Offence offence = meter_.FromServer(down_.bytes(), now_ns); offence != Offence::kNone) {
    Offend(offence);
    return 0;
  }
  return static_cast<size_t>(got);
}

size_t Relayed::WriteOuter() {
  if (state_ != State::kOpen) return 0;
  if (down_.empty()) {
    if (down_.ended) {
      tls_.Shutdown();
      Finish("");
    }
    return 0;
  }
  if (write_wants_ != Step::kDone) return 0;
  const TlsStream::Moved moved = tls_.Write(down_.bytes());
  if (moved.step == Step::kDone) {
    down_.begin += moved.bytes;
    return moved.bytes;
  }
  if (moved.step == Step::kWantRead || moved.step == Step::kWantWrite) {
    write_wants_ = moved.step;
  } else {
    Finish(tls_.error());
  }
  return 0;
}

// Told why if that is possible without waiting, and closed.
void Relayed::Offend(Offence offence) {
  offence_ = offence;
  if (offence != Offence::kNotHttp2 && down_.empty() && meter_.server_between_frames() &&
      write_wants_ == Step::kDone) {
    const std::string frame = GoAway(TextOf(offence));
    tls_.Write(std::as_bytes(std::span(frame)));
    tls_.Shutdown();
  }
  Finish(TextOf(offence));
}

}  // namespace sluice::rpc
