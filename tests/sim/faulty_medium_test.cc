// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/faulty_medium.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "tests/sim/medium_op.h"

namespace sluice::sim {
namespace {

using testing::ElementsAre;
using testing::Lt;

constexpr uint32_t kBlock = 512;

// A drive and the loop that its completions come out of.
struct Bench {
  explicit Bench(const FaultyOptions& options, const std::string& image = {})
      : medium(poller, options, image) {}

  void RunReady() {
    ReadyList ready;
    poller.Poll(0, ready);
    while (!ready.empty()) {
      RingOp& op = ready.front();
      ready.pop_front();
      op.done(op);
    }
  }
  void Tick() {
    medium.Pump();
    RunReady();
  }
  int64_t Run(MediumOp& op) {
    EXPECT_EQ(op.StartOn(medium), Started::kPending);
    medium.PumpAll();
    RunReady();
    EXPECT_EQ(op.times_ended(), 1);
    return op.result();
  }
  int64_t Write(uint64_t offset, const std::string& bytes, uint8_t flags = 0) {
    auto op = MediumOp::Write(offset, bytes, flags, 2);
    return Run(op);
  }
  int64_t Effect(Op what, uint64_t offset = 0, uint32_t length = 0, uint8_t flags = 0) {
    MediumOp op(what, offset, length, flags);
    return Run(op);
  }
  std::string Read(uint64_t offset, uint32_t length) {
    MediumOp op(Op::kRead, offset, length, 0, 3);
    EXPECT_EQ(Run(op), length);
    return op.bytes();
  }

  ManualPoller poller;
  FaultyMedium medium;
};

FaultyOptions Seeded(uint64_t seed) {
  FaultyOptions options;
  options.seed = seed;
  return options;
}

TEST(FaultyMedium, ReadsWhatWasWrittenWhateverTheVectors) {
  Bench bench(Seeded(1));
  const std::string bytes = Pattern(4096, 5 * kBlock, 7);
  EXPECT_EQ(bench.Write(4096, bytes), 5 * kBlock);
  EXPECT_EQ(bench.Read(4096, 5 * kBlock), bytes);
  EXPECT_EQ(bench.Read(0, 4096), std::string(4096, '\0'));
}

TEST(FaultyMedium, DoneRunsFromTheLoopAndOnlyWhenDue) {
  FaultyOptions options = Seeded(3);
  options.ticks_min = options.ticks_max = 3;
  Bench bench(options);
  auto op = MediumOp::Write(0, Pattern(0, kBlock, 1));
  ASSERT_EQ(op.StartOn(bench.medium), Started::kPending);
  bench.Tick();
  bench.Tick();
  EXPECT_FALSE(op.ended());
  bench.medium.Pump();
  EXPECT_FALSE(op.ended()) << "done must wait for the loop";
  bench.RunReady();
  EXPECT_TRUE(op.ended());
}

std::vector<size_t> CompletionOrder(uint64_t seed) {
  FaultyOptions options = Seeded(seed);
  options.ticks_max = 8;
  Bench bench(options);
  std::vector<std::unique_ptr<MediumOp>> ops;
  for (uint64_t i = 0; i < 16; ++i) {
    ops.push_back(std::make_unique<MediumOp>(Op::kRead, i * kBlock, kBlock));
    EXPECT_EQ(ops.back()->StartOn(bench.medium), Started::kPending);
  }
  std::vector<size_t> order;
  while (bench.medium.Pump() > 0 || bench.medium.under_way() > 0) {
    ReadyList ready;
    bench.poller.Poll(0, ready);
    while (!ready.empty()) {
      order.push_back(MediumIoOf(ready.front()).offset / kBlock);
      ready.pop_front();
    }
  }
  return order;
}

TEST(FaultyMedium, ASeedReplaysItsOrderAndAnotherHasAnother) {
  EXPECT_EQ(CompletionOrder(5), CompletionOrder(5));
  EXPECT_NE(CompletionOrder(5), CompletionOrder(6));
  EXPECT_EQ(CompletionOrder(5).size(), 16U);
}

TEST(FaultyMedium, IsFullAtItsDepth) {
  FaultyOptions options = Seeded(1);
  options.full_at = 2;
  Bench bench(options);
  MediumOp a(Op::kRead, 0, kBlock);
  MediumOp b(Op::kRead, 0, kBlock);
  MediumOp c(Op::kRead, 0, kBlock);
  EXPECT_EQ(a.StartOn(bench.medium), Started::kPending);
  EXPECT_EQ(b.StartOn(bench.medium), Started::kPending);
  EXPECT_EQ(c.StartOn(bench.medium), Started::kFull);
  bench.Tick();
  EXPECT_EQ(bench.Run(c), kBlock);
  EXPECT_EQ(bench.medium.refused(), 1U);
}

TEST(FaultyMedium, AFaultStrikesItsRangeAndKindSoOftenAsItSays) {
  Bench bench(Seeded(1));
  bench.medium.AddFault({.ops = OpBit(Op::kWrite), .offset = 1024, .length = 512, .times = 1});
  const std::string old(512, '\0');
  EXPECT_EQ(bench.Write(512, Pattern(512, 512, 1)), 512);
  EXPECT_EQ(bench.Read(1024, 512), old);
  EXPECT_EQ(bench.Write(1024, Pattern(1024, 512, 1)), -EIO);
  EXPECT_THAT(bench.Read(1024, 512), testing::AnyOf(old, Pattern(1024, 512, 1)));
  EXPECT_EQ(bench.Write(1024, Pattern(1024, 512, 2)), 512);

  bench.medium.AddFault({.ops = OpBit(Op::kRead), .offset = 2048, .length = 512, .error = ENODEV});
  MediumOp across(Op::kRead, 1536, 1024);
  EXPECT_EQ(bench.Run(across), -ENODEV);
  MediumOp again(Op::kRead, 2048, 512);
  EXPECT_EQ(bench.Run(again), -ENODEV);
}

TEST(FaultyMedium, AFailedWriteLeavesEachBlockOldOrNew) {
  int torn = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Bench bench(Seeded(seed));
    bench.medium.AddFault({.ops = OpBit(Op::kWrite)});
    const std::string fresh = Pattern(0, 8 * kBlock, seed);
    EXPECT_EQ(bench.Write(0, fresh), -EIO);
    int changed = 0;
    for (uint32_t at = 0; at < fresh.size(); at += kBlock) {
      const std::string block = bench.Read(at, kBlock);
      if (block == fresh.substr(at, kBlock)) {
        ++changed;
      } else {
        EXPECT_EQ(block, std::string(kBlock, '\0'));
      }
    }
    if (changed > 0 && changed < 8) ++torn;
  }
  EXPECT_GT(torn, 10);
}

TEST(FaultyMedium, AShortTransferDidExactlyWhatItSays) {
  Bench bench(Seeded(1));
  bench.medium.AddFault({.error = 0, .short_bytes = 700, .times = 1});
  const std::string bytes = Pattern(0, 2048, 4);
  EXPECT_EQ(bench.Write(0, bytes), 700);
  EXPECT_EQ(bench.Read(0, 2048), bytes.substr(0, 700) + std::string(1348, '\0'));

  FaultyOptions options = Seeded(2);
  options.short_per_mille = 1000;
  Bench cutting(options, bytes);
  MediumOp read(Op::kRead, 0, 2048);
  const int64_t got = cutting.Run(read);
  EXPECT_THAT(got, Lt(2048));
  EXPECT_EQ(got % kBlock, 0);
  EXPECT_EQ(read.bytes().substr(0, static_cast<size_t>(got)),
            bytes.substr(0, static_cast<size_t>(got)));
}

TEST(FaultyMedium, HangsUntilReleased) {
  Bench bench(Seeded(1));
  bench.medium.Hold(OpBit(Op::kFlush));
  MediumOp flush(Op::kFlush, 0, 0);
  ASSERT_EQ(flush.StartOn(bench.medium), Started::kPending);
  EXPECT_EQ(bench.Write(0, Pattern(0, kBlock, 1)), kBlock);
  EXPECT_FALSE(flush.ended());
  bench.medium.Release();
  bench.Tick();
  EXPECT_TRUE(flush.ended());
}

TEST(FaultyMedium, EndsInsideStartWhenAskedTo) {
  FaultyOptions options = Seeded(1);
  options.immediate_per_mille = 1000;
  Bench bench(options);
  auto op = MediumOp::Write(0, Pattern(0, kBlock, 1));
  EXPECT_EQ(op.StartOn(bench.medium), Started::kDone);
  EXPECT_EQ(op.result(), kBlock);
  EXPECT_EQ(bench.medium.contents().substr(0, kBlock), Pattern(0, kBlock, 1));
}

TEST(FaultyMedium, OnlyAFlushStartedLaterSavesAWrite) {
  Bench bench(Seeded(1));
  bench.Write(0, Pattern(0, kBlock, 1));
  EXPECT_EQ(bench.medium.durable().substr(0, kBlock), std::string(kBlock, '\0'));
  bench.medium.Hold(OpBit(Op::kFlush));
  MediumOp flush(Op::kFlush, 0, 0);
  ASSERT_EQ(flush.StartOn(bench.medium), Started::kPending);
  bench.Write(0, Pattern(0, kBlock, 2));
  bench.medium.Release();
  bench.Tick();
  ASSERT_TRUE(flush.ended());
  EXPECT_EQ(bench.medium.durable().substr(0, kBlock), Pattern(0, kBlock, 1));
  bench.Effect(Op::kFlush);
  EXPECT_EQ(bench.medium.durable().substr(0, kBlock), Pattern(0, kBlock, 2));
}

TEST(FaultyMedium, FuaIsDurableAtOnce) {
  FaultyOptions options = Seeded(1);
  options.limits.native_fua = true;
  Bench bench(options);
  bench.Write(0, Pattern(0, kBlock, 1));
  bench.Write(kBlock, Pattern(kBlock, kBlock, 1), kFua);
  EXPECT_EQ(bench.medium.durable().substr(0, 2 * kBlock),
            std::string(kBlock, '\0') + Pattern(kBlock, kBlock, 1));
}

TEST(FaultyMedium, AFailedFlushLosesWhatItShouldHaveSaved) {
  Bench bench(Seeded(1));
  bench.Write(0, Pattern(0, kBlock, 1));
  bench.medium.AddFault({.ops = OpBit(Op::kFlush), .times = 1});
  EXPECT_EQ(bench.Effect(Op::kFlush), -EIO);
  EXPECT_EQ(bench.Effect(Op::kFlush), 0);
  EXPECT_EQ(bench.Read(0, kBlock), Pattern(0, kBlock, 1));
  EXPECT_EQ(bench.medium.durable().substr(0, kBlock), std::string(kBlock, '\0'));
}

TEST(FaultyMedium, APowerCutLeavesAnyOfABlocksVersionsAndNothingElse) {
  Bench bench(Seeded(9));
  bench.Write(0, Pattern(0, kBlock, 1));
  bench.Effect(Op::kFlush);
  bench.Write(0, Pattern(0, kBlock, 2));
  auto under_way = MediumOp::Write(0, Pattern(0, kBlock, 3));
  ASSERT_EQ(under_way.StartOn(bench.medium), Started::kPending);
  std::set<int> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string image = bench.medium.CrashImage();
    ASSERT_EQ(image.size(), bench.medium.limits().size);
    EXPECT_EQ(image.substr(kBlock), std::string(image.size() - kBlock, '\0'));
    int version = 1;
    while (version <= 3 && image.substr(0, kBlock) != Pattern(0, kBlock, uint64_t(version)))
      ++version;
    ASSERT_LE(version, 3);
    seen.insert(version);
  }
  EXPECT_EQ(seen, (std::set<int>{1, 2, 3}));
  bench.Tick();
}

struct Asked : ExtentQuery {
  Asked(uint64_t from, uint64_t size, uint32_t most) {
    offset = from;
    length = size;
    extents_max = most;
    done = [](ExtentQuery& query) noexcept { ++static_cast<Asked&>(query).answers; };
  }
  int answers = 0;
};

TEST(FaultyMedium, KnowsWhatIsAllocated) {
  FaultyOptions options = Seeded(1);
  options.limits.can_trim = options.limits.can_zero = true;
  Bench bench(options);
  bench.Write(1024, Pattern(1024, 2048, 1));
  EXPECT_EQ(bench.Effect(Op::kTrim, 1536, 512), 0);
  EXPECT_EQ(bench.Effect(Op::kZero, 2048, 512, kNoHole), 0);
  Asked asked(100, 4096, 3);
  bench.medium.QueryExtents(asked);
  EXPECT_EQ(asked.answers, 0);
  bench.Tick();
  EXPECT_EQ(asked.answers, 1);
  std::vector<std::pair<uint64_t, bool>> extents;
  for (const Extent& extent : asked.extents) extents.emplace_back(extent.length, extent.hole);
  EXPECT_THAT(extents,
              ElementsAre(std::pair(924, true), std::pair(512, false), std::pair(512, true)));
}

}  // namespace
}  // namespace sluice::sim
