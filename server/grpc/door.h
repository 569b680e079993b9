// SPDX-License-Identifier: Apache-2.0
// The gRPC door of the process: BlockService, health and reflection behind an accept loop of our
// own. Debian's gRPC 1.51 stops listening for ever after one EMFILE and does not count its
// connections; so connections are accepted by a Listener, behind a turnstile, and handed over by
// their descriptors. Every limit that gRPC has is set.
//
// Who comes over TCP passes the relay first, if there is TLS (relay.h). Any other connection is
// watched through a duplicate of its descriptor: it counts until both ends are done with it.
//
// Lives on one reactor, which runs on a RingPoller; its calls are made there unless said otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "core/reactor.h"
#include "server/export_table.h"
#include "server/grpc/epochs.h"
#include "server/grpc/management.h"
#include "server/grpc/registry.h"
#include "server/grpc/relay.h"
#include "server/socket.h"
#include "server/stats_snapshot.h"
#include "server/turnstile.h"

namespace sluice::rpc {

struct DoorOptions {
  uint32_t connections = 100;
  uint32_t threads = 1;  // of gRPC, each with a completion queue
  uint64_t lease_ns = 0;
  uint64_t poll_budget_ns = 0;  // longest look of such a thread for work before it sleeps
  struct Tls {
    RelayOptions relay;  // the door knows frame_max
    std::shared_ptr<const TlsContext> context;
  };
  std::optional<Tls> tls;  // of whoever comes over TCP
};

class Door {
 public:
  // Any thread. `room` is called, on any thread, when the turnstile has room again. What is
  // referred to outlives the door; the directory's entries are Exports.
  Door(ReactorSet& reactors, Reactor& here, const ExportDirectory& exports, Epochs& epochs,
       const DoorOptions& options, Registry::SettleNbd settle_nbd, absl::AnyInvocable<void()> room);
  ~Door();  // REQUIRES: never started, or drained
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // Starts gRPC and its threads. Any thread, once, before Enter().
  absl::Status Start(Management management);

  // Of TCP, and of unix sockets: strangers who shake hands keep nobody out who comes from here.
  Turnstile& connections();
  Turnstile& local_connections();
  // What this door says of itself, but for its listeners. Any thread.
  DoorSnapshot Snapshot() const;
  Registry& registry();

  // A new connection; `fd` is the door's from now on.
  void Enter(int fd, const Peer& peer, Turnstile::Ticket ticket);

  // Reads the certificates anew. Any thread, after Start().
  void ReloadTls();

  // What has come of connections over TLS, in the log. Any thread.
  void LogStats() const;

  // What is in flight is finished and answered, what comes new is refused with UNAVAILABLE, streams
  // and connections end. `done` is called when all are gone. Once, after Start().
  void Drain(absl::AnyInvocable<void()> done);

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace sluice::rpc
