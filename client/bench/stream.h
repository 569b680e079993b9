// SPDX-License-Identifier: Apache-2.0
// One NBD connection under load: keeps `depth` requests of a workload in flight. All that came in
// one receive is taken apart and measured, all free slots are filled, and what that gives leaves in
// one send. Driven by one thread at a time. No allocation per request.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/bench/load.h"
#include "client/nbd/outbox.h"
#include "client/nbd/reply_reader.h"
#include "client/nbd_connection.h"

namespace sluice::bench {

class Stream final : private ReplySink {
 public:
  // As Load's.
  Stream(NbdConnection connection, const Options& options, const Region& region,
         Coverage* coverage);

  Load& load() { return load_; }

  // Fills the free slots and sends without waiting. Not after `deadline_ns`.
  absl::Status Pump(uint64_t deadline_ns);
  // Takes what has come; with `wait` sleeps for it as long as the socket's receive timeout says.
  // False when nothing came. Unavailable: the connection is lost; DataLoss: the server is broken.
  absl::StatusOr<bool> Receive(bool wait);

  int fd() const { return connection_.fd(); }
  bool unsent() const { return !outbox_.empty(); }
  bool finished() const { return load_.finished(); }
  NbdConnection& connection() { return connection_; }

 private:
  void OnData(Request& request, uint64_t offset, ConstByteSpan bytes) override;
  void OnHole(Request& request, uint64_t offset, uint32_t length) override;
  void OnDone(Request& request) override;

  NbdConnection connection_;
  Load load_;
  Outbox outbox_;
  ReplyReader reader_;
  uint64_t received_ns_ = 0;
};

}  // namespace sluice::bench
