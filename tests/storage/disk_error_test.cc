// SPDX-License-Identifier: Apache-2.0
// A disk's way back: short and failed transfers, and who is told of them. Blocks are 512 bytes.
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "storage/disk.h"
#include "storage/medium_memory.h"
#include "tests/sim/medium_op.h"
#include "tests/storage/disk_rig.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = 512;
constexpr uint32_t kPage = 4096;

std::vector<Request*> Blocks(DiskRig& rig, uint64_t first, int count, uint8_t flags = 0) {
  std::vector<Request*> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(&rig.Write((first + static_cast<uint64_t>(i)) * kBlock, kBlock, flags));
  }
  return all;
}

TEST(DiskError, OfACarrierOf32WithABadBlock31SucceedAndOneFails_R16) {
  DiskRig rig;
  rig.medium->AddFault({.offset = 17 * kBlock, .length = kBlock});
  const std::vector<Request*> riders = Blocks(rig, 0, 32);
  rig.Send(riders);
  EXPECT_EQ(rig.Log(), "w0+32");
  rig.Settle();
  for (size_t i = 0; i < riders.size(); ++i) {
    EXPECT_EQ(riders[i]->error(), i == 17 ? EIO : 0) << i;
    EXPECT_EQ(riders[i]->callbacks, 1) << i;
    if (i == 17) continue;
    EXPECT_EQ(rig.Contents(i * kBlock, kBlock), DiskRig::Pattern(i * kBlock, kBlock)) << i;
  }
  EXPECT_EQ(rig.disk->stats().retried.value(), 32u);
  EXPECT_EQ(rig.disk->stats().runs.value(), 1u) << "what is sent again is no new run";
  EXPECT_EQ(rig.medium->Count(Op::kWrite), 33u) << "once singly, not again";
}

TEST(DiskError, AShortCarrierIsSentAgainRiderByRider_R16) {
  DiskRig rig;
  rig.medium->AddFault({.error = 0, .short_bytes = 3 * kBlock, .times = 1});
  const std::vector<Request*> riders = Blocks(rig, 0, 8);
  rig.Send(riders);
  rig.Settle();
  for (Request* rider : riders) EXPECT_EQ(rider->error(), 0);
  EXPECT_EQ(rig.Contents(0, 8 * kBlock), DiskRig::Pattern(0, 8 * kBlock));
}

TEST(DiskError, AShortCarrierOfReadsGivesEachRiderItsBytes_R16) {
  RigOptions options;
  options.image = DiskRig::Pattern(0, 8 * kBlock);
  DiskRig rig(options);
  rig.medium->AddFault({.error = 0, .short_bytes = kBlock, .times = 1});
  std::vector<Request*> reads;
  for (uint64_t i = 0; i < 8; ++i) reads.push_back(&rig.Read(i * kBlock, kBlock));
  rig.Send(reads);
  rig.Settle();
  for (uint64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(std::string(reads[i]->memory.data(), kBlock), DiskRig::Pattern(i * kBlock, kBlock));
  }
}

TEST(DiskError, AShortTransferIsContinuedWhereItEnded_R8) {
  for (const uint32_t immediate : {0u, 1000u}) {
    RigOptions options;
    options.medium.immediate_per_mille = immediate;
    DiskRig rig(options);
    rig.medium->AddFault({.error = 0, .short_bytes = kBlock + 100});  // 100: of a block begun
    Request& write = rig.Write(0, 8 * kBlock);
    write.Cut({kBlock, 2 * kBlock, kBlock, 4 * kBlock});
    write.Fill(1);
    rig.Send(write);
    rig.Settle();
    EXPECT_EQ(write.error(), 0);
    EXPECT_EQ(rig.Contents(0, 8 * kBlock), DiskRig::Pattern(0, 8 * kBlock));
    EXPECT_EQ(rig.disk->stats().continued.value(), 7u);
    EXPECT_EQ(rig.disk->stats().runs.value(), 1u);
  }
}

TEST(DiskError, ATransferThatComesToNothingFails_R8) {
  DiskRig rig;
  rig.medium->AddFault({.error = 0, .short_bytes = 0});
  Request& read = rig.Read(0, kBlock);
  rig.Send(read);
  rig.Settle();
  EXPECT_EQ(read.error(), EIO);
  EXPECT_EQ(rig.medium->Count(Op::kRead), 1u);
}

TEST(DiskError, TransientErrorsAreTriedAgainAFewTimes_R8) {
  for (const int error : {EAGAIN, EINTR}) {
    DiskRig rig;
    rig.medium->AddFault({.error = error, .times = 3});
    Request& fine = rig.Write(0, kBlock);
    rig.Send(fine);
    rig.Settle();
    EXPECT_EQ(fine.error(), 0);
    rig.medium->AddFault({.error = error});
    Request& bad = rig.Write(0, kBlock);
    rig.Send(bad);
    rig.Settle();
    EXPECT_EQ(bad.error(), EIO);
    EXPECT_EQ(rig.medium->Count(Op::kWrite), 8u);
  }
}

TEST(DiskError, AContinuedTransferThatTheMediumRefusesGoesOnLater_R8) {
  RigOptions options;
  options.medium.full_at = 2;
  DiskRig rig(options);
  rig.medium->AddFault({.offset = 0, .length = kBlock, .error = 0, .short_bytes = kBlock});
  rig.medium->Hold(sim::OpBit(Op::kRead));
  Request& write = rig.Write(0, 4 * kBlock);
  rig.Send(write);
  rig.Send(rig.Read(100 * kBlock, kBlock));
  sim::MediumOp other(Op::kRead, 0, kBlock);  // somebody else's, which makes the medium full
  rig.medium->Pump();
  EXPECT_EQ(other.StartOn(*rig.medium), Started::kPending);
  rig.Turn();
  EXPECT_EQ(rig.medium->Count(Op::kWrite), 1u);
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(write.error(), 0);
  EXPECT_EQ(rig.Contents(0, 4 * kBlock), DiskRig::Pattern(0, 4 * kBlock));
}

TEST(DiskError, ENOSPCFailsTheOneWriteAndNoOther_R21) {
  DiskRig rig;
  rig.medium->AddFault({.offset = 2 * kBlock, .length = kBlock, .error = ENOSPC});
  const std::vector<Request*> riders = Blocks(rig, 0, 4);
  rig.Send(riders);
  rig.Settle();
  for (size_t i = 0; i < riders.size(); ++i) EXPECT_EQ(riders[i]->error(), i == 2 ? ENOSPC : 0);
}

TEST(DiskError, AFailedFlushIsNeverRetriedIntoSuccess_R6) {
  DiskRig rig;
  rig.Send(rig.Write(0, kBlock));
  rig.Settle();
  rig.medium->AddFault({.ops = sim::OpBit(Op::kFlush), .times = 1});
  Request& first = rig.Flush();
  rig.Send(first);
  rig.Settle();
  EXPECT_EQ(first.error(), EIO);
  Request& second = rig.Flush();
  Request& fua = rig.Write(0, kBlock, kFua);
  Request& plain = rig.Write(kPage, kBlock);
  rig.Send({&second, &fua, &plain});
  rig.Settle();
  EXPECT_EQ(second.error(), EIO);
  EXPECT_EQ(fua.error(), EIO);
  EXPECT_EQ(plain.error(), 0) << "what asks for no stability still works";
  EXPECT_EQ(rig.medium->Count(Op::kFlush), 1u) << "asked again";
  EXPECT_TRUE(rig.disk->failed());
}

TEST(DiskError, WithoutAPageCacheAFailedFuaWriteIsNoFailedFlush_R6) {
  RigOptions options;
  options.medium.limits.native_fua = true;
  DiskRig rig(options);
  rig.medium->AddFault({.times = 1});
  Request& fua = rig.Write(0, kBlock, kFua);
  rig.Send(fua);
  rig.Settle();
  Request& flush = rig.Flush();
  rig.Send(flush);
  rig.Settle();
  EXPECT_EQ(fua.error(), EIO);
  EXPECT_EQ(flush.error(), 0);
}

TEST(DiskError, OnAPageCacheAFailedFuaWriteIsAFailedFlush_Promise2) {
  for (const int riders : {1, 4}) {
    RigOptions options;
    options.medium.limits.native_fua = options.medium.limits.page_cache = true;
    DiskRig rig(options);
    rig.medium->AddFault({.times = 1});  // a carrier's riders succeed when they are sent again
    const std::vector<Request*> writes = Blocks(rig, 0, riders, kFua);
    rig.Send(writes);
    rig.Settle();
    EXPECT_TRUE(rig.disk->failed());
    for (Request* write : writes) EXPECT_EQ(write->error(), EIO);
    Request& flush = rig.Flush();
    rig.Send(flush);
    rig.Settle();
    EXPECT_EQ(flush.error(), EIO);
    EXPECT_EQ(rig.medium->Count(Op::kFlush), 0u);
  }
}

TEST(DiskError, AFuaZeroThatTheMediumCannotDoIsNoFailedFlush_Promise2) {
  RigOptions options;
  options.medium.limits.page_cache = options.medium.limits.can_zero = true;
  DiskRig rig(options);
  rig.medium->AddFault({.ops = sim::OpBit(Op::kZero), .error = EOPNOTSUPP});
  Request& zero = rig.Make(Op::kZero, 0, kBlock, kFua);
  rig.Send(zero);
  rig.Settle();
  EXPECT_EQ(zero.error(), 0);
  EXPECT_FALSE(rig.disk->failed());
  EXPECT_EQ(rig.Log(), "z0+1 z0+1 w0+1 f");
}

TEST(DiskError, AFuaWriteUnderWayWhenAFlushFailsFailsToo_R6) {
  RigOptions options;
  options.medium.limits.native_fua = true;
  DiskRig rig(options);
  rig.medium->AddFault({.ops = sim::OpBit(Op::kFlush)});
  rig.medium->Hold(sim::OpBit(Op::kWrite));
  Request& fua = rig.Write(0, kBlock, kFua);
  rig.Send({&fua, &rig.Flush()});
  rig.Tick();
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(fua.error(), EIO);
}

TEST(DiskError, ATrimThatTheMediumCannotDoIsAnIgnoredHint) {
  DiskRig rig;  // cannot trim
  Request& ignored = rig.Make(Op::kTrim, 0, kBlock);
  rig.Send(ignored);
  rig.Settle();
  EXPECT_EQ(ignored.error(), 0);
  EXPECT_EQ(rig.Log(), "");
  RigOptions options;
  options.medium.limits.can_trim = true;
  DiskRig late(options);
  late.medium->AddFault({.error = EOPNOTSUPP});
  Request& refused = late.Make(Op::kTrim, 0, kBlock);
  late.Send(refused);
  late.Settle();
  EXPECT_EQ(refused.error(), 0);
}

TEST(DiskError, AZeroThatTheMediumCannotDoIsWritten_R22) {
  RigOptions options;
  options.image = std::string(64 * kBlock, 'x');
  options.medium.limits.can_zero = true;
  DiskRig rig(options);
  rig.medium->AddFault({.ops = sim::OpBit(Op::kZero), .error = EOPNOTSUPP});
  Request& zero = rig.Make(Op::kZero, 8 * kBlock, 16 * kBlock);
  rig.Send({&zero, &rig.Make(Op::kZero, 24 * kBlock, 8 * kBlock)});
  rig.Settle();
  EXPECT_EQ(zero.error(), 0);
  EXPECT_EQ(rig.Contents(7 * kBlock, kBlock), std::string(kBlock, 'x'));
  EXPECT_EQ(rig.Contents(8 * kBlock, 24 * kBlock), std::string(24 * kBlock, '\0'));
  EXPECT_EQ(rig.Contents(32 * kBlock, kBlock), std::string(kBlock, 'x'));
}

// Refuses the first few starts, with nothing under way.
class Refusing final : public Medium {
 public:
  Refusing(std::unique_ptr<Medium> below, int times) : below_(std::move(below)), times_(times) {}
  const MediumLimits& limits() const noexcept override { return below_->limits(); }
  void Attach(uint16_t reactor) noexcept override { below_->Attach(reactor); }
  Started Start(MediumIo& io) noexcept override {
    return times_-- > 0 ? Started::kFull : below_->Start(io);
  }
  void QueryExtents(ExtentQuery& query) noexcept override { below_->QueryExtents(query); }

 private:
  std::unique_ptr<Medium> below_;
  int times_;
};

TEST(DiskError, ARefusalWithNothingUnderWayIsTriedAgainNextTurn_Promise9) {
  for (const Op op : {Op::kWrite, Op::kFlush, Op::kZero}) {
    RigOptions options;
    options.wrap = [](std::unique_ptr<Medium> below) {
      return std::make_unique<Refusing>(std::move(below), 3);
    };
    DiskRig rig(options);
    rig.Send(rig.Make(op, 0, op == Op::kFlush ? 0 : kBlock));  // a zero goes the slow way here
    EXPECT_EQ(rig.UnderWay(), 1u) << OpName(op);
  }
}

// A medium that ends everything at once: nothing may wait for a completion that never comes.
TEST(DiskError, AMediumThatEndsAtOnceStrandsNothing_Promise9) {
  RigOptions options;
  options.medium.immediate_per_mille = 1000;
  options.medium.limits.block = options.medium.limits.physical_block = kPage;
  options.medium.short_per_mille = 500;
  DiskRig rig(options);
  std::vector<Request*> all;
  for (uint64_t i = 0; i < 64; ++i) {
    all.push_back(&rig.Write((i * 5 % 64) * 3 * kBlock, 9 * kBlock, i % 3 == 0 ? kFua : 0));
    all.push_back(&rig.Make(Op::kZero, (i * 7 % 64) * kBlock, 20 * kBlock));
    if (i % 8 == 0) all.push_back(&rig.Flush());
  }
  rig.Send(all);
  EXPECT_EQ(rig.UnderWay(), 0u);
  for (Request* request : all) EXPECT_EQ(request->callbacks, 1);
}

TEST(DiskError, ALentReadIsThePagesOfTheMediumAndIsNeverGathered) {
  std::unique_ptr<Medium> unused;
  RigOptions options;
  options.wrap = [&](std::unique_ptr<Medium> below) -> std::unique_ptr<Medium> {
    unused = std::move(below);
    return *MemoryMedium::Create({.size = kMiB});
  };
  DiskRig rig(options);
  EXPECT_GE(rig.disk->limits().lend_bytes_max, kPage);
  rig.Send(rig.Write(0, 2 * kPage));
  std::vector<Request*> reads = {&rig.Read(0, kPage, kBorrow), &rig.Read(kPage, kPage, kBorrow)};
  for (Request* read : reads) {
    read->bio().segs = nullptr;
    read->bio().seg_count = 0;
  }
  rig.Send(reads);
  EXPECT_EQ(rig.disk->stats().device_ops[static_cast<int>(Op::kRead)].value(), 2u);
  for (Request* read : reads) {
    Bio& bio = read->bio();
    ASSERT_NE(bio.flags & kLent, 0);
    std::string bytes(kPage, '\0');
    CopyFromBio(bio, 0, bytes.data(), kPage);
    EXPECT_EQ(bytes, DiskRig::Pattern(bio.offset, kPage));
    rig.On([&] { ReturnLoan(bio); });
  }
}

TEST(DiskError, AMediumOfLargeBlocksLendsNothing) {
  std::unique_ptr<Medium> unused;
  RigOptions options;
  options.wrap = [&](std::unique_ptr<Medium> below) -> std::unique_ptr<Medium> {
    unused = std::move(below);
    return *MemoryMedium::Create({.size = kMiB, .block = kPage});
  };
  EXPECT_EQ(DiskRig(options).disk->limits().lend_bytes_max, 0u)
      << "a borrowed read of 512 bytes could not be served";
}

}  // namespace
}  // namespace sluice
