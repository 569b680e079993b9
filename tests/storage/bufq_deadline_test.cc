// SPDX-License-Identifier: Apache-2.0
// The order of `deadline` on a clock that moves when told: batches of 16, writes after two batches
// of reads, the oldest first when it is 500 ms (reads) or 5 s (writes) old.
#include <gtest/gtest.h>

#include "core/units.h"
#include "tests/storage/bufq_support.h"

namespace sluice {
namespace {

class BufqDeadlineTest : public testing::Test {
 protected:
  void TearDown() override { GetAll(); }

  void Put(const std::string& list) { requests_.Put(*queue_, list); }
  // "KIND" + FIRST up to LAST.
  void PutRange(const std::string& kind, int first, int last) {
    for (int block = first; block <= last; ++block) Put(kind + std::to_string(block));
  }
  std::string Get(size_t count) { return requests_.Get(*queue_, count); }
  std::string GetAll() { return requests_.GetAll(*queue_); }
  static std::string Range(const std::string& kind, int first, int last) {
    std::string list = kind + std::to_string(first);
    for (int block = first + 1; block <= last; ++block) list += " " + kind + std::to_string(block);
    return list;
  }

  Requests requests_;
  std::unique_ptr<Bufq> queue_ = NewBufq("deadline");
};

TEST_F(BufqDeadlineTest, ABatchGoesUpwardsAndTheNextStartsAtTheOldest) {
  Put("r20 r5 r30 r7");
  EXPECT_EQ(Get(1), "r5");  // the first batch starts at block 0
  EXPECT_EQ(Get(3), "r7 r20 r30");
  Put("r12 r3 r8");
  EXPECT_EQ(GetAll(), "r12 r3 r8");  // nothing ahead: oldest; nothing ahead: oldest; then upwards
}

TEST_F(BufqDeadlineTest, WritesWaitForTwoBatchesOf16Reads) {
  PutRange("w", 0, 39);
  PutRange("r", 0, 99);
  EXPECT_EQ(Get(32), Range("r", 0, 31));
  EXPECT_EQ(Get(16), Range("w", 0, 15));
  EXPECT_EQ(Get(32), Range("r", 32, 63));
  EXPECT_EQ(Get(16), Range("w", 16, 31));
  EXPECT_EQ(Get(32), Range("r", 64, 95));
  EXPECT_EQ(GetAll(), Range("w", 32, 39) + " " + Range("r", 96, 99));
}

TEST_F(BufqDeadlineTest, ReadsArePreferredButDoNotBreakABatchOfWrites) {
  Put("w1 w2 w3");
  EXPECT_EQ(Get(1), "w1");
  Put("r1");
  EXPECT_EQ(GetAll(), "w2 w3 r1");
  Put("w9 r9");
  EXPECT_EQ(GetAll(), "r9 w9");
}

TEST_F(BufqDeadlineTest, AReadIsExpiredAfter500Milliseconds) {
  PutRange("r", 100, 115);
  EXPECT_EQ(Get(16), Range("r", 100, 115));
  Put("r1");
  requests_.clock.Advance(500 * kMillisecond - 1);
  PutRange("r", 200, 240);
  EXPECT_EQ(requests_.NameOf(*queue_->Peek(requests_.clock.NowNs())), "r200");
  Put("r500");  // forgets the peek
  requests_.clock.Advance(1);
  EXPECT_EQ(Get(3), "r1 r200 r201");
}

TEST_F(BufqDeadlineTest, AWriteIsExpiredAfter5Seconds) {
  PutRange("w", 100, 115);
  EXPECT_EQ(Get(16), Range("w", 100, 115));
  Put("w1");
  requests_.clock.Advance(5 * kSecond - 1);
  PutRange("w", 200, 240);
  EXPECT_EQ(requests_.NameOf(*queue_->Peek(requests_.clock.NowNs())), "w200");
  Put("w500");
  requests_.clock.Advance(1);
  EXPECT_EQ(Get(3), "w1 w200 w201");
}

TEST_F(BufqDeadlineTest, AnExpiredRequestWaitsForTheEndOfTheBatch) {
  PutRange("r", 100, 119);
  EXPECT_EQ(Get(1), "r100");
  Put("r1");
  requests_.clock.Advance(kSecond);
  EXPECT_EQ(Get(15), Range("r", 101, 115));
  // r116 to r119 are as old, and came first.
  EXPECT_EQ(GetAll(), "r116 r117 r118 r119 r1");
}

TEST_F(BufqDeadlineTest, AnExpiredWriteStillWaitsForTheReadsBatches) {
  Put("w1");
  requests_.clock.Advance(10 * kSecond);
  PutRange("r", 0, 40);
  EXPECT_EQ(Get(33), Range("r", 0, 31) + " w1");
}

TEST_F(BufqDeadlineTest, APeekRemembersItsChoiceWhileTheClockMoves) {
  PutRange("r", 100, 115);
  Get(16);
  Put("r1");
  PutRange("r", 200, 203);
  Bio* peeked = queue_->Peek(requests_.clock.NowNs());
  EXPECT_EQ(requests_.NameOf(*peeked), "r200");
  requests_.clock.Advance(kSecond);  // r1 expires
  EXPECT_EQ(queue_->Peek(requests_.clock.NowNs()), peeked);
  EXPECT_EQ(queue_->Get(requests_.clock.NowNs()), peeked);
}

TEST_F(BufqDeadlineTest, AgeSurvivesASwap) {
  const auto fcfs = NewBufq("fcfs");
  PutRange("r", 100, 115);
  Get(16);
  requests_.Put(*fcfs, "r1");
  requests_.clock.Advance(kSecond);
  Bufq::Move(*fcfs, *queue_, requests_.clock.NowNs());
  PutRange("r", 200, 203);
  EXPECT_EQ(Get(2), "r1 r200");
}

TEST_F(BufqDeadlineTest, ACylinderIsServedInOrderOfArrival) {
  BufqOptions options;
  options.sort = BufqSort::kCylinder;
  options.cylinder_bytes = 10 * kBlock;
  queue_ = NewBufq("deadline", options);
  Put("r29 r15 r11 r18 r3");
  EXPECT_EQ(Get(2), "r3 r15");
  Put("r12");
  EXPECT_EQ(GetAll(), "r11 r18 r12 r29");
}

}  // namespace
}  // namespace sluice
