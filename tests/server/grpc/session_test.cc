// SPDX-License-Identifier: Apache-2.0
// The law of a session.
#include "server/grpc/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/grpc/session_fixture.h"

namespace sluice::rpc {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST_F(SessionTest, AnOpIsAnsweredWhenTheDiskHasDoneIt) {
  Stream& stream = New();
  Send(stream, {Write(1, 0), Read(2, 8192)});
  EXPECT_THAT(stream.results, IsEmpty());
  EXPECT_THAT(stream.batches, IsEmpty());  // its memory is free again
  Serve();
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNone), Pair(2, Reason::kNone)));
}

TEST_F(SessionTest, ARepeatedIdIsAnsweredFromMemory) {
  Stream& stream = New();
  Send(stream, {Write(1, 0)});
  Serve(ENOSPC);
  Send(stream, {Write(1, 0)});
  EXPECT_EQ(disk_->offsets().size(), 1u);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNoSpace), Pair(1, Reason::kNoSpace)));
}

TEST_F(SessionTest, ARepeatOfARunningOpWaitsForItsResult) {
  Stream& first = New();
  Stream& second = New();
  Send(first, {Write(1, 0)});
  Send(second, {Write(1, 0)});
  EXPECT_THAT(second.results, IsEmpty());
  Serve();
  EXPECT_EQ(disk_->offsets().size(), 1u);
  EXPECT_THAT(first.results, ElementsAre(Pair(1, Reason::kNone)));
  EXPECT_THAT(second.results, ElementsAre(Pair(1, Reason::kNone)));
}

TEST_F(SessionTest, ALateWriteNeverRunsOverALaterOne) {
  Stream& stream = New();
  Send(stream, {Write(2, 0)});
  Serve();
  Send(stream, {Write(1, 0)});
  Serve();
  EXPECT_EQ(disk_->offsets().size(), 1u);
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kNone), Pair(1, Reason::kOvertaken)));
}

TEST_F(SessionTest, AReadWaitsForTheWriteBeforeIt) {
  Stream& stream = New();
  Send(stream, {Write(1, 0), Read(2, 0), Read(3, kMiB)});
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0, 0, kMiB));
  EXPECT_EQ(stream.results.size(), 3u);
}

TEST_F(SessionTest, AWriteWaitsForTheReadBeforeIt) {
  Stream& stream = New();
  Send(stream, {Read(1, 0), Write(2, 0)});
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
  Serve();
  EXPECT_EQ(disk_->offsets().size(), 2u);
}

TEST_F(SessionTest, AStreamThatLeavesDisturbsNobodyInLineForMemory) {
  std::vector<Segment> taken(4 * kMaxSegments);
  size_t count = 0;
  while (reactor_.buffers().free_bytes() > 0) {
    count += reactor_.buffers().Take(kMiB, &taken[count]);
  }
  const ClientStats& stats = *exported_->stats->Find(DoorKind::kGrpc, 0);
  Stream& waits = New();
  Stream& leaves = New();
  Send(waits, {Write(1, 0)});
  EXPECT_EQ(stats.in_line.value(), 1u);
  On([&] { session_->Detach(leaves); });
  EXPECT_EQ(stats.in_line.value(), 1u);
  On([&] {
    reactor_.buffers().Give(taken.data(), static_cast<uint16_t>(count));
    reactor_.PoolsGave();
  });
  EXPECT_EQ(stats.in_line.value(), 0u);
  EXPECT_EQ(stats.waits_pool.value(), 1u);
  Serve();
  EXPECT_THAT(waits.results, ElementsAre(Pair(1, Reason::kNone)));
}

TEST_F(SessionTest, WhatIsDoneIsCountedAndWhatIsRefusedToo) {
  Stream& stream = New();
  Send(stream, {Write(1, 0), Read(2, kMiB), Make(3, Op::kWrite, kSize, 4096)});
  const ClientStats& stats = *exported_->stats->Find(DoorKind::kGrpc, 0);
  EXPECT_EQ(stats.of(RequestKind::kWrite).requests.value(), 2u);
  EXPECT_EQ(stats.of(RequestKind::kWrite).total_ns.count(), 1u);  // the refused one
  Serve();
  EXPECT_EQ(stats.of(RequestKind::kWrite).total_ns.count(), 2u);
  EXPECT_EQ(stats.of(RequestKind::kWrite).bytes.value(), 4096u);
  EXPECT_EQ(stats.of(RequestKind::kRead).bytes.value(), 4096u);
  EXPECT_EQ(stats.errors.of(static_cast<int>(Reason::kOutOfBounds)), 1u);
  EXPECT_EQ(stats.errors.total(), 1u);
  Send(stream, {Write(4, 0)});
  End(Reason::kStaleEpoch, true, [] {});
  EXPECT_EQ(stats.dropped.value(), 1u);
}

TEST_F(SessionTest, WhatIsMalformedNeverReachesTheDisk) {
  Stream& stream = New();
  OpRequest wrong_sum = Write(9, 0);
  wrong_sum.refused = Reason::kChecksumMismatch;
  Send(stream, {Make(1, Op::kWrite, 1, 4096), Make(2, Op::kWrite, kSize, 4096),
                Make(3, Op::kWrite, ~uint64_t{0} - 4095, 4096), Make(4, Op::kRead, 0, 0),
                Make(5, Op::kRead, 0, 2 * kMiB), Make(6, Op::kFlush, 0, 512),
                Make(7, Op::kTrim, 0, 4096), Make(0, Op::kRead, 0, 4096), wrong_sum});
  EXPECT_THAT(disk_->offsets(), IsEmpty());
  EXPECT_THAT(stream.results,
              ElementsAre(Pair(1, Reason::kBadRequest), Pair(2, Reason::kOutOfBounds),
                          Pair(3, Reason::kOutOfBounds), Pair(4, Reason::kBadRequest),
                          Pair(5, Reason::kBadRequest), Pair(6, Reason::kBadRequest),
                          Pair(7, Reason::kUnsupported), Pair(0, Reason::kBadRequest),
                          Pair(9, Reason::kChecksumMismatch)));
}

TEST_F(SessionTest, AnOpRefusedForItsChecksumMayComeAgain) {
  Stream& stream = New();
  OpRequest wrong_sum = Write(1, 0);
  wrong_sum.refused = Reason::kChecksumMismatch;
  Send(stream, {wrong_sum});
  Send(stream, {Write(1, 0)});
  Serve();
  EXPECT_THAT(stream.results,
              ElementsAre(Pair(1, Reason::kChecksumMismatch), Pair(1, Reason::kNone)));
}

TEST_F(SessionTest, AReadOnlySessionWritesNothing) {
  SessionOptions options = Options();
  options.writes = false;
  Reopen(options);
  Stream& stream = New();
  Send(stream, {Write(1, 0), Make(2, Op::kZero, 0, 4096), Read(3, 0), Make(4, Op::kFlush, 0, 0)});
  Serve();
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kReadOnly), Pair(2, Reason::kReadOnly),
                                          Pair(3, Reason::kNone), Pair(4, Reason::kNone)));
}

TEST_F(SessionTest, AttachIsAnsweredWhenNothingOfTheOldStreamIsAtTheDisk) {
  Stream& old = New();
  Stream& fresh = New();
  ASSERT_TRUE(Attach(old, 1));
  Send(old, {Write(1, 0), Write(2, 4096)});
  EXPECT_FALSE(Attach(fresh, 2));
  EXPECT_EQ(old.closed, Reason::kStaleAttach);
  Serve();
  EXPECT_EQ(answer_.refused, Reason::kNone);
  EXPECT_EQ(answer_.completed_through, 2u);
  EXPECT_EQ(answer_.completed.size(), 2u);
  EXPECT_THAT(old.results, IsEmpty());  // it was closed before
}

TEST_F(SessionTest, WhatTheOldStreamHadNotBegunNeverBegins) {
  SessionOptions options = Options();
  options.running_max = 1;
  Reopen(options);
  Stream& old = New();
  Stream& fresh = New();
  ASSERT_TRUE(Attach(old, 1));
  Send(old, {Write(1, 0), Write(2, 4096)});
  Attach(fresh, 2);
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
  EXPECT_EQ(answer_.completed_through, 1u);
  Send(fresh, {Write(2, 4096)});
  Serve();
  EXPECT_THAT(fresh.results, ElementsAre(Pair(2, Reason::kNone)));
}

TEST_F(SessionTest, AnOlderAttachIsRefused) {
  Stream& fresh = New();
  Stream& old = New();
  Stream& twin = New();
  ASSERT_TRUE(Attach(fresh, 5));
  EXPECT_FALSE(Attach(old, 4));
  EXPECT_EQ(answer_.refused, Reason::kStaleAttach);
  EXPECT_TRUE(Attach(twin, 5));
  EXPECT_EQ(fresh.closed, Reason::kNone);
}

TEST_F(SessionTest, AFenceCancelsWhatIsQueuedAndWaitsForTheRest) {
  Stream& stream = New();
  ASSERT_TRUE(Attach(stream, 1));
  Send(stream, {Write(1, 0)});
  disk_->StartAll();
  Send(stream, {Write(2, 4096)});
  bool settled = false;
  End(Reason::kStaleEpoch, true, [&] { settled = true; });
  EXPECT_EQ(stream.closed, Reason::kStaleEpoch);
  EXPECT_EQ(disk_->queued(), 0u);
  EXPECT_FALSE(settled);
  disk_->EndStarted();
  Turn();
  EXPECT_TRUE(settled);
  EXPECT_THAT(stream.results, IsEmpty());
}

TEST_F(SessionTest, NothingBeginsAfterTheEnd) {
  Stream& stream = New();
  Stream& late = New();
  End(Reason::kStaleEpoch, true, [] {});
  Send(stream, {Write(1, 0)});
  EXPECT_EQ(stream.closed, Reason::kStaleEpoch);
  EXPECT_FALSE(Attach(late, 1));
  EXPECT_EQ(answer_.refused, Reason::kStaleEpoch);
  EXPECT_THAT(disk_->offsets(), IsEmpty());
}

TEST_F(SessionTest, ADrainAnswersWhatIsInFlightAndRefusesWhatIsNew) {
  Stream& stream = New();
  bool drained = false;
  Send(stream, {Write(1, 0)});
  On([&] { session_->Drain([&] { drained = true; }); });
  Send(stream, {Write(2, 4096)});
  EXPECT_FALSE(drained);
  Serve();
  EXPECT_TRUE(drained);
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kDraining), Pair(1, Reason::kNone)));
}

TEST_F(SessionTest, OpsWaitForMemoryAndAllAreServed) {  // A1
  Stream& stream = New();
  std::vector<OpRequest> ops;
  for (uint64_t i = 0; i < 16; ++i) ops.push_back(Make(i + 1, Op::kWrite, i * kMiB, kMiB));
  Send(stream, std::move(ops));
  EXPECT_LT(disk_->offsets().size(), 16u);
  EXPECT_EQ(stream.batches.size(), 1u);  // not taken: nothing more is asked of the client
  for (int i = 0; i < 4; ++i) Serve();
  EXPECT_EQ(stream.results.size(), 16u);
  EXPECT_THAT(stream.batches, IsEmpty());
}

TEST_F(SessionTest, ADeadStreamsWaitingOpsAreDropped) {
  SessionOptions options = Options();
  options.running_max = 1;
  Reopen(options);
  Stream& dead = New();
  Stream& other = New();
  Send(dead, {Write(1, 0), Write(2, 4096)});
  On([&] { session_->Detach(dead); });
  Send(other, {Write(3, 8192)});
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0, 8192));
  EXPECT_THAT(dead.results, IsEmpty());
  EXPECT_THAT(other.results, ElementsAre(Pair(3, Reason::kNone)));
}

}  // namespace
}  // namespace sluice::rpc
