// SPDX-License-Identifier: Apache-2.0
// request/WORKLOAD: from the bytes of a request to those of its reply, in batches of 32, the
// client's check included.
#include <benchmark/benchmark.h>

#include "tests/bench/stages/path.h"

namespace sluice::bench {
namespace {

void Request(benchmark::State& state, const Workload& workload) {
  SystemClock clock;
  Run run(workload, clock);
  for (auto _ : state) run.NextBatch();
  state.SetItemsProcessed(state.iterations() * kBatch);
}

[[maybe_unused]] const bool kRegistered = [] {
  LogWarningsOnly();
  for (const Workload& workload : kWorkloads) {
    benchmark::RegisterBenchmark((std::string("request/") + workload.name).c_str(), Request,
                                 workload);
  }
  return true;
}();

}  // namespace
}  // namespace sluice::bench
