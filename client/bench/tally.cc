// SPDX-License-Identifier: Apache-2.0
#include "client/bench/tally.h"

#include <algorithm>

namespace sluice::bench {

void Tally::Merge(const Tally& other) {
  answered += other.answered;
  errors += other.errors;
  bytes += other.bytes;
  for (const auto& [code, count] : other.errors_by_code) errors_by_code[code] += count;
  checked += other.checked;
  mismatches += other.mismatches;
  first_mismatch = std::min(first_mismatch, other.first_mismatch);
  cpu_ns += other.cpu_ns;
  begin_ns = std::min(begin_ns, other.begin_ns);
  end_ns = std::max(end_ns, other.end_ns);
  latency_ns.Merge(other.latency_ns);
}

}  // namespace sluice::bench
