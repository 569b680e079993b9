// SPDX-License-Identifier: Apache-2.0
// The TLS door in front of gRPC. A thread of its own shakes hands with every newcomer, and gRPC
// hears of a connection only when a certificate of the configured authority was verified: no HTTP/2
// byte of a stranger is parsed, here or there. From then on the relay carries the decrypted bytes
// to gRPC and back over a socket pair, and the meter (meter.h) counts their frames on the way.
//
// The defence against a certificate holder gone bad: what no gRPC client does closes the connection
// with a GOAWAY and a line in the log, and keeps the certificate out, each time for longer
// (guest_book.h); what honest clients do, but less of, is read at a bounded pace. Connections and
// handshakes are limited by host, and a handshake by time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "core/clock.h"
#include "core/stats.h"
#include "server/grpc/callers.h"
#include "server/socket.h"
#include "server/tls.h"
#include "server/turnstile.h"

namespace sluice::rpc {

struct RelayOptions {
  TlsFiles files;
  std::vector<std::string> admins;  // certificates that may use the control services
  uint32_t connections_per_host = 50;
  uint64_t handshake_timeout_ns = 10 * kSecond;
  uint32_t frame_max = 0;  // as gRPC announces it, bytes
};

// What has come of the connections. Any thread reads.
struct RelayCounts {
  Counter let_in;       // handed to gRPC
  Counter turned_away;  // one too many of its host
  Counter strangers;    // failed handshakes
  Counter offenders;    // closed for what they sent
  Counter kept_out;     // certificates that came back too early
};

class Relay {
 public:
  static constexpr char kProtocol[] = "h2";  // RFC 9113, 3.2
  // `deliver` takes the descriptor of a connection for gRPC; it is called on the relay's thread.
  using Deliver = absl::AnyInvocable<void(int fd)>;

  // Any thread; what is referred to outlives it. `context` was loaded from options.files.
  Relay(Clock& clock, RelayOptions options, std::shared_ptr<const TlsContext> context,
        Callers& callers, Deliver deliver);
  ~Relay();  // REQUIRES: never started, or stopped
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Starts the thread. An error names what the system lacks.
  absl::Status Start();

  // --- any thread, after Start() ---
  // A new connection over TCP; `fd` is the relay's from now on.
  void Enter(int fd, const Peer& peer, Turnstile::Ticket ticket);
  // Reads the certificates anew, though their files may look as before.
  void Reload();
  // Lets nobody in any more; who is in stays until gRPC ends the connection.
  void Drain();
  // Waits, a second at most, until all that gRPC has said is sent; then all is closed and the
  // thread is gone. Once; the others are not called any more.
  void Stop();

  const RelayCounts& counts() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace sluice::rpc
