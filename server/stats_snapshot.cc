// SPDX-License-Identifier: Apache-2.0
#include "server/stats_snapshot.h"

#include "core/bio.h"

namespace sluice {

void HistogramSnapshot::Add(const Histogram& histogram) noexcept {
  for (int i = 0; i < Histogram::kBuckets; ++i) {
    buckets[static_cast<size_t>(i)] += histogram.bucket(i);
  }
  sum += histogram.sum();
}

uint64_t HistogramSnapshot::count() const noexcept {
  uint64_t all = 0;
  for (const uint64_t bucket : buckets) all += bucket;
  return all;
}

const char* DoorName(DoorKind door) { return door == DoorKind::kNbd ? "nbd" : "grpc"; }

const char* KindName(RequestKind kind) {
  if (kind == RequestKind::kExtents) return "block_status";
  if (kind == RequestKind::kUnknown) return "unknown";
  return OpName(static_cast<Op>(kind));
}

}  // namespace sluice
