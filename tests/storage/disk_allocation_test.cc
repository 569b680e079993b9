// SPDX-License-Identifier: Apache-2.0
// Nothing is allocated for a request on its way through a disk, whichever way it takes.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "storage/disk.h"
#include "tests/storage/allocations.h"
#include "tests/storage/fake_target.h"

namespace sluice {
namespace {

// Does nothing, and allocates nothing for it.
class IdleMedium final : public Medium {
 public:
  IdleMedium(ManualPoller& poller, uint32_t block) : poller_(poller) {
    limits_.size = 64 * kMiB;
    limits_.block = block;
    limits_.mem_align = 1;
    limits_.depth = 4;
    limits_.can_trim = limits_.can_zero = true;
  }
  const MediumLimits& limits() const noexcept override { return limits_; }
  void Attach(uint16_t) noexcept override {}
  void QueryExtents(ExtentQuery&) noexcept override {}
  Started Start(MediumIo& io) noexcept override {
    SLUICE_CHECK(count_ < under_way_.size());
    io.op.done = [](RingOp& op) noexcept {
      MediumIo& ended = MediumIoOf(op);
      ended.result = op.result;
      ended.done(ended);
    };
    under_way_[count_++] = &io;
    return Started::kPending;
  }
  size_t EndAll() {
    for (size_t i = 0; i < count_; ++i) {
      MediumIo& io = *under_way_[i];
      poller_.Complete(io.op, HasData(io.what) ? static_cast<int32_t>(io.length) : 0);
    }
    return std::exchange(count_, 0);
  }

 private:
  ManualPoller& poller_;
  MediumLimits limits_;
  std::array<MediumIo*, 16> under_way_{};
  size_t count_ = 0;
};

class DiskAllocation : public testing::TestWithParam<const char*> {};

TEST_P(DiskAllocation, NoRequestAllocates) {
  for (const uint32_t block : {512u, 4096u}) {
    ManualClock clock;
    auto poller = std::make_unique<ManualPoller>();
    auto below = std::make_unique<IdleMedium>(*poller, block);
    IdleMedium& medium = *below;
    std::vector<std::unique_ptr<Poller>> pollers;
    pollers.push_back(std::move(poller));
    ReactorSet set(std::move(pollers), clock,
                   {.credits = 1024, .buffer_bytes = kMiB, .poll_budget_ns = 0});
    Disk disk({.name = "idle"}, std::move(below), *Bufq::Alloc(GetParam(), kBufqExact, {}),
              set.at(0));
    std::vector<std::unique_ptr<Request>> requests;
    constexpr Op kKinds[] = {Op::kWrite, Op::kWrite, Op::kWrite, Op::kRead,
                             Op::kTrim,  Op::kZero,  Op::kFlush, Op::kWrite};
    for (uint64_t i = 0; i < 512; ++i) {
      const Op op = kKinds[i % std::size(kKinds)];
      const uint64_t offset = op == Op::kFlush ? 0 : i * 37 % 128 * kSector;
      const uint8_t flags = i % 16 == 0 ? kFua : 0;
      requests.push_back(
          std::make_unique<Request>(disk, op, offset, op == Op::kFlush ? 0 : kSector, flags));
    }
    size_t next = 0;
    const auto submit_some = [&] {
      for (int i = 0; i < 32 && next < requests.size(); ++i) Submit(requests[next++]->bio());
    };
    uint64_t allocated = 0;
    for (int turns = 0; next < requests.size() || !disk.idle(); ++turns) {
      ASSERT_LT(turns, 100'000);
      if (turns % 3 == 0) set.at(0).Post(submit_some);
      medium.EndAll();
      const uint64_t before = Allocations();
      set.at(0).Turn();
      allocated += Allocations() - before;
    }
    for (int i = 0; i < 2; ++i) set.at(0).Turn();
    for (const auto& request : requests) EXPECT_TRUE(request->done());
    EXPECT_EQ(allocated, 0u) << "block " << block;
    EXPECT_EQ(disk.stats().carriers.value() > 0, block == 512);
    EXPECT_EQ(disk.stats().slow.value() > 0, block == 4096);
  }
}

INSTANTIATE_TEST_SUITE_P(Strategies, DiskAllocation,
                         testing::Values("fcfs", "disksort", "readprio", "priocscan", "deadline",
                                         "fair"),
                         [](const testing::TestParamInfo<const char*>& strategy) {
                           return strategy.param;
                         });

}  // namespace
}  // namespace sluice
