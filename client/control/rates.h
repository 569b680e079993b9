// SPDX-License-Identifier: Apache-2.0
// What happened between two readings of a server's counters. Arithmetic alone; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sluice/v1/stats.pb.h"

namespace sluice::control {

// Rates are per second. Latencies are estimates from buckets whose bounds are powers of two, within
// one of which all are taken as evenly spread; 0 when nothing was done.
struct Load {
  std::string name;
  double reads = 0, writes = 0, others = 0;  // flushes, discards, zeroes ...
  double read_bytes = 0, written_bytes = 0;
  double p50_us = 0, p99_us = 0;
  uint64_t errors = 0;    // between the readings
  uint64_t inflight = 0;  // now
  double iops() const { return reads + writes + others; }
};

struct ExportLoad : Load {
  uint32_t users = 0;  // now: sessions and NBD connections
};

struct DiskLoad : Load {
  uint32_t queued = 0, at_device = 0;  // now
  double runs = 0;                     // sent to the device
  double requests_per_run = 0;         // 1: nothing was merged; 0: nothing was sent
  double riders_per_carrier = 0;       // of runs of two or more; 0: there was none
};

struct Rates {
  double seconds = 0;
  std::vector<ExportLoad> exports;
  std::vector<DiskLoad> disks;
};

// `before` of the same server; of another one, or nothing: as if all counters had been 0 when the
// server began. What came between is taken from 0, what went is left out.
Rates RatesBetween(const v1::Stats& before, const v1::Stats& after);

// The duration that `share` (0 to 1) of those counted in `buckets` (Latency.buckets) do not exceed,
// ns; 0 when they are empty.
double QuantileNs(const std::vector<uint64_t>& buckets, double share);

}  // namespace sluice::control
