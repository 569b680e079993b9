// SPDX-License-Identifier: Apache-2.0
// disk/submit_...: 32 bios from Submit() to the medium, through guard, gather and dispatch.
// disk/complete_...: from the medium's answers to their release. The medium moves no bytes.
#include "storage/disk.h"

#include <memory>
#include <utility>

#include "tests/bench/stages/bios.h"
#include "tests/bench/stages/loop.h"
#include "tests/bench/stages/phase.h"

namespace sluice::bench {
namespace {

constexpr uint32_t kBios = 32;

enum Phase { kSubmit, kComplete };

void OneDisk(benchmark::State& state, Phase chosen, Op op, bool contiguous) {
  SystemClock clock;
  Loop loop(clock);
  DiskOptions options;
  options.depth = kBios;
  Disk disk(options, std::make_unique<LateMedium>(loop.poller(), false),
            *Bufq::Alloc(kBufqDiskDefault, kBufqExact, {}), loop.reactor());
  alignas(kPage) static char memory[kPage];
  const Segment segment{memory, kPage};
  Tally tally;
  PhaseTimer timer(state, chosen);
  uint64_t batches = 0;
  for (auto _ : state) {
    auto submit = [&] {
      for (uint32_t i = 0; i < kBios; ++i) {
        const uint64_t page = contiguous ? i : (i * 37 + 11) % 64 * 2;
        Bio& bio = MakeBio(disk, op, page * kPage, tally);
        bio.segs = &segment;
        bio.seg_count = 1;
        Submit(bio);
      }
    };
    loop.Arm(submit);
    timer.Do(kSubmit, [&] { loop.Turn(); });
    SLUICE_CHECK(tally.done == batches * kBios);
    timer.Do(kComplete, [&] { loop.Turn(); });
    ++batches;
    SLUICE_CHECK(tally.done == batches * kBios);
    timer.EndIteration();
  }
  const uint64_t operations = disk.stats().device_ops[static_cast<int>(op)].value();
  SLUICE_CHECK(disk.stats().slow.value() == 0);
  SLUICE_CHECK(operations == batches * (contiguous ? 1 : kBios));
  loop.Turn();
  state.SetItemsProcessed(state.iterations() * kBios);
}

#define DISK_BENCH(name, op, contiguous)                                 \
  BENCHMARK_CAPTURE(OneDisk, submit_##name, kSubmit, op, contiguous)     \
      ->Name("disk/submit_" #name)                                       \
      ->UseManualTime();                                                 \
  BENCHMARK_CAPTURE(OneDisk, complete_##name, kComplete, op, contiguous) \
      ->Name("disk/complete_" #name)                                     \
      ->UseManualTime()
DISK_BENCH(read, Op::kRead, false);
DISK_BENCH(random_write, Op::kWrite, false);
DISK_BENCH(contiguous_write, Op::kWrite, true);

}  // namespace
}  // namespace sluice::bench
