// SPDX-License-Identifier: Apache-2.0
// Requests that are taken back, and a device that hangs. Blocks are 512 bytes.
#include <gtest/gtest.h>

#include <vector>

#include "storage/disk.h"
#include "tests/sim/medium_op.h"
#include "tests/storage/disk_rig.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = 512;
constexpr uint32_t kPage = 4096;

RigOptions Depth(uint32_t depth, uint64_t io_timeout_ns = 0) {
  RigOptions options;
  options.disk.depth = depth;
  options.disk.io_timeout_ns = io_timeout_ns;
  return options;
}

// --- cancel, by where the request is ---

TEST(DiskCancel, InTheGuardItIsTakenOutAndThoseBehindItGoOn) {
  DiskRig rig(Depth(32));
  Request& first = rig.Write(0, 4 * kBlock, 0, 1);
  Request& second = rig.Write(2 * kBlock, 4 * kBlock, 0, 2);
  Request& third = rig.Write(5 * kBlock, kBlock, 0, 3);  // touches only the second
  rig.Send({&first, &second, &third});
  EXPECT_EQ(second.bio().where, Where::kWaiting);
  rig.Cancel(second);
  EXPECT_EQ(second.error(), ECANCELED);
  EXPECT_EQ(rig.Log(), "w0+4 w5+1");
}

TEST(DiskCancel, BeforeItWasGatheredItIsTakenOut) {
  DiskRig rig;
  Request& write = rig.Write(0, kBlock);
  rig.On([&] {
    Submit(write.bio());
    EXPECT_EQ(write.bio().where, Where::kGather);
    rig.disk->Cancel(write.bio());
  });
  EXPECT_EQ(write.error(), ECANCELED);
  EXPECT_EQ(rig.Log(), "");
}

TEST(DiskCancel, InTheQueueItIsTakenOut) {
  for (const uint8_t flags : {uint8_t{0}, uint8_t{kNoGather}}) {
    DiskRig rig(Depth(1));
    rig.Send(rig.Write(0, kBlock));
    Request& write = rig.Write(8 * kBlock, kBlock, flags);
    rig.Send(write);
    rig.Cancel(write);
    EXPECT_EQ(write.error(), ECANCELED);
    rig.Settle();
    EXPECT_EQ(rig.Log(), "w0+1");
  }
}

TEST(DiskCancel, ARiderLeavesItsCarrierAndTheOthersGoOn_R16) {
  DiskRig rig(Depth(1));
  rig.Send(rig.Write(0, kBlock));
  std::vector<Request*> riders;
  for (uint64_t i = 0; i < 8; ++i) riders.push_back(&rig.Write((8 + i) * kBlock, kBlock));
  rig.Send(riders);
  EXPECT_EQ(riders[3]->bio().where, Where::kRider);
  rig.Cancel(*riders[3]);
  EXPECT_EQ(riders[3]->error(), ECANCELED);
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+1 w8+3 w12+4");
  for (size_t i = 0; i < riders.size(); ++i) EXPECT_EQ(riders[i]->error(), i == 3 ? ECANCELED : 0);
}

TEST(DiskCancel, ARiderBehindAFlushLeavesItsCarrierAndTheOthersCrossNoFlush_R17) {
  DiskRig rig(Depth(1));
  rig.Send(rig.Write(0, kBlock));
  std::vector<Request*> riders;
  for (uint64_t i = 0; i < 3; ++i) riders.push_back(&rig.Write((8 + i) * kBlock, kBlock));
  rig.Send(riders);
  rig.medium->Hold();
  rig.Send(rig.Flush());
  rig.Cancel(*riders[0]);
  EXPECT_EQ(riders[0]->error(), ECANCELED);
  rig.Send({&rig.Write(11 * kBlock, kBlock)});
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(rig.Log(), "w0+1 f w9+1 w10+1 w11+1");
}

TEST(DiskCancel, ARiderOfAHeldRunLeavesIt) {
  DiskRig rig(Depth(32));
  std::vector<Request*> stream;
  for (uint64_t i = 0; i < 8; ++i) stream.push_back(&rig.Write(i * kPage, kPage));
  rig.Send(stream);
  Request& stays = rig.Write(8 * kPage, kPage);
  Request& leaves = rig.Write(9 * kPage, kPage);
  rig.Send({&stays, &leaves});
  ASSERT_EQ(rig.disk->stats().held.value(), 1u);
  rig.Cancel(leaves);
  EXPECT_EQ(leaves.error(), ECANCELED);
  rig.Settle();
  EXPECT_EQ(stays.error(), 0);
  EXPECT_EQ(rig.Log(), "w0+64 w64+8");
}

TEST(DiskCancel, ARiderHeldBehindATransferThatCannotGoOnLeavesIt_R16) {
  RigOptions options = Depth(32);
  options.medium.full_at = 2;
  DiskRig rig(options);
  rig.medium->AddFault({.offset = 0, .length = kBlock, .error = 0, .short_bytes = kPage});
  rig.medium->Hold(sim::OpBit(Op::kRead));
  rig.Send(rig.Write(0, 2 * kPage));
  rig.Send(rig.Read(100 * kPage, kBlock));
  sim::MediumOp other(Op::kRead, 0, kBlock);  // somebody else's, which makes the medium full
  rig.medium->Pump();
  EXPECT_EQ(other.StartOn(*rig.medium), Started::kPending);
  rig.Turn();
  std::vector<Request*> seven;
  for (uint64_t i = 2; i < 9; ++i) seven.push_back(&rig.Write(i * kPage, kPage));
  rig.Send(seven);
  ASSERT_EQ(rig.disk->stats().held.value(), 1u);
  rig.Cancel(*seven[6]);
  EXPECT_EQ(seven[6]->error(), ECANCELED);
  rig.medium->Release();
  rig.Settle();
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(seven[i]->error(), 0);
}

TEST(DiskCancel, AtTheDeviceItEndsThere_R18) {
  DiskRig rig;
  Request& write = rig.Write(0, kBlock);
  rig.Send(write);
  rig.Cancel(write);
  EXPECT_EQ(write.releases, 0) << "the kernel still has its memory";
  rig.Settle();
  EXPECT_EQ(write.error(), 0);
}

TEST(DiskCancel, WhatTheMediumRefusedEndsAtTheDevice) {
  RigOptions options;
  options.medium.full_at = 1;
  DiskRig rig(options);
  rig.Send(rig.Write(0, kBlock));
  Request& refused = rig.Write(8 * kBlock, kBlock);
  rig.Send(refused);
  rig.Cancel(refused);
  rig.Settle();
  EXPECT_EQ(refused.callbacks, 1);
}

TEST(DiskCancel, AnAbandonedRequestRunsNoCallbackAndIsReleasedOnce_R18) {
  DiskRig rig(Depth(1));
  Request& at_device = rig.Write(0, kBlock);
  Request& queued = rig.Write(8 * kBlock, kBlock);
  Request& guarded = rig.Write(0, kBlock);
  rig.Send({&at_device, &queued, &guarded});
  for (Request* request : {&guarded, &queued, &at_device}) rig.Abandon(*request);
  EXPECT_EQ(queued.releases + guarded.releases, 2);
  EXPECT_EQ(at_device.releases, 0);
  rig.Settle();
  EXPECT_EQ(at_device.releases, 1);
  EXPECT_EQ(at_device.callbacks + queued.callbacks + guarded.callbacks, 0);
  EXPECT_EQ(rig.Log(), "w0+1") << "a ghost reached the drive (promise 6)";
}

// --- a device that hangs ---

constexpr uint64_t kTimeout = 4 * kSecond;

TEST(DiskTimeout, ARequestThatHangsIsAnsweredButItsMemoryStays_R15) {
  DiskRig rig(Depth(32, kTimeout));
  rig.medium->Hold();
  Request& hung = rig.Write(0, kBlock);
  rig.Send(hung);
  rig.Wait(kTimeout - kSecond);
  EXPECT_EQ(hung.callbacks, 0);
  rig.Wait(3 * kSecond);
  EXPECT_EQ(hung.callbacks, 1);
  EXPECT_EQ(hung.error(), EIO);
  EXPECT_EQ(hung.releases, 0);
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(hung.releases, 1);
  EXPECT_EQ(hung.callbacks, 1);
}

TEST(DiskTimeout, ADiskThatAnswersInTimeIsLeftAlone) {
  DiskRig rig(Depth(32, kTimeout));
  for (int i = 0; i < 20; ++i) {
    Request& write = rig.Write(0, kBlock);
    rig.Send(write);
    rig.Wait(kTimeout / 2);
    rig.Settle();
    EXPECT_EQ(write.error(), 0);
  }
}

TEST(DiskTimeout, WhenEveryOperationHangsWhatWaitsFailsToo_R15) {
  DiskRig rig(Depth(2, kTimeout));
  rig.medium->Hold();
  std::vector<Request*> all = {&rig.Write(0, kBlock), &rig.Write(8 * kBlock, kBlock)};
  rig.Send(all);
  for (const uint64_t at : {0, 16, 17, 30}) all.push_back(&rig.Write(at * kBlock, kBlock));
  all.push_back(&rig.Flush());
  rig.Send({all.begin() + 2, all.end()});
  rig.Wait(kTimeout + 2 * kSecond);
  for (Request* request : all) {
    EXPECT_EQ(request->callbacks, 1);
    EXPECT_EQ(request->error(), EIO);
  }
  EXPECT_EQ(all[0]->releases + all[1]->releases, 0);
  EXPECT_EQ(rig.medium->Count(Op::kWrite), 2u);
  Request& later = rig.Write(40 * kBlock, kBlock);
  rig.Send(later);
  rig.Wait(2 * kSecond);
  EXPECT_EQ(later.error(), EIO) << "a disk that hangs answers later requests soon";
  Request& flush = rig.Flush();
  rig.Send(flush);
  EXPECT_EQ(flush.error(), EIO) << "and a flush at once";
}

TEST(DiskTimeout, WhileAnOperationWorksOnlyWhatWaitsForTheHungOneFails_R15) {
  DiskRig rig(Depth(2, kTimeout));
  rig.medium->Hold(sim::OpBit(Op::kWrite));
  Request& hung = rig.Write(0, kBlock);
  Request& behind = rig.Write(0, kBlock);
  rig.Send({&hung, &behind});
  for (int i = 0; i < 6; ++i) {
    Request& read = rig.Read(8 * kBlock, kBlock);
    rig.Send(read);
    rig.Wait(kSecond);
    rig.Tick();
    EXPECT_EQ(read.error(), 0);
  }
  EXPECT_EQ(hung.error(), EIO);
  EXPECT_EQ(behind.error(), EIO);
}

TEST(DiskTimeout, ARunHeldForAHungOneIsSent_Promise9) {
  DiskRig rig(Depth(32, kTimeout));
  std::vector<Request*> stream;
  for (uint64_t i = 0; i < 8; ++i) stream.push_back(&rig.Write(i * kPage, kPage));
  rig.Send(stream);
  rig.Send(rig.Write(8 * kPage, kPage));
  EXPECT_EQ(rig.UnderWay(), 1u);
  rig.medium->Hold();
  rig.Wait(kTimeout + 2 * kSecond);
  EXPECT_EQ(rig.UnderWay(), 2u);
}

TEST(DiskTimeout, NothingIsSentAgainForARequestThatWasAnswered_R15) {
  DiskRig rig(Depth(32, kTimeout));
  rig.medium->AddFault({.times = 1});
  rig.medium->AddFault({.error = 0, .short_bytes = kBlock, .times = 1});
  rig.medium->Hold();
  rig.Send({&rig.Write(0, kBlock), &rig.Write(kBlock, kBlock)});  // a carrier that will fail
  rig.Send(rig.Write(8 * kBlock, 4 * kBlock));                    // one that will be short
  rig.Wait(kTimeout + 2 * kSecond);
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(rig.medium->Count(Op::kWrite), 2u);
  for (const auto& request : rig.requests) {
    EXPECT_EQ(request->error(), EIO);
    EXPECT_EQ(request->callbacks, 1);
  }
}

// What the counters say before the medium gave anything back, and after.
void ExpectTimedOut(DiskRig& rig, uint64_t requests) {
  rig.Wait(kTimeout + 2 * kSecond);
  const ErrorCounts& errors = rig.disk->stats().errors;
  EXPECT_EQ(errors.of(ETIMEDOUT), requests);
  EXPECT_EQ(errors.total(), requests);
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(errors.of(ETIMEDOUT), requests);
  EXPECT_EQ(errors.total(), requests);
}

TEST(DiskTimeout, EachRequestThatHangsIsOneError) {
  DiskRig rig(Depth(32, kTimeout));
  rig.medium->Hold();
  rig.Send({&rig.Write(0, kBlock), &rig.Write(kBlock, kBlock)});  // a carrier
  rig.Send(rig.Write(8 * kBlock, kBlock));
  rig.Send(rig.Flush());
  ASSERT_EQ(rig.UnderWay(), 3u);
  ExpectTimedOut(rig, 4);
}

TEST(DiskTimeout, ARequestThatHangsInTheSlowPathIsOneError) {
  RigOptions options = Depth(32, kTimeout);
  options.medium.limits.block = options.medium.limits.physical_block = kPage;
  DiskRig rig(options);
  rig.medium->Hold();
  rig.Send(rig.Write(0, kBlock));
  ExpectTimedOut(rig, 1);
}

TEST(DiskTimeout, AFlushThatHangsHasFailedForGood_R6) {
  DiskRig rig(Depth(32, kTimeout));
  rig.medium->Hold(sim::OpBit(Op::kFlush));
  Request& hung = rig.Flush();
  Request& fua = rig.Write(0, kBlock, kFua);
  rig.Send(hung);
  rig.Send(fua);
  rig.Tick();
  rig.Wait(kTimeout + 2 * kSecond);
  EXPECT_EQ(hung.error(), EIO);
  EXPECT_EQ(fua.error(), EIO);
  Request& later = rig.Flush();
  rig.Send(later);
  EXPECT_EQ(later.error(), EIO);
  rig.medium->Release();
  rig.Settle();
  EXPECT_TRUE(rig.disk->failed());
  EXPECT_EQ(rig.medium->Count(Op::kFlush), 1u);
}

TEST(DiskTimeout, ASlowPathThatHangsFailsThoseBehindIt_R15) {
  RigOptions options = Depth(32, kTimeout);
  options.medium.limits.block = options.medium.limits.physical_block = kPage;
  DiskRig rig(options);
  rig.medium->Hold();
  Request& hung = rig.Write(0, kBlock);
  Request& same_block = rig.Write(kBlock, kBlock, kFua);
  Request& behind = rig.Write(kPage, kBlock);
  rig.Send({&hung, &same_block, &behind});
  rig.Wait(kTimeout + 2 * kSecond);
  for (Request* request : {&hung, &same_block, &behind}) {
    EXPECT_EQ(request->error(), EIO);
    EXPECT_EQ(request->callbacks, 1);
  }
  EXPECT_EQ(hung.releases, 0);
  rig.medium->Release();
  rig.Settle();
  EXPECT_EQ(rig.medium->Count(Op::kWrite), 0u) << "a ghost";
}

TEST(DiskTimeout, AHungFlushThatFillsTheMediumFailsWhatItRefused_R15) {
  RigOptions options = Depth(32, kTimeout);
  options.medium.full_at = 1;
  DiskRig rig(options);
  rig.medium->Hold();
  rig.Send(rig.Flush());
  Request& refused = rig.Write(8 * kBlock, kBlock);
  rig.Send(refused);
  rig.Wait(kTimeout + 2 * kSecond);
  EXPECT_EQ(refused.error(), EIO);
}

TEST(DiskTimeout, AHungMediumThatIsFullFailsWhatItRefused_R15) {
  RigOptions options = Depth(32, kTimeout);
  options.medium.full_at = 1;
  DiskRig rig(options);
  rig.medium->Hold();
  Request& hung = rig.Write(0, kBlock);
  Request& refused = rig.Write(8 * kBlock, kBlock);
  Request& queued = rig.Write(16 * kBlock, kBlock);
  rig.Send({&hung, &refused, &queued});
  rig.Wait(kTimeout + 2 * kSecond);
  for (Request* request : {&hung, &refused, &queued}) EXPECT_EQ(request->error(), EIO);
}

}  // namespace
}  // namespace sluice
