// SPDX-License-Identifier: Apache-2.0
// Who is at the TLS door and how they have behaved: connections and their rate by host, for those
// who are not known yet; pace and offences by certificate. Bounded. One thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "server/grpc/meter.h"
#include "server/token_bucket.h"

namespace sluice::rpc {

class GuestBook {
 public:
  // Handshakes of a host: one costs about a millisecond of CPU. More wait for their turn.
  static constexpr TokenBucket::Rate kHandshakes{100, 50};
  // Of all connections of a certificate, at full speed. Who sends more is read later, not closed.
  static constexpr TokenBucket::Rate kStreams{10'000, 10'000};
  static constexpr TokenBucket::Rate kFrames{400'000, 400'000};
  static constexpr TokenBucket::Rate kResets{1024, 2048};  // the burst above a connection's
  // A certificate is kept out this long after an offence, doubled with each further one; offences
  // are forgotten when there was none for so long.
  static constexpr uint64_t kFirstOutNs = 1 * kSecond;
  static constexpr uint64_t kLongestOutNs = 300 * kSecond;
  static constexpr uint64_t kForgottenNs = 900 * kSecond;

  explicit GuestBook(uint32_t connections_per_host) : per_host_(connections_per_host) {}

  // A host's address: all of IPv4, the first 64 bits of IPv6, where one host has the rest.
  static std::string HostOf(const sockaddr_storage& address);

  // A connection of that host has come: when its handshake may begin, or nothing if it is one too
  // many. If it may stay, LeaveHost() once; `unused` if it left before its handshake.
  std::optional<uint64_t> EnterHost(const std::string& host, uint64_t now_ns);
  void LeaveHost(const std::string& host, bool unused);

  class Holder {
   public:
    // When more may be read of it.
    uint64_t Pass(const Http2Meter::Passed& passed, uint64_t now_ns);

   private:
    friend class GuestBook;
    TokenBucket streams_{kStreams};
    TokenBucket frames_{kFrames};
    TokenBucket resets_{kResets};
    uint32_t connections_ = 0;
    uint32_t offences_ = 0;
    uint64_t last_offence_ns_ = 0;
    uint64_t out_until_ns_ = 0;
  };
  // A certificate of that name is shown; null while it is kept out. LeaveHolder() once.
  Holder* EnterHolder(const std::string& name, uint64_t now_ns);
  void LeaveHolder(Holder& holder) { --holder.connections_; }
  // How long it is kept out for this offence, ns.
  uint64_t Offend(Holder& holder, uint64_t now_ns);

 private:
  static constexpr size_t kRemembered = 4096;  // hosts, and certificates, besides those inside

  struct Host {
    uint32_t connections = 0;
    TokenBucket handshakes{kHandshakes};
  };

  const uint32_t per_host_;
  std::map<std::string, Host> hosts_;
  // Offenders are remembered the longest.
  void ForgetHolders(uint64_t now_ns);
  std::map<std::string, Holder> holders_;
};

}  // namespace sluice::rpc
