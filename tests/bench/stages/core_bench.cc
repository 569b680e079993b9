// SPDX-License-Identifier: Apache-2.0
// bio/... pool/... mailbox/manual: one bio from its cell to its release, what it takes memory from,
// and its way to another reactor and back on one thread.
#include <benchmark/benchmark.h>

#include <array>

#include "tests/bench/stages/bios.h"
#include "tests/bench/stages/loop.h"

namespace sluice::bench {
namespace {

constexpr uint32_t kBios = 32;

// Makes so many children of every bio, each for the target below.
class FanTarget final : public Target {
 public:
  FanTarget(Target& below, uint32_t children) : below_(below), children_(children) {}
  uint16_t home() const noexcept override { return kNoHome; }
  const Limits& limits() const noexcept override { return below_.limits(); }
  void Strategy(Bio& bio) noexcept override {
    std::array<Bio*, 4> made;
    const uint32_t part = bio.length / children_;
    for (uint32_t i = 0; i < children_; ++i) {
      Bio& child = MakeBio(below_, bio.op, bio.offset + i * part, tally);
      Nest(bio, child);
      child.length = part;
      made[i] = &child;
    }
    for (uint32_t i = 0; i < children_; ++i) Submit(*made[i]);
    Done(bio, 0);
  }
  void Cancel(Bio&) noexcept override {}
  void QueryExtents(ExtentQuery&) noexcept override { SLUICE_CHECK(false); }

  Tally tally;

 private:
  Target& below_;
  const uint32_t children_;
};

void Submit32(Target& target, Tally& tally) {
  for (uint32_t i = 0; i < kBios; ++i) Submit(MakeBio(target, Op::kRead, i * kPage, tally));
}

// A turn with nothing to do, which the benchmarks of 32 bios pay once too.
void IdleTurn(benchmark::State& state) {
  SystemClock clock;
  Loop loop(clock);
  for (auto _ : state) loop.Turn();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(IdleTurn)->Name("reactor/idle_turn");

void SubmitDone(benchmark::State& state) {
  SystemClock clock;
  Loop loop(clock);
  NoOpTarget target;
  Tally tally;
  for (auto _ : state) loop.On([&] { Submit32(target, tally); });
  SLUICE_CHECK(tally.done == static_cast<uint64_t>(state.iterations()) * kBios);
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK(SubmitDone)->Name("bio/submit_done");

void NestDone(benchmark::State& state) {
  SystemClock clock;
  Loop loop(clock);
  NoOpTarget target;
  FanTarget fan(target, static_cast<uint32_t>(state.range(0)));
  Tally tally;
  for (auto _ : state) loop.On([&] { Submit32(fan, tally); });
  const uint64_t parents = static_cast<uint64_t>(state.iterations()) * kBios;
  SLUICE_CHECK(tally.done == parents);
  SLUICE_CHECK(fan.tally.done == parents * static_cast<uint64_t>(state.range(0)));
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK(NestDone)->Name("bio/nest_done")->Arg(1)->Arg(4);

void BioCells(benchmark::State& state) {
  BioPool pool(Loop::kCredits, 1);
  std::array<BioCell*, kBios> cells;
  for (auto _ : state) {
    SLUICE_CHECK(pool.Reserve(kBios));
    for (BioCell*& cell : cells) cell = pool.New();
    benchmark::DoNotOptimize(cells);
    SLUICE_CHECK(pool.used() == kBios);
    for (BioCell* cell : cells) pool.Delete(cell);
    pool.Unreserve(kBios);
  }
  SLUICE_CHECK(pool.used() == 0);
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK(BioCells)->Name("pool/bio");

void Buffers(benchmark::State& state) {
  BufferPool pool(size_t{64} << 20);
  const auto bytes = static_cast<uint32_t>(state.range(0)) * 1024;
  std::array<std::array<Segment, kMaxSegments>, kBios> segs;
  std::array<uint16_t, kBios> counts;
  for (auto _ : state) {
    for (uint32_t i = 0; i < kBios; ++i) {
      counts[i] = pool.Take(bytes, segs[i].data());
      SLUICE_CHECK(counts[i] > 0);
    }
    SLUICE_CHECK(pool.free_bytes() <= pool.bytes() - kBios * bytes);
    for (uint32_t i = 0; i < kBios; ++i) pool.Give(segs[i].data(), counts[i]);
  }
  SLUICE_CHECK(pool.free_bytes() == pool.bytes());
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK(Buffers)->Name("pool/buffer_kib")->Arg(4)->Arg(128);

void MailboxManual(benchmark::State& state) {
  SystemClock clock;
  Loop loop(clock, 2);
  NoOpTarget target(1);
  Tally tally;
  for (auto _ : state) {
    loop.On([&] { Submit32(target, tally); });
    loop.reactor(1).Turn();
    loop.Turn();
  }
  const uint64_t sent = static_cast<uint64_t>(state.iterations()) * kBios;
  SLUICE_CHECK(tally.done == sent && target.taken == sent);
  state.SetItemsProcessed(state.iterations() * kBios);
}
BENCHMARK(MailboxManual)->Name("mailbox/manual");

}  // namespace
}  // namespace sluice::bench
