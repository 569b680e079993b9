// SPDX-License-Identifier: Apache-2.0
// usage: path_driver WORKLOAD REQUESTS    (WORKLOAD: kWorkloads of path.h)
// Sends so many requests down the path and prints what the disk counted, as JSON. It is run under
// callgrind: two runs of different length differ by the instructions of the requests alone.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/bench/stages/path.h"

namespace sluice::bench {
namespace {

uint64_t Sum(const Counter (&counters)[kOps]) {
  uint64_t sum = 0;
  for (const Counter& counter : counters) sum += counter.value();
  return sum;
}

void Drive(const Workload& workload, uint64_t requests) {
  ManualClock clock;
  Run run(workload, clock);
  const DiskStats* stats = run.disk_stats();
  const uint64_t asked = stats == nullptr ? 0 : Sum(stats->requests);
  const uint64_t done = stats == nullptr ? 0 : Sum(stats->device_ops);
  for (uint64_t sent = 0; sent < requests; sent += kBatch) {
    clock.Advance(10'000);
    run.NextBatch();
  }
  if (stats == nullptr) return;
  std::printf("{\"requests\": %lu, \"device_ops\": %lu}\n", Sum(stats->requests) - asked,
              Sum(stats->device_ops) - done);
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  sluice::bench::LogWarningsOnly();
  for (const auto& workload : sluice::bench::kWorkloads) {
    if (argc != 3 || std::strcmp(argv[1], workload.name) != 0) continue;
    sluice::bench::Drive(workload, std::strtoull(argv[2], nullptr, 10));
    return 0;
  }
  std::fprintf(stderr, "usage: path_driver WORKLOAD REQUESTS\n");
  return 2;
}
