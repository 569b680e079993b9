// SPDX-License-Identifier: Apache-2.0
// bufq/STRATEGY_ORDER/DEPTH: one get and one put in a queue that holds DEPTH bios.
// gather/ORDER: 32 bios plugged and collected into runs. guard/...: 32 bios enter and leave.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "core/units.h"
#include "storage/bufq.h"
#include "storage/gather.h"
#include "storage/range_guard.h"
#include "tests/bench/stages/devices.h"

namespace sluice::bench {
namespace {

constexpr uint32_t kBios = 32;
constexpr uint64_t kPages = kDiskBytes / kPage;

void Queue(benchmark::State& state, const std::string& strategy, bool random) {
  auto queue = *Bufq::Alloc(strategy, kBufqExact, {});
  uint64_t dice = 1;
  std::vector<Bio> bios(static_cast<size_t>(state.range(0)));
  uint64_t put = 0;
  uint64_t now_ns = 1;
  const auto enter = [&](Bio& bio) {
    dice = dice * 6364136223846793005 + 1442695040888963407;  // Knuth's MMIX
    bio.offset = (random ? dice >> 32 : put) % kPages * kPage;
    bio.flow = put % 4;
    bio.op = put++ % 2 == 0 ? Op::kRead : Op::kWrite;
    bio.born_ns = now_ns;
    queue->Put(bio);
  };
  for (Bio& bio : bios) {
    bio.length = kPage;
    enter(bio);
  }
  for (auto _ : state) {
    now_ns += kMicrosecond;
    Bio* bio = queue->Get(now_ns);
    SLUICE_CHECK(bio != nullptr && bio->where == Where::kSubmitter);
    enter(*bio);
  }
  size_t left = 0;
  queue->Drain(now_ns, [&left](Bio&) { ++left; });
  SLUICE_CHECK(left == bios.size());
  state.SetItemsProcessed(state.iterations());
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const BufqStrategy& strategy : BufqRegistry::Get().List()) {
    for (const bool random : {false, true}) {
      const std::string order = random ? "_random" : "_sequential";
      auto* bench = benchmark::RegisterBenchmark(("bufq/" + (strategy.name + order)).c_str(), Queue,
                                                 strategy.name, random);
      for (const int depth : {1, 32, 256, 4096}) bench->Arg(depth);
    }
  }
  return true;
}();

// The pages of 32 requests in order of arrival, and how many runs they make.
enum class Arrival : uint8_t { kContiguous, kRandom, kInterleaved };

uint64_t PageOf(Arrival arrival, uint32_t i) {
  switch (arrival) {
    case Arrival::kContiguous:
      return i;
    case Arrival::kRandom:
      return (i * 37 + 11) % 64 * 2;
    case Arrival::kInterleaved:  // two streams
      return i % 2 * (kPages / 2) + i / 2;
  }
  return 0;
}

void Gathering(benchmark::State& state, Arrival arrival, uint64_t runs) {
  Gather gather({}, kBios);
  alignas(kPage) static char memory[kPage];
  const Segment segment{memory, kPage};
  std::vector<Bio> bios(kBios);
  for (uint32_t i = 0; i < kBios; ++i) {
    bios[i].op = Op::kWrite;
    bios[i].offset = PageOf(arrival, i) * kPage;
    bios[i].length = kPage;
    bios[i].segs = &segment;
    bios[i].seg_count = 1;
  }
  uint64_t made = 0;
  uint64_t riders = 0;
  for (auto _ : state) {
    for (Bio& bio : bios) gather.Plug(bio);
    while (Bio* run = gather.Collect()) {
      ++made;
      if ((run->flags & kCarrier) == 0) {
        ++riders;
        continue;
      }
      Carrier& carrier = CarrierOf(*run);
      for (; !carrier.riders.empty(); ++riders) carrier.riders.pop_front();
      gather.Free(carrier);
    }
  }
  const auto iterations = static_cast<uint64_t>(state.iterations());
  SLUICE_CHECK(made == iterations * runs && riders == iterations * kBios);
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK_CAPTURE(Gathering, contiguous, Arrival::kContiguous, 1)->Name("gather/contiguous");
BENCHMARK_CAPTURE(Gathering, random, Arrival::kRandom, kBios)->Name("gather/random");
BENCHMARK_CAPTURE(Gathering, interleaved, Arrival::kInterleaved, 2)->Name("gather/interleaved");

void Guard(benchmark::State& state, bool overlap) {
  RangeGuard guard(kPage, kBios);
  std::vector<Bio> bios(kBios);
  for (uint32_t i = 0; i < kBios; ++i) {
    bios[i].op = Op::kWrite;
    bios[i].offset = overlap ? 0 : PageOf(Arrival::kRandom, i) * kPage;
    bios[i].length = kPage;
  }
  uint64_t entered = 0;
  uint64_t admitted = 0;
  for (auto _ : state) {
    for (Bio& bio : bios) entered += guard.Enter(bio) ? 1 : 0;
    for (Bio& bio : bios) guard.Leave(bio, [&admitted](Bio&) { ++admitted; });
  }
  SLUICE_CHECK(guard.size() == 0);
  const auto all = static_cast<uint64_t>(state.iterations()) * kBios;
  SLUICE_CHECK(entered == (overlap ? all / kBios : all) && entered + admitted == all);
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK_CAPTURE(Guard, disjoint, false)->Name("guard/disjoint");
BENCHMARK_CAPTURE(Guard, overlapping, true)->Name("guard/overlapping");

}  // namespace
}  // namespace sluice::bench
