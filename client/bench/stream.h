// SPDX-License-Identifier: Apache-2.0
// One connection under load: keeps `depth` requests of a workload in flight. All that came in one
// receive is taken apart and measured, all free slots are filled, and what that gives leaves in one
// send. Driven by one thread at a time. No allocation per request.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/coverage.h"
#include "client/bench/options.h"
#include "client/bench/tally.h"
#include "client/bench/workload.h"
#include "client/nbd/flight.h"
#include "client/nbd/outbox.h"
#include "client/nbd/reply_reader.h"
#include "client/nbd_connection.h"

namespace sluice::bench {

class Stream final : private ReplySink {
 public:
  // `coverage` is null unless --verify; it and the options outlive the stream.
  Stream(NbdConnection connection, const Options& options, const Region& region,
         Coverage* coverage);

  // What comes next; nothing may be in flight. `tally` outlives the phase.
  void Begin(const Workload& workload, Tally& tally);
  // No new requests from now on.
  void Stop() { exhausted_ = true; }

  // Fills the free slots and sends without waiting. Not after `deadline_ns`.
  absl::Status Pump(uint64_t deadline_ns);
  // Takes what has come; with `wait` sleeps for it as long as the socket's receive timeout says.
  // False when nothing came. Unavailable: the connection is lost; DataLoss: the server is broken.
  absl::StatusOr<bool> Receive(bool wait);

  int fd() const { return connection_.fd(); }
  bool unsent() const { return !outbox_.empty(); }
  uint32_t in_flight() const { return flight_.in_flight(); }
  bool finished() const { return exhausted_ && in_flight() == 0; }
  NbdConnection& connection() { return connection_; }

 private:
  void Push(const Plan& plan, uint64_t now_ns);
  ConstByteSpan PayloadFor(const Request& request);

  void OnData(Request& request, uint64_t offset, ConstByteSpan bytes) override;
  void OnHole(Request& request, uint64_t offset, uint32_t length) override;
  void OnDone(Request& request) override;
  void Mismatch(Request& request);

  NbdConnection connection_;
  const Options& options_;
  const Region region_;
  Coverage* const coverage_;
  Flight flight_;
  Outbox outbox_;
  ReplyReader reader_;
  std::vector<uint8_t> payloads_;  // one block; with --verify one for each slot
  Workload workload_;
  Tally* tally_ = nullptr;
  uint64_t received_ns_ = 0;
  bool exhausted_ = true;
};

}  // namespace sluice::bench
