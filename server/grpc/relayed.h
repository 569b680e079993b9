// SPDX-License-Identifier: Apache-2.0
// One connection of the relay (relay.h): the TLS stream to the peer on one side, a socket to gRPC
// on the other, a buffer for each direction between them, and the meter that sees what passes. A
// side that does not take its bytes is not read for: memory is two buffers, whatever the peers do.
//
// The relay's thread. Both sockets do not block and are watched edge-triggered: TellOuter() and
// TellInner() are called for every edge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "server/grpc/callers.h"
#include "server/grpc/guest_book.h"
#include "server/grpc/meter.h"
#include "server/tls.h"

namespace sluice::rpc {

// A descriptor that is closed with its owner.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

class Relayed {
 public:
  enum class State : uint8_t {
    kShaking,  // hands; nothing is known of the peer
    kKnown,    // just shaken: Open() or death
    kOpen,
    kOver,  // see why()
  };

  Relayed(OwnedFd outer, std::shared_ptr<const TlsContext> tls, uint32_t frame_max);

  State state() const { return state_; }
  const std::string& peer_name() const { return tls_.peer_name(); }
  // Why it is over, for the log; empty: in order.
  const std::string& why() const { return why_; }
  Offence offence() const { return offence_; }
  int outer() const { return outer_.get(); }
  int inner() const { return inner_.get(); }

  // From now on bytes pass. REQUIRES: kKnown. `holder` outlives this.
  void Open(OwnedFd inner, GuestBook::Holder& holder);

  void TellOuter(bool readable, bool writable);
  void TellInner(bool readable, bool writable);

  // Goes on as far as it can, or as long as is fair: true if there may be more to do at once.
  bool Run(uint64_t now_ns);
  // The peer is not read before then, for it has sent too much; 0: it is.
  uint64_t paused_until_ns() const { return paused_until_ns_; }

 private:
  static constexpr size_t kBuffer = 64 * 1024;
  static constexpr size_t kFairBytes = 256 * 1024;
  static constexpr size_t kStepBytes = 4 * 1024;  // what a step counts for at least
  struct Flow {
    std::unique_ptr<std::byte[]> data;
    size_t begin = 0, end = 0;
    bool ended = false;  // nothing more comes from its source
    bool empty() const { return begin == end; }
    std::span<const std::byte> bytes() const { return {data.get() + begin, end - begin}; }
  };

  void Shake();
  size_t ReadOuter(uint64_t now_ns);
  size_t WriteInner();
  size_t ReadInner(uint64_t now_ns);
  size_t WriteOuter();
  void Offend(Offence offence);
  void Finish(std::string why);

  OwnedFd outer_;
  TlsStream tls_;
  OwnedFd inner_;
  State state_ = State::kShaking;
  std::string why_;
  Offence offence_ = Offence::kNone;

  Flow up_, down_;  // to gRPC, and from it
  // What the TLS stream waits for before it can go on in that direction.
  TlsStream::Step read_wants_ = TlsStream::Step::kDone;
  TlsStream::Step write_wants_ = TlsStream::Step::kDone;
  bool inner_readable_ = true;
  bool inner_writable_ = true;
  bool inner_shut_ = false;

  Http2Meter meter_;
  GuestBook::Holder* holder_ = nullptr;
  uint64_t paused_until_ns_ = 0;
};

}  // namespace sluice::rpc
