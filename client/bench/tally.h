// SPDX-License-Identifier: Apache-2.0
// What one phase of a run has seen. Not thread safe; each worker has its own, added up at the end.
#pragma once

#include <cstdint>
#include <map>

#include "client/bench/histogram.h"
#include "proto/nbd.h"

namespace sluice::bench {

struct Tally {
  uint64_t answered = 0;  // those that failed among them
  uint64_t errors = 0;    // answered with an error
  uint64_t bytes = 0;     // what those without an error were about
  std::map<nbd::Error, uint64_t> errors_by_code;
  uint64_t checked = 0;  // reads whose data was compared
  uint64_t mismatches = 0;
  uint64_t first_mismatch = UINT64_MAX;  // the lowest offset of them, bytes
  uint64_t cpu_ns = 0;                   // of the threads that drove the connections
  uint64_t begin_ns = UINT64_MAX;        // monotonic clock: first request
  uint64_t end_ns = 0;                   // and last reply
  Histogram latency_ns;

  void Merge(const Tally& other);
};

}  // namespace sluice::bench
