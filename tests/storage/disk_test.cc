// SPDX-License-Identifier: Apache-2.0
// A disk's way down: when it starts, what it gathers, what waits, and what it promises of FUA and
// flush. Blocks are 512 bytes.
#include "storage/disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/storage/disk_rig.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = 512;
constexpr uint32_t kPage = 4096;

RigOptions Depth(uint32_t depth) {
  RigOptions options;
  options.disk.depth = depth;
  return options;
}

// `count` adjacent writes of a page each.
std::vector<Request*> Stream(DiskRig& rig, uint64_t first_page, int count) {
  std::vector<Request*> stream;
  for (int i = 0; i < count; ++i) {
    stream.push_back(&rig.Write((first_page + static_cast<uint64_t>(i)) * kPage, kPage));
  }
  return stream;
}

TEST(Disk, ReadsBackWhatItWrote) {
  DiskRig rig;
  rig.Send(rig.Write(1024, 2048));
  rig.Settle();
  Request& read = rig.Read(512, 4096);
  rig.Send(read);
  rig.Settle();
  EXPECT_EQ(read.error(), 0);
  EXPECT_EQ(std::string(read.memory.data(), 4096),
            std::string(512, '\0') + DiskRig::Pattern(1024, 2048) + std::string(1536, '\0'));
}

TEST(Disk, AnIdleDiskStartsInTheTurnOfTheRequest_Promise9) {
  DiskRig rig;
  Request& write = rig.Write(0, kBlock);
  rig.Send(write);
  EXPECT_EQ(rig.Log(), "w0+1");
  EXPECT_EQ(rig.UnderWay(), 1u);
  EXPECT_EQ(write.callbacks, 0) << "answered before the medium has it";
}

TEST(Disk, KeepsAtMostItsDepthAtTheMedium) {
  DiskRig rig(Depth(2));
  for (int i = 0; i < 5; ++i) rig.Send(rig.Read(static_cast<uint64_t>(i) * 8 * kBlock, kBlock));
  EXPECT_EQ(rig.UnderWay(), 2u);
  rig.Tick();
  EXPECT_EQ(rig.UnderWay(), 2u);
  EXPECT_EQ(rig.Log(), "r0+1 r8+1 r16+1 r24+1");
}

TEST(Disk, GathersOneTurnByOffsetNotByArrival) {
  DiskRig rig;
  rig.Send({&rig.Write(3 * kBlock, kBlock), &rig.Write(1 * kBlock, kBlock),
            &rig.Write(4 * kBlock, kBlock), &rig.Write(2 * kBlock, kBlock)});
  EXPECT_EQ(rig.Log(), "w1+4");
  rig.Settle();
  EXPECT_EQ(rig.Contents(kBlock, 4 * kBlock), DiskRig::Pattern(kBlock, 4 * kBlock));
}

TEST(Disk, ARunInTheQueueGrowsAtItsBackAndAtItsFront_WindowC) {
  DiskRig rig(Depth(1));
  rig.Send(rig.Write(100 * kBlock, kBlock));
  rig.Send(rig.Write(10 * kBlock, kBlock));
  rig.Send(rig.Write(11 * kBlock, kBlock));
  rig.Send(rig.Write(9 * kBlock, kBlock));
  rig.Send({&rig.Write(7 * kBlock, kBlock), &rig.Write(8 * kBlock, kBlock)});
  rig.Send({&rig.Write(12 * kBlock, kBlock), &rig.Write(13 * kBlock, kBlock)});
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w100+1 w7+7");
  EXPECT_EQ(rig.Contents(7 * kBlock, 7 * kBlock), DiskRig::Pattern(7 * kBlock, 7 * kBlock));
}

TEST(Disk, AFrontMergeEntersTheQueueAtItsNewPlace) {
  RigOptions options = Depth(1);
  options.bufq = "disksort";
  DiskRig rig(options);
  rig.Send(rig.Write(0, kBlock));
  rig.Send(rig.Write(20 * kBlock, kBlock));
  rig.Send(rig.Write(15 * kBlock, kBlock));
  rig.Send({&rig.Write(18 * kBlock, kBlock), &rig.Write(19 * kBlock, kBlock)});
  rig.Send({&rig.Write(16 * kBlock, kBlock)});
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+1 w15+2 w18+3");
}

TEST(Disk, AShortRunOfABusyStreamWaitsForTheOneBeforeIt_WindowD) {
  DiskRig rig(Depth(32));
  rig.Send(Stream(rig, 0, 8));
  rig.Send(Stream(rig, 8, 1));
  rig.Send(Stream(rig, 9, 2));
  EXPECT_EQ(rig.Log(), "w0+64");
  EXPECT_EQ(rig.disk->stats().held.value(), 1u);
  rig.Tick();
  EXPECT_EQ(rig.Log(), "w0+64 w64+24");
}

TEST(Disk, NothingIsHeldAtDepthOne_Promise9) {
  DiskRig rig(Depth(32));
  rig.Send(Stream(rig, 0, 1));
  rig.Send(Stream(rig, 1, 1));
  EXPECT_EQ(rig.Log(), "w0+8 w8+8");
}

TEST(Disk, NothingIsHeldBehindFewerThanFourRequests_Promise9) {
  DiskRig rig(Depth(32));
  rig.Send(Stream(rig, 0, 1));
  rig.Send(Stream(rig, 1, 2));
  EXPECT_EQ(rig.Log(), "w0+8 w8+16");
  rig.Send(Stream(rig, 3, 1));
  EXPECT_EQ(rig.Log(), "w0+8 w8+16") << "the fourth is held";
}

TEST(Disk, NothingIsHeldWithGatheringOff) {
  RigOptions options = Depth(32);
  options.disk.gather = false;
  DiskRig rig(options);
  rig.Send(Stream(rig, 0, 8));
  rig.Send(Stream(rig, 8, 1));
  EXPECT_EQ(rig.UnderWay(), 9u);
}

TEST(Disk, AHeldRunGoesAsSoonAsItIsLong) {
  DiskRig rig(Depth(32));
  rig.Send(Stream(rig, 0, 8));
  rig.Send(Stream(rig, 8, 15));
  EXPECT_EQ(rig.UnderWay(), 1u);
  rig.Send(Stream(rig, 23, 1));
  EXPECT_EQ(rig.Log(), "w0+64 w64+128");
}

TEST(Disk, ReadsThatMeetAHeldRunAtItsFrontGoWithIt) {
  DiskRig rig(Depth(32));
  std::vector<Request*> stream;
  for (uint64_t i = 0; i < 8; ++i) stream.push_back(&rig.Read(i * kPage, kPage));
  rig.Send(stream);
  rig.Send(rig.Read(8 * kPage, kPage));
  rig.Send(rig.Read(7 * kPage, kPage));
  EXPECT_EQ(rig.Log(), "r0+64");
  rig.Tick();
  EXPECT_EQ(rig.Log(), "r0+64 r56+16");
}

TEST(Disk, WhatTheMediumRefusedGoesFirst) {
  RigOptions options;
  options.medium.full_at = 1;
  DiskRig rig(options);
  rig.Send(rig.Write(0, kBlock));
  rig.Send(rig.Write(100 * kBlock, kBlock));
  rig.Send(rig.Write(50 * kBlock, kBlock));
  EXPECT_GT(rig.medium->refused(), 0u);
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+1 w100+1 w50+1");
}

TEST(Disk, OverlappingWritesRunInOrderOfArrival_R5) {
  DiskRig rig;
  rig.Send({&rig.Write(0, 4 * kBlock, 0, 1), &rig.Write(2 * kBlock, 4 * kBlock, 0, 2),
            &rig.Write(3 * kBlock, kBlock, 0, 3)});
  EXPECT_EQ(rig.Log(), "w0+4");
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+4 w2+4 w3+1");
  EXPECT_EQ(rig.Contents(3 * kBlock, kBlock), DiskRig::Pattern(3 * kBlock, kBlock, 3));
  EXPECT_EQ(rig.Contents(4 * kBlock, 2 * kBlock), DiskRig::Pattern(4 * kBlock, 2 * kBlock, 2));
}

TEST(Disk, AStrategyIsSwappedUnderLoadAndNothingIsLost) {
  DiskRig rig(Depth(1));
  rig.Send(rig.Write(0, kBlock));
  for (const uint64_t at : {40, 10, 30, 20}) rig.Send(rig.Write(at * kBlock, kBlock));
  rig.On([&] {
    const std::unique_ptr<Bufq> old = rig.disk->SwapBufq(DiskRig::Strategy("disksort"));
    EXPECT_TRUE(old->empty());
    EXPECT_EQ(old->strategy_name(), "fcfs");
  });
  rig.Send(rig.Write(11 * kBlock, kBlock));
  EXPECT_EQ(rig.disk->strategy_name(), "disksort");
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+1 w10+2 w20+1 w30+1 w40+1");
}

TEST(Disk, AReadOnlyDiskRefusesEveryWriteWithEPERM) {
  for (bool by_option : {false, true}) {
    RigOptions options;
    options.disk.read_only = by_option;
    options.medium.limits.read_only = !by_option;
    DiskRig rig(options);
    std::vector<Request*> writes = {&rig.Write(0, kBlock), &rig.Make(Op::kTrim, 0, kBlock),
                                    &rig.Make(Op::kZero, 0, kBlock)};
    rig.Send(writes);
    for (Request* write : writes) EXPECT_EQ(write->error(), EPERM);
    EXPECT_EQ(rig.Log(), "");
  }
}

TEST(Disk, NativeFuaIsTheMediumsOwn_R2) {
  RigOptions options;
  options.medium.limits.native_fua = true;
  DiskRig rig(options);
  rig.Send(rig.Write(0, kBlock, kFua));
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+1");
  EXPECT_EQ(rig.medium->log()[0].flags, kFua);
  EXPECT_EQ(rig.medium->durable().substr(0, kBlock), DiskRig::Pattern(0, kBlock));
}

TEST(Disk, FuaWithoutTheMediumsHelpIsAnsweredAfterASharedFlush_R2) {
  DiskRig rig;
  Request& a = rig.Write(0, kBlock, kFua);
  Request& b = rig.Write(8 * kBlock, kBlock, kFua);
  rig.Send({&a, &b});
  rig.Tick();
  EXPECT_EQ(rig.Log(), "w0+1 w8+1 f");
  EXPECT_EQ(a.callbacks + b.callbacks, 0);
  rig.Tick();
  EXPECT_EQ(a.callbacks + b.callbacks, 2);
  EXPECT_EQ(rig.medium->durable().substr(0, kBlock), DiskRig::Pattern(0, kBlock));
}

TEST(Disk, FuaOnTrimAndZeroIsTheOperationAndThenAFlush_R2) {
  RigOptions options;
  options.medium.limits.native_fua = true;
  options.medium.limits.can_trim = options.medium.limits.can_zero = true;
  DiskRig rig(options);
  rig.Send({&rig.Make(Op::kTrim, 0, kBlock, kFua), &rig.Make(Op::kZero, 8 * kBlock, kBlock, kFua)});
  rig.Settle();
  EXPECT_EQ(rig.Log(), "t0+1 z8+1 f");
  for (const sim::Request& op : rig.medium->log()) EXPECT_EQ(op.flags & kFua, 0);
}

TEST(Disk, AMediumWithoutACacheIsNeverFlushed) {
  RigOptions options;
  options.medium.limits.volatile_cache = false;
  DiskRig rig(options);
  Request& flush = rig.Flush();
  rig.Send({&rig.Write(0, kBlock, kFua), &flush});
  rig.Settle();
  EXPECT_EQ(flush.error(), 0);
  EXPECT_EQ(rig.Log(), "w0+1");
}

TEST(Disk, AFlushSavesWhatWasAnsweredBeforeIt_R3) {
  DiskRig rig;
  rig.Send(Stream(rig, 0, 4));
  rig.Settle();
  EXPECT_NE(rig.medium->durable(), rig.medium->contents());
  rig.Send(rig.Flush());
  rig.Settle();
  EXPECT_EQ(rig.medium->durable(), rig.medium->contents());
}

TEST(Disk, AFlushWaitsForNothingInTheQueue) {
  DiskRig rig(Depth(1));
  rig.medium->Hold(sim::OpBit(Op::kWrite));
  rig.Send(rig.Write(0, kBlock));
  rig.Send(rig.Write(8 * kBlock, kBlock));
  Request& flush = rig.Flush();
  rig.Send(flush);
  rig.Tick();
  EXPECT_EQ(flush.callbacks, 1);
}

TEST(Disk, NothingIsGatheredAcrossAFlush_R17) {
  DiskRig rig(Depth(1));
  rig.Send(rig.Write(100 * kBlock, kBlock));
  rig.Send({&rig.Write(0, kBlock), &rig.Flush(), &rig.Write(kBlock, kBlock)});
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w100+1 f w0+1 w1+1");
  EXPECT_EQ(rig.disk->gather_stats().cut_flush.value(), 1u);
}

TEST(Disk, AdjacentTrimsAndZeroesAreGathered) {
  RigOptions options;
  options.medium.limits.can_trim = options.medium.limits.can_zero = true;
  DiskRig rig(options);
  rig.Send({&rig.Make(Op::kTrim, kBlock, kBlock), &rig.Make(Op::kZero, 3 * kBlock, kBlock),
            &rig.Make(Op::kTrim, 0, kBlock), &rig.Make(Op::kZero, 2 * kBlock, kBlock)});
  EXPECT_EQ(rig.Log(), "t0+2 z2+2");
}

TEST(Disk, AFastZeroThatCannotBeFastFailsAtOnce) {
  RigOptions options;
  options.medium.limits.can_zero = true;
  DiskRig rig(options);
  Request& zero = rig.Make(Op::kZero, 0, kBlock, kFastZero);
  rig.Send(zero);
  EXPECT_EQ(zero.error(), ENOTSUP);
  EXPECT_EQ(rig.Log(), "");
}

TEST(Disk, CountsWhatItDid) {
  DiskRig rig(Depth(32));
  rig.Send(Stream(rig, 0, 4));
  rig.Send(rig.Write(100 * kBlock, kBlock, kFua));
  rig.Send(rig.Read(0, kBlock));
  rig.Settle();
  const DiskStats& stats = rig.disk->stats();
  EXPECT_EQ(stats.requests[static_cast<int>(Op::kWrite)].value(), 5u);
  EXPECT_EQ(stats.bytes[static_cast<int>(Op::kWrite)].value(), 4 * kPage + kBlock);
  EXPECT_EQ(stats.requests[static_cast<int>(Op::kRead)].value(), 1u);
  EXPECT_EQ(stats.runs.value(), 3u);
  EXPECT_EQ(stats.carriers.value(), 1u);
  EXPECT_EQ(stats.riders.value(), 4u);
  EXPECT_EQ(stats.device_ops[static_cast<int>(Op::kWrite)].value(), 2u);
  EXPECT_EQ(rig.disk->flushes(), 1u);
  EXPECT_EQ(stats.errors.total() + stats.retried.value() + stats.continued.value(), 0u);
  for (const Stage stage : {Stage::kQueue, Stage::kDispatch, Stage::kDevice}) {
    uint64_t writes = 0;
    for (int i = 0; i < Histogram::kBuckets; ++i) {
      writes += stats.stages.by_op[static_cast<int>(Op::kWrite)][static_cast<int>(stage)].bucket(i);
    }
    EXPECT_EQ(writes, 5u) << "a stage that ended once for each write";
  }
}

}  // namespace
}  // namespace sluice
