// SPDX-License-Identifier: Apache-2.0
// What one connection asks for and what came of it, whatever carries it: takes the next request of
// a workload into a free slot, has its data, checks what was read, and counts. One thread at a
// time; no allocation per request.
#pragma once

#include <cstdint>
#include <vector>

#include "client/bench/coverage.h"
#include "client/bench/options.h"
#include "client/bench/tally.h"
#include "client/bench/workload.h"
#include "client/nbd/flight.h"
#include "proto/bytes.h"

namespace sluice::bench {

class Load {
 public:
  // `coverage` is null unless --verify; it and the options outlive the load.
  Load(const Options& options, const Region& region, Coverage* coverage);

  // What comes next; nothing may be in flight. `tally` outlives the phase.
  void Begin(const Workload& workload, Tally& tally);
  // No new requests from now on.
  void Stop() { exhausted_ = true; }

  // Before requests are taken: none is after `deadline_ns`.
  void Resume(uint64_t now_ns, uint64_t deadline_ns);
  // The next one, sent `now_ns`; null when there is none, or no free slot.
  Request* Take(uint64_t now_ns);
  // Of a WRITE; constant until it is answered.
  ConstByteSpan PayloadFor(const Request& request);
  bool MustBeDurable(const Request& request) const;

  // What a READ brought.
  void OnBytes(Request& request, uint64_t offset, ConstByteSpan bytes);
  void OnHole(Request& request);
  // It is answered, with request.error; its slot is free.
  void OnDone(Request& request, uint64_t received_ns);

  Flight& flight() { return flight_; }
  uint32_t in_flight() const { return flight_.in_flight(); }
  bool finished() const { return exhausted_ && in_flight() == 0; }

 private:
  void Mismatch(Request& request);

  const Options& options_;
  const Region region_;
  Coverage* const coverage_;
  Flight flight_;
  std::vector<uint8_t> payloads_;  // one block; with --verify one for each slot
  Workload workload_;
  Tally* tally_ = nullptr;
  bool exhausted_ = true;
};

}  // namespace sluice::bench
