// SPDX-License-Identifier: Apache-2.0
// The law of gathering, clause by clause, and its bookkeeping against random load. Bios are in
// units of 512 bytes.
#include "storage/gather.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/units.h"
#include "tests/sim/rng.h"

namespace sluice {
namespace {

class GatherTest : public testing::Test {
 protected:
  explicit GatherTest(const GatherLimits& limits = {}) : gather_(limits, 4096) {}

  Bio& Make(Op op, uint64_t first, uint32_t count, uint8_t flags = 0, uint8_t prio = 1) {
    Bio& bio = bios_.emplace_back();
    bio.op = op;
    bio.offset = first * kSector;
    bio.length = count * kSector;
    bio.flags = flags;
    bio.prio = prio;
    bio.seg_count = HasData(op) ? 1 : 0;
    bio.born_ns = bios_.size();
    return bio;
  }
  Bio& Plug(Op op, uint64_t first, uint32_t count, uint8_t flags = 0, uint8_t prio = 1) {
    Bio& bio = Make(op, first, count, flags, prio);
    gather_.Plug(bio);
    return bio;
  }
  Bio& Write(uint64_t first, uint32_t count = 1) { return Plug(Op::kWrite, first, count); }

  // "8+3" for a run, with its riders in brackets if it is a carrier; the run ends.
  std::string End(Bio& run) {
    std::string text = Name(run);
    if ((run.flags & kCarrier) == 0) return text;
    Carrier& carrier = CarrierOf(run);
    text += "[";
    uint64_t at = run.offset;
    uint32_t riders = 0;
    while (!carrier.riders.empty()) {
      Bio& rider = carrier.riders.front();
      carrier.riders.pop_front();
      EXPECT_EQ(rider.where, Where::kRider);
      EXPECT_EQ(rider.offset, at) << "riders lie side by side";
      at += rider.length;
      ++riders;
      text += (riders == 1 ? "" : " ") + Name(rider);
    }
    EXPECT_EQ(at, run.offset + run.length);
    EXPECT_EQ(riders, carrier.rider_count);
    gather_.Free(carrier);
    return text + "]";
  }
  // All runs of what is plugged.
  std::string Collect() {
    std::string text;
    while (Bio* run = gather_.Collect()) text += (text.empty() ? "" : " ") + End(*run);
    EXPECT_FALSE(gather_.has_plugged());
    return text;
  }
  static std::string Name(const Bio& bio) {
    return std::to_string(bio.offset / kSector) + "+" + std::to_string(bio.length / kSector);
  }

  std::deque<Bio> bios_;
  Gather gather_;
};

TEST_F(GatherTest, NeighboursRideTogetherWhateverTheirOrderOfArrival) {
  Write(5);
  Write(3);
  Write(6, 2);
  Write(4);
  EXPECT_EQ(Collect(), "3+5[3+1 4+1 5+1 6+2]");
}

TEST_F(GatherTest, RunsComeInOrderOfTheirOldestMember) {
  Write(100);
  Write(2);
  Write(50);
  Write(1);
  Write(101);
  EXPECT_EQ(Collect(), "100+2[100+1 101+1] 1+2[1+1 2+1] 50+1");
  EXPECT_EQ(gather_.stats().cut_gap.value(), 3u);
}

TEST_F(GatherTest, ARunOfOneIsTheBioItself) {
  Bio& bio = Write(7);
  EXPECT_EQ(gather_.Collect(), &bio);
}

TEST_F(GatherTest, ReadsWritesTrimsAndZeroesRideWithTheirOwnKindAlone) {
  for (const Op op : {Op::kRead, Op::kWrite, Op::kTrim, Op::kZero}) {
    Plug(op, 0, 1);
    Plug(op, 1, 1);
  }
  EXPECT_EQ(Collect(), "0+2[0+1 1+1] 0+2[0+1 1+1] 0+2[0+1 1+1] 0+2[0+1 1+1]");
}

TEST_F(GatherTest, CachesAreNotGathered) {
  Plug(Op::kCache, 0, 1);
  Plug(Op::kCache, 1, 1);
  EXPECT_EQ(Collect(), "0+1 1+1");
}

TEST_F(GatherTest, FuaRidesOnlyWithFua) {
  Plug(Op::kWrite, 0, 1, kFua);
  Plug(Op::kWrite, 1, 1, kFua);
  Plug(Op::kWrite, 2, 1);
  Plug(Op::kWrite, 3, 1);
  EXPECT_EQ(Collect(), "0+2[0+1 1+1] 2+2[2+1 3+1]");
  EXPECT_EQ(gather_.stats().cut_class.value(), 1u);
}

TEST_F(GatherTest, FlagsAndPriorityClassesDoNotMix) {
  Plug(Op::kZero, 0, 1);
  Plug(Op::kZero, 1, 1, kNoHole);
  Plug(Op::kZero, 2, 1, kFastZero);
  Plug(Op::kRead, 0, 1, 0, 0);
  Plug(Op::kRead, 1, 1, 0, 1);
  EXPECT_EQ(Collect(), "0+1 1+1 2+1 0+1 1+1");
}

TEST_F(GatherTest, NoGatherAndBorrowedReadsGoAlone) {
  Plug(Op::kRead, 0, 1, kNoGather);
  Plug(Op::kRead, 1, 1);
  Plug(Op::kRead, 2, 1, kBorrow);
  EXPECT_EQ(Collect(), "0+1 1+1 2+1");
  EXPECT_EQ(gather_.stats().cut_off.value(), 2u);
}

TEST_F(GatherTest, OverlappingReadsDoNotRideTogether) {
  Plug(Op::kRead, 0, 2);
  Plug(Op::kRead, 1, 2);
  Plug(Op::kRead, 0, 2);
  EXPECT_EQ(Collect(), "0+2 1+2 0+2");
}

class OffTest : public GatherTest {
 protected:
  OffTest() : GatherTest({.on = false}) {}
};

TEST_F(OffTest, NothingRidesWhenGatheringIsOff) {
  Write(0);
  Write(1);
  EXPECT_EQ(Collect(), "0+1 1+1");
  EXPECT_EQ(gather_.stats().cut_off.value(), 2u);
}

class SmallTest : public GatherTest {
 protected:
  SmallTest() : GatherTest({.bytes_max = 4 * kSector, .segments_max = 3}) {}
};

TEST_F(SmallTest, NoRunIsLongerThanTheLimit) {
  for (const uint64_t at : {0, 2, 4}) Write(at, 2);
  EXPECT_EQ(Collect(), "0+4[0+2 2+2] 4+2");
  EXPECT_EQ(gather_.stats().cut_limit.value(), 1u);
}

TEST_F(SmallTest, NoRunHasMoreSegmentsThanTheLimit) {
  for (const uint64_t at : {0, 1, 2, 3}) Write(at);
  EXPECT_EQ(Collect(), "0+3[0+1 1+1 2+1] 3+1");
}

TEST_F(SmallTest, TrimsAndZeroesMoveNoDataSoTheLimitOfBytesIsNotTheirs) {
  for (const uint64_t at : {0, 100, 200, 300}) Plug(Op::kTrim, at, 100);
  EXPECT_EQ(Collect(), "0+400[0+100 100+100 200+100 300+100]");
}

TEST_F(SmallTest, AWaitingRunDoesNotGrowBeyondTheLimit) {
  Bio& waiting = gather_.BeginWait(Make(Op::kWrite, 0, 3));
  Carrier* met = nullptr;
  EXPECT_EQ(gather_.FindNeighbour(Make(Op::kWrite, 3, 2), met), Gather::Met::kNone);
  EXPECT_EQ(gather_.FindNeighbour(Make(Op::kWrite, 3, 1), met), Gather::Met::kBack);
  EXPECT_EQ(End(gather_.EndWait(waiting)), "0+3");
}

TEST_F(GatherTest, AWaitingRunGrowsAtItsBackAndAtItsFront) {
  Bio& waiting = gather_.BeginWait(Make(Op::kWrite, 10, 1));
  EXPECT_NE(waiting.flags & kCarrier, 0);
  Carrier* met = nullptr;
  Bio& behind = Make(Op::kWrite, 11, 2);
  ASSERT_EQ(gather_.FindNeighbour(behind, met), Gather::Met::kBack);
  gather_.AppendTo(behind, *met);
  Write(8);
  Write(9);
  Bio& before = *gather_.Collect();
  ASSERT_EQ(gather_.FindNeighbour(before, met), Gather::Met::kFront);
  gather_.PrependTo(before, *met);
  EXPECT_EQ(gather_.FindNeighbour(Make(Op::kWrite, 14, 1), met), Gather::Met::kNone);
  EXPECT_EQ(gather_.FindNeighbour(Make(Op::kRead, 13, 1), met), Gather::Met::kNone);
  EXPECT_EQ(waiting.born_ns, 1u) << "as old as its oldest rider";
  EXPECT_EQ(End(gather_.EndWait(waiting)), "8+5[8+1 9+1 10+1 11+2]");
}

TEST_F(GatherTest, NothingJoinsAcrossAFlush_R17) {
  Bio& waiting = gather_.BeginWait(Make(Op::kWrite, 0, 1));
  gather_.Cut();
  Carrier* met = nullptr;
  EXPECT_EQ(gather_.FindNeighbour(Make(Op::kWrite, 1, 1), met), Gather::Met::kNone);
  EXPECT_EQ(gather_.stats().cut_flush.value(), 1u);
  Bio& later = gather_.BeginWait(Make(Op::kWrite, 5, 1));
  EXPECT_EQ(gather_.FindNeighbour(Make(Op::kWrite, 6, 1), met), Gather::Met::kBack);
  EXPECT_EQ(End(gather_.EndWait(waiting)), "0+1");
  EXPECT_EQ(End(gather_.EndWait(later)), "5+1");
}

TEST_F(GatherTest, ARiderIsFoundInItsWaitingCarrierBehindAFlushToo) {
  Write(0);
  Bio& rider = Write(1);
  Bio& waiting = gather_.BeginWait(*gather_.Collect());
  EXPECT_EQ(gather_.FindCarrierOf(rider), &CarrierOf(waiting));
  gather_.Cut();
  EXPECT_EQ(gather_.FindCarrierOf(rider), &CarrierOf(waiting));
  Bio& run = gather_.EndWait(waiting);
  EXPECT_EQ(gather_.FindCarrierOf(rider), nullptr) << "it waits no more";
  End(run);
}

TEST_F(GatherTest, AmongReadsOfTheSameRangeTheRightCarrierIsFound) {
  std::vector<Bio*> riders, waiting;
  for (int i = 0; i < 3; ++i) {
    riders.push_back(&Make(Op::kRead, static_cast<uint64_t>(i), 4));
    waiting.push_back(&gather_.BeginWait(*riders.back()));
  }
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(gather_.FindCarrierOf(*riders[i]), &CarrierOf(*waiting[i]));
  }
  for (Bio* run : waiting) gather_.EndWait(*run);
}

TEST_F(GatherTest, ADissolvedCarrierGivesItsRidersBack) {
  for (const uint64_t at : {0, 1, 2}) Write(at);
  Bio& waiting = gather_.BeginWait(*gather_.Collect());
  BioFifo riders;
  gather_.Dissolve(CarrierOf(waiting), riders);
  std::string text;
  while (!riders.empty()) {
    EXPECT_EQ(riders.front().where, Where::kSubmitter);
    text += Name(riders.front()) + " ";
    riders.pop_front();
  }
  EXPECT_EQ(text, "0+1 1+1 2+1 ");
}

TEST_F(GatherTest, AnUnpluggedBioIsGone) {
  Write(0);
  Bio& gone = Write(1);
  Write(2);
  gather_.Unplug(gone);
  EXPECT_EQ(Collect(), "0+1 2+1");
}

// Random load against what must hold of every run, and of all of them.
TEST_F(GatherTest, EveryBioRidesOnceAndEveryRunObeysTheLaw) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed=" << seed);
    sim::Rng rng(seed);
    bios_.clear();
    std::set<const Bio*> expected, seen;
    std::vector<Bio*> waiting;
    const auto take = [&](Bio& run) {
      const uint32_t run_class = Gather::ClassOf(run);
      ForEachRider(run, [&](Bio& rider) {
        EXPECT_TRUE(seen.insert(&rider).second) << "rides twice";
        if (&rider != &run) {
          EXPECT_EQ(Gather::ClassOf(rider), run_class);
          EXPECT_EQ(rider.flags & (kNoGather | kBorrow), 0);
        }
      });
      EXPECT_LE(run.length, HasData(run.op) ? kMaxTransfer : kMaxEffect);
      End(run);
    };
    for (int turn = 0; turn < 60; ++turn) {
      for (uint64_t i = rng.Below(30); i > 0; --i) {
        const Op op = rng.PerMille(500) ? Op::kRead : Op::kTrim;
        const uint8_t flags = rng.PerMille(100) ? kNoGather : rng.PerMille(200) ? kFua : 0;
        expected.insert(&Plug(op, rng.Below(200), static_cast<uint32_t>(rng.Between(1, 6)), flags));
      }
      while (Bio* run = gather_.Collect()) {
        Carrier* met = nullptr;
        switch (gather_.FindNeighbour(*run, met)) {
          case Gather::Met::kBack:
            gather_.AppendTo(*run, *met);
            break;
          case Gather::Met::kFront:
            gather_.PrependTo(*run, *met);
            break;
          case Gather::Met::kNone:
            waiting.push_back(&gather_.BeginWait(*run));
        }
      }
      if (rng.PerMille(100)) gather_.Cut();
      while (!waiting.empty() && rng.PerMille(600)) {
        const size_t at = rng.Below(waiting.size());
        Bio& run = gather_.EndWait(*waiting[at]);
        waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(at));
        take(run);
      }
    }
    for (Bio* run : waiting) take(gather_.EndWait(*run));
    EXPECT_EQ(seen, expected);
  }
}

}  // namespace
}  // namespace sluice
