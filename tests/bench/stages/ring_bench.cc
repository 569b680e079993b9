// SPDX-License-Identifier: Apache-2.0
// ring/...: pages of /dev/zero and /dev/null by a real ring, 32 a turn: prepared, submitted by one
// enter, reaped. What the ring and the system call take, without a device.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string>

#include "core/check.h"
#include "core/pool.h"
#include "core/ring.h"
#include "tests/bench/stages/devices.h"

namespace sluice::bench {
namespace {

constexpr uint32_t kPages = 32;

// `runs` operations of kPages / runs segments each.
void Ring(benchmark::State& state, Op what, uint32_t runs) {
  auto created = RingPoller::Create();
  if (!created.ok()) return state.SkipWithError(std::string(created.status().message()).c_str());
  RingPoller& ring = **created;
  ring.Start();
  const int fd = open(what == Op::kRead ? "/dev/zero" : "/dev/null", O_RDWR | O_CLOEXEC);
  SLUICE_CHECK(fd >= 0);
  Arena memory(kPages * kPage);
  std::array<Segment, kPages> segs;
  for (uint32_t i = 0; i < kPages; ++i) segs[i] = {memory.base() + i * kPage, kPage};
  std::array<RingOp, kPages> ops;
  const uint32_t part = kPages / runs;
  for (auto _ : state) {
    for (uint32_t i = 0; i < runs; ++i) {
      const uint64_t at = uint64_t{i} * part * kPage;
      if (what == Op::kRead) {
        ring.Readv(ops[i], fd, &segs[i * part], part, at);
      } else {
        ring.Writev(ops[i], fd, &segs[i * part], part, at, 0);
      }
    }
    uint32_t left = runs;
    while (left > 0) {
      ReadyList ready;
      ring.Poll(kForever, ready);
      for (; !ready.empty(); --left) {
        SLUICE_CHECK(ready.front().result == static_cast<int32_t>(part * kPage));
        ready.pop_front();
      }
    }
  }
  close(fd);
  state.SetItemsProcessed(state.iterations() * kPages);
}
BENCHMARK_CAPTURE(Ring, read, Op::kRead, kPages)->Name("ring/read")->UseRealTime();
BENCHMARK_CAPTURE(Ring, random_write, Op::kWrite, kPages)->Name("ring/write")->UseRealTime();
BENCHMARK_CAPTURE(Ring, contiguous_write, Op::kWrite, 1)
    ->Name("ring/contiguous_write")
    ->UseRealTime();

}  // namespace
}  // namespace sluice::bench
