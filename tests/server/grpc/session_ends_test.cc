// SPDX-License-Identifier: Apache-2.0
// Ops that end before their time -- cancelled, or their time is up -- and exports that change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/grpc/session_fixture.h"

namespace sluice::rpc {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class SessionEndsTest : public SessionTest {
 protected:
  OpRequest Timed(OpRequest op, uint32_t timeout_ms) {
    op.timeout_ms = timeout_ms;
    return op;
  }
  void Advance(uint64_t ms) {
    clock_.Advance(ms * kMillisecond);
    Turn();
  }
  // One op is at the disk, what comes later waits in the session.
  void AllowOne() {
    SessionOptions options = Options();
    options.running_max = 1;
    Reopen(options);
  }
  void Cancel(Stream& stream, uint64_t op_id) {
    On([&, op_id] { session_->Cancel(stream, std::span(&op_id, 1)); });
  }
};

TEST_F(SessionEndsTest, ACancelDropsWhatHasNotBegunAndAnswersAtOnce) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Write(1, 0), Write(2, 4096)});
  Cancel(stream, 2);
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kCancelled)));
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kCancelled), Pair(1, Reason::kNone)));
}

TEST_F(SessionEndsTest, ACancelledOpThatComesAgainIsAnsweredFromMemory) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Write(1, 0), Write(2, 4096)});
  Cancel(stream, 2);
  Serve();
  Send(stream, {Write(2, 4096)});
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
  EXPECT_THAT(stream.results.back(), Pair(2, Reason::kCancelled));
}

TEST_F(SessionEndsTest, AnEarlierOpRunsThoughALaterOneOnItsBytesWasCancelled) {
  Stream& stream = New();
  Send(stream, {Write(2, 0)});
  Cancel(stream, 2);
  Send(stream, {Write(1, 0)});
  Serve();
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kCancelled), Pair(1, Reason::kNone)));
}

// What waits once more may have begun when it came first: nobody is told that it never did.

TEST_F(SessionEndsTest, ACancelledRepeatOfARunningOpHasAnUnknownOutcome) {
  AllowOne();
  Stream& first = New();
  Stream& second = New();
  Send(first, {Write(1, 0)});
  Send(second, {Write(1, 0)});
  Cancel(second, 1);
  EXPECT_THAT(second.results, ElementsAre(Pair(1, Reason::kDiskTimeout)));
  Serve();
  EXPECT_THAT(first.results, ElementsAre(Pair(1, Reason::kNone)));
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
}

TEST_F(SessionEndsTest, ACancelledRepeatOfADoneOpIsAnsweredFromMemory) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Write(1, 0)});
  Serve(ENOSPC);
  Send(stream, {Write(2, 4096), Write(1, 0)});
  Cancel(stream, 1);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNoSpace), Pair(1, Reason::kNoSpace)));
}

TEST_F(SessionEndsTest, ACancelledRepeatOfAForgottenOpIsToldThatItIsForgotten) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Write(1, 0)});
  Serve();
  On([&] { session_->Acknowledge(1); });
  Send(stream, {Write(2, 4096), Write(1, 0)});
  Cancel(stream, 1);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNone), Pair(1, Reason::kOutOfWindow)));
}

TEST_F(SessionEndsTest, ACancelledReadThatWasDoneBeforeMayComeAgain) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Read(1, 0)});
  Serve();
  Send(stream, {Write(2, 4096), Read(1, 0)});
  Cancel(stream, 1);
  EXPECT_THAT(stream.results.back(), Pair(1, Reason::kCancelled));
  Serve();
  Send(stream, {Read(1, 0)});
  Serve();
  EXPECT_THAT(stream.results.back(), Pair(1, Reason::kNone));
}

TEST_F(SessionEndsTest, AReadOfTheDoorsOwnIsDroppedAndNotRemembered) {
  AllowOne();
  Stream& stream = New();
  OpRequest own = Timed(Read(0, 4096), 100);
  own.unnumbered = true;
  Send(stream, {Write(1, 0), own});
  Advance(100);
  EXPECT_THAT(stream.results, ElementsAre(Pair(0, Reason::kCancelled)));
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
}

TEST_F(SessionEndsTest, AMalformedOpThatIsCancelledIsNotRemembered) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Write(1, 0), Write(2, 1)});  // not aligned
  Cancel(stream, 2);
  Serve();
  Send(stream, {Write(2, 4096)});
  Serve();
  EXPECT_THAT(stream.results.back(), Pair(2, Reason::kNone));
}

TEST_F(SessionEndsTest, ACancelTakesBackWhatIsQueuedBelow) {
  Stream& stream = New();
  Send(stream, {Write(1, 0)});
  ASSERT_EQ(disk_->queued(), 1u);
  Cancel(stream, 1);
  EXPECT_EQ(disk_->queued(), 0u);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kCancelled)));
}

TEST_F(SessionEndsTest, ACancelOfWhatIsAtTheDeviceChangesNothing) {
  Stream& stream = New();
  Send(stream, {Write(1, 0)});
  disk_->StartAll();
  Cancel(stream, 1);
  EXPECT_THAT(stream.results, IsEmpty());
  Serve();
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNone)));
}

TEST_F(SessionEndsTest, ACancelOfManyDropsThemAndNoOthers) {
  Stream& stream = New();
  std::vector<OpRequest> ops;
  for (uint64_t id = 1; id <= 8; ++id) ops.push_back(Write(id, id * 4096));
  Send(stream, ops);
  On([&] { session_->Cancel(stream, std::vector<uint64_t>{2, 3, 7, 99}); });
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kCancelled), Pair(3, Reason::kCancelled),
                                          Pair(7, Reason::kCancelled)));
  EXPECT_EQ(disk_->queued(), 5u);
}

TEST_F(SessionEndsTest, ACancelIsForTheStreamsOwnOps) {
  Stream& stream = New();
  Stream& other = New();
  Send(stream, {Write(1, 0)});
  Cancel(other, 1);
  Serve();
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNone)));
}

TEST_F(SessionEndsTest, AnOpWhoseTimeIsUpBeforeItBeganNeverBegins) {
  AllowOne();
  Stream& stream = New();
  Send(stream, {Write(1, 0), Timed(Write(2, 4096), 100)});
  Advance(99);
  EXPECT_THAT(stream.results, IsEmpty());
  Advance(1);
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kCancelled)));
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
}

TEST_F(SessionEndsTest, AnOpWhoseTimeIsUpInAQueueIsTakenBack) {
  Stream& stream = New();
  Send(stream, {Timed(Write(1, 0), 100)});
  Advance(100);
  EXPECT_EQ(disk_->queued(), 0u);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kCancelled)));
}

TEST_F(SessionEndsTest, AnOpWhoseTimeIsUpAtTheDeviceHasAnUnknownOutcome) {
  Stream& stream = New();
  Send(stream, {Timed(Write(1, 0), 100), Write(2, 8192)});
  disk_->StartAll();
  Advance(100);
  Advance(1);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kDiskTimeout)));
  Serve();  // it is answered once
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kDiskTimeout), Pair(2, Reason::kNone)));
}

TEST_F(SessionEndsTest, AnOpThatADiskGaveUpHasAnUnknownOutcome) {
  Stream& stream = New();
  Stream& fresh = New();
  ASSERT_TRUE(Attach(stream, 1));
  Send(stream, {Write(1, 0)});
  disk_->StartAll();
  disk_->ExpireStarted();
  Turn();
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kDiskTimeout)));
  EXPECT_FALSE(Attach(fresh, 2));  // it is still there
  Serve();
  EXPECT_EQ(answer_.refused, Reason::kNone);
}

TEST_F(SessionEndsTest, WhoAsksAgainIsToldHowALateOpEnded) {
  Stream& stream = New();
  Send(stream, {Timed(Write(1, 0), 100)});
  disk_->StartAll();
  Advance(100);
  Advance(1);
  Send(stream, {Write(1, 0)});
  EXPECT_EQ(stream.results.size(), 1u);
  Serve();
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kDiskTimeout), Pair(1, Reason::kNone)));
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
}

TEST_F(SessionEndsTest, WhoAsksAgainWaitsNoLongerThanItSaysAndTheFirstGoesOn) {
  Stream& first = New();
  Stream& again = New();
  Send(first, {Timed(Write(1, 0), 500)});
  disk_->StartAll();
  Send(again, {Timed(Write(1, 0), 100)});
  Advance(100);
  EXPECT_THAT(again.results, ElementsAre(Pair(1, Reason::kDiskTimeout)));
  EXPECT_THAT(first.results, IsEmpty());
  Serve();
  EXPECT_EQ(again.results.size(), 1u);
  EXPECT_THAT(first.results, ElementsAre(Pair(1, Reason::kNone)));
}

TEST_F(SessionEndsTest, AnOpIsNotTakenBackWhileSomebodyWaitsForIt) {
  Stream& first = New();
  Stream& again = New();
  Send(first, {Timed(Write(1, 0), 200)});
  Send(again, {Timed(Write(1, 0), 100)});
  Advance(100);
  EXPECT_EQ(disk_->queued(), 1u);
  EXPECT_THAT(again.results, ElementsAre(Pair(1, Reason::kDiskTimeout)));
  Advance(100);
  EXPECT_EQ(disk_->queued(), 0u);
  EXPECT_THAT(first.results, ElementsAre(Pair(1, Reason::kCancelled)));
}

TEST_F(SessionEndsTest, AReadStillWaitsForALateWrite) {
  Stream& stream = New();
  Send(stream, {Timed(Write(1, 0), 100)});
  disk_->StartAll();
  Advance(100);
  Advance(1);
  Send(stream, {Read(2, 0)});
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
  Serve();
  EXPECT_THAT(disk_->offsets(), ElementsAre(0, 0));
}

TEST_F(SessionEndsTest, AnAttachWaitsForALateOp) {
  Stream& old = New();
  Stream& fresh = New();
  ASSERT_TRUE(Attach(old, 1));
  Send(old, {Timed(Write(1, 0), 100)});
  disk_->StartAll();
  Advance(100);
  Advance(1);
  EXPECT_FALSE(Attach(fresh, 2));
  Serve();
  EXPECT_EQ(answer_.completed_through, 1u);
}

TEST_F(SessionEndsTest, AnOpThatIsDoneInTimeIsAnsweredOnce) {
  Stream& stream = New();
  Send(stream, {Timed(Write(1, 0), 100)});
  Serve();
  Advance(200);
  EXPECT_THAT(stream.results, ElementsAre(Pair(1, Reason::kNone)));
}

TEST_F(SessionEndsTest, StreamsAreToldOfADrain) {
  Stream& stream = New();
  ASSERT_TRUE(Attach(stream, 1));
  On([&] { session_->Drain([] {}); });
  EXPECT_TRUE(stream.draining);
}

TEST_F(SessionEndsTest, AGrownExportIsServedWhenTheOldOneIsAtRest) {
  const auto larger = std::make_unique<HeldTarget>(reactor_, 2 * kSize);
  auto grown = std::make_shared<Export>();
  grown->size_bytes = 2 * kSize;
  grown->target = larger.get();
  Stream& stream = New();
  ASSERT_TRUE(Attach(stream, 1));
  Send(stream, {Write(1, 0), Write(2, kSize)});
  EXPECT_THAT(stream.results, ElementsAre(Pair(2, Reason::kOutOfBounds)));
  bool changed = false;
  On([&] { session_->Become(grown, [&] { changed = true; }); });
  Send(stream, {Write(3, kSize)});
  EXPECT_FALSE(changed);
  EXPECT_THAT(larger->offsets(), IsEmpty());
  Serve();
  EXPECT_TRUE(changed);
  EXPECT_EQ(stream.size_told, 2 * kSize);
  EXPECT_EQ(session_->exported()->size_bytes, 2 * kSize);
  EXPECT_THAT(larger->offsets(), ElementsAre(kSize));
  larger->StartAll();
  larger->EndStarted();
  Turn();
  EXPECT_THAT(stream.results.back(), Pair(3, Reason::kNone));
}

}  // namespace
}  // namespace sluice::rpc
