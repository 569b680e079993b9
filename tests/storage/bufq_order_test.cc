// SPDX-License-Identifier: Apache-2.0
// The orders of fcfs, disksort, readprio and priocscan, as their policies promise them; raw blocks
// against cylinders; order after a swap.
#include <gtest/gtest.h>

#include "tests/storage/bufq_support.h"

namespace sluice {
namespace {

class BufqOrderTest : public testing::Test {
 protected:
  void TearDown() override { GetAll(); }

  void Open(const std::string& name, uint64_t cylinder_blocks = 0) {
    if (queue_ != nullptr) GetAll();
    BufqOptions options;
    if (cylinder_blocks != 0) {
      options.sort = BufqSort::kCylinder;
      options.cylinder_bytes = cylinder_blocks * kBlock;
    }
    queue_ = NewBufq(name, options);
  }
  void Put(const std::string& list) { requests_.Put(*queue_, list); }
  std::string Get(size_t count) { return requests_.Get(*queue_, count); }
  std::string GetAll() { return requests_.GetAll(*queue_); }

  // Gets requests, each of which is replaced by one of the same kind, and writes the runs of
  // classes ("0 x64 1 x16") or directions ("r x48 w x16") that come.
  std::string Runs(size_t count) {
    std::string runs, last;
    size_t length = 0;
    for (size_t i = 0; i < count; ++i) {
      const std::string text = Get(1);
      Put(text);
      const std::string kind = text.substr(0, 1);
      if (kind != last && length != 0) {
        runs += last + " x" + std::to_string(length) + " ";
        length = 0;
      }
      last = kind;
      ++length;
    }
    return runs + last + " x" + std::to_string(length);
  }

  Requests requests_;
  std::unique_ptr<Bufq> queue_;
};

TEST_F(BufqOrderTest, FcfsKeepsTheOrderOfArrival) {
  Open("fcfs");
  Put("r9 w1 2r5 r1 0w9");
  EXPECT_EQ(Get(2), "r9 w1");
  Put("0r0");
  EXPECT_EQ(GetAll(), "2r5 r1 0w9 0r0");
}

TEST_F(BufqOrderTest, DisksortGoesUpwardsAndStartsAgainAtTheLowest) {
  Open("disksort");
  Put("r20 w10 r30");
  EXPECT_EQ(Get(1), "w10");
  Put("r5 w25 r7 w11");
  EXPECT_EQ(GetAll(), "w11 r20 w25 r30 r5 r7");
}

TEST_F(BufqOrderTest, DisksortLetsTheSameBlockWaitForTheNextRound) {
  Open("disksort");
  Put("r10 w10 r12");
  EXPECT_EQ(Get(1), "r10");
  Put("0r10 r11 0r12");
  EXPECT_EQ(GetAll(), "w10 r11 r12 0r12 0r10");
}

TEST_F(BufqOrderTest, DisksortGoesOnBehindTheEndOfALongRequest) {
  Open("disksort");
  requests_.Make("r0");
  Bio& grown = requests_.Make("w10");
  queue_->Put(grown);
  grown.length = 8 * kBlock;  // while it waits
  EXPECT_EQ(Get(1), "w10");
  Put("r17 r18 r12");
  EXPECT_EQ(GetAll(), "r18 r12 r17");
}

TEST_F(BufqOrderTest, RawBlocksSortWithinACylinderAndCylindersDoNot) {
  const std::string list = "r13 r11 r25 r12 r3 r21";
  Open("disksort");
  Put(list);
  EXPECT_EQ(GetAll(), "r3 r11 r12 r13 r21 r25");
  Open("disksort", 10);
  Put(list);
  EXPECT_EQ(GetAll(), "r3 r13 r11 r12 r25 r21");
}

TEST_F(BufqOrderTest, ACylinderThatIsBeingServedTakesNobodyIn) {
  Open("disksort", 10);
  Put("r15 r11 r30");
  EXPECT_EQ(Get(1), "r15");
  Put("r12 r19 r20 r3");
  EXPECT_EQ(GetAll(), "r11 r20 r30 r3 r12 r19");
}

TEST_F(BufqOrderTest, CylindersNeedNotBePowersOfTwoAndMayBeHuge) {
  Open("disksort", 3);
  Put("r5 r4 r3 r2 r1 r0 r6");
  EXPECT_EQ(GetAll(), "r2 r1 r0 r5 r4 r3 r6");

  BufqOptions options;
  options.sort = BufqSort::kCylinder;
  options.cylinder_bytes = kCylinderBytesMax;
  queue_ = NewBufq("disksort", options);
  Bio& highest = requests_.Make("r1");
  highest.offset = uint64_t{INT64_MAX} - kBlock;
  queue_->Put(highest);
  Put("r5 r4");
  EXPECT_EQ(GetAll(), "r5 r4 r1");
}

TEST_F(BufqOrderTest, ReadprioServes48ReadsThen16Writes) {
  Open("readprio");
  for (int i = 0; i < 100; ++i) Put("r" + std::to_string(i) + " w" + std::to_string(i));
  EXPECT_EQ(Runs(160), "r x48 w x16 r x48 w x16 r x32");
}

TEST_F(BufqOrderTest, ReadprioKeepsReadsInOrderOfArrivalAndSortsWrites) {
  Open("readprio");
  Put("w7 r9 w3 r2 w5 r4");
  EXPECT_EQ(Get(3), "r9 r2 r4");
  EXPECT_EQ(Get(1), "w3");
  Put("w4 w1");
  EXPECT_EQ(GetAll(), "w4 w5 w7 w1");
}

TEST_F(BufqOrderTest, ReadprioCountsOnlyReadsThatAWriteWaitedFor) {
  Open("readprio");
  for (int i = 0; i < 30; ++i) Put("r1");
  EXPECT_EQ(Runs(500), "r x500");
  Put("w1");
  EXPECT_EQ(Runs(49), "r x48 w x1");
}

TEST_F(BufqOrderTest, ReadprioStartsItsCountAnewWhenOneKindRanOut) {
  Open("readprio");
  Put("r1 w1");
  EXPECT_EQ(Runs(40), "r x40");
  EXPECT_EQ(GetAll(), "r1 w1");  // the write came when no read waited
  Put("r1 w1");
  EXPECT_EQ(Runs(49), "r x48 w x1");
}

TEST_F(BufqOrderTest, PriocscanServesBurstsOf64And16And4) {
  Open("priocscan");
  for (int i = 0; i < 10; ++i) {
    const std::string block = std::to_string(i);
    Put("2r" + block + " 0w" + block + " 1r" + block);
  }
  EXPECT_EQ(Runs(84 * 2), "0 x64 1 x16 2 x4 0 x64 1 x16 2 x4");
}

TEST_F(BufqOrderTest, PriocscanGivesTheBurstOfAnEmptyClassToNobody) {
  Open("priocscan");
  Put("0r1 0r2 2r1 2r2");
  EXPECT_EQ(Runs(136), "0 x64 2 x4 0 x64 2 x4");
}

TEST_F(BufqOrderTest, PriocscanChargesNothingWhileOneClassIsAlone) {
  Open("priocscan");
  Put("2r1 2r2");
  EXPECT_EQ(Runs(100), "2 x100");
  Put("1w1 1w2");
  EXPECT_EQ(Runs(40), "1 x16 2 x4 1 x16 2 x4");
}

TEST_F(BufqOrderTest, PriocscanServesAnUrgentNewcomerFirst) {
  Open("priocscan");
  Put("1r1 1r2 1r3 2r4");
  EXPECT_EQ(Get(1), "1r1");
  Put("0w99");
  EXPECT_EQ(GetAll(), "0w99 1r2 1r3 2r4");
}

TEST_F(BufqOrderTest, PriocscanKeepsAPositionForEachClass) {
  Open("priocscan");
  Put("1r50 1r60 0r10 0r20");
  EXPECT_EQ(Get(2), "0r10 0r20");
  Put("1r30");
  EXPECT_EQ(Get(2), "1r30 1r50");
  Put("0r15 0r25 1r55 1r40");
  EXPECT_EQ(GetAll(), "0r25 0r15 1r55 1r60 1r40");
}

TEST_F(BufqOrderTest, ASwapHandsOverInTheOldOrderAndGoesOnInTheNewOne) {
  const auto fcfs = NewBufq("fcfs");
  Open("disksort");
  Put("r30 r10 r20");
  EXPECT_EQ(Get(1), "r10");
  Put("r5");
  Bufq::Move(*queue_, *fcfs, 0);
  requests_.Put(*fcfs, "r1");
  EXPECT_EQ(requests_.Get(*fcfs, 3), "r20 r30 r5");

  requests_.Put(*fcfs, "w9 r8 w7 r6");
  Open("readprio");
  Bufq::Move(*fcfs, *queue_, 0);
  EXPECT_EQ(GetAll(), "r1 r8 r6 w7 w9");
}

}  // namespace
}  // namespace sluice
