// SPDX-License-Identifier: Apache-2.0
// The guard against a model that keeps all entries in one list.
#include "storage/range_guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <list>
#include <memory>
#include <vector>

#include "core/units.h"
#include "tests/sim/rng.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = 4096;

Bio Range(uint64_t offset, uint64_t length) {
  Bio bio;
  bio.op = Op::kWrite;
  bio.offset = offset;
  bio.length = static_cast<uint32_t>(length);
  return bio;
}

class RangeGuardTest : public testing::Test {
 protected:
  ~RangeGuardTest() override { EXPECT_EQ(guard_.size(), 0u); }

  // The bios that `bio` let in by leaving.
  std::vector<Bio*> Leave(Bio& bio) {
    std::vector<Bio*> admitted;
    guard_.Leave(bio, [&](Bio& next) { admitted.push_back(&next); });
    return admitted;
  }
  void ExpectWaits(Bio& bio) {
    EXPECT_FALSE(guard_.Enter(bio));
    EXPECT_EQ(bio.where, Where::kWaiting);
  }

  RangeGuard guard_{kBlock, 4096};
};

TEST_F(RangeGuardTest, WhatDoesNotOverlapNeverWaits) {
  Bio a = Range(0, kBlock), b = Range(kBlock, kBlock), c = Range(3 * kBlock, kGiB);
  for (Bio* bio : {&a, &b, &c}) EXPECT_TRUE(guard_.Enter(*bio));
  for (Bio* bio : {&b, &a, &c}) EXPECT_TRUE(Leave(*bio).empty());
}

TEST_F(RangeGuardTest, RangesAreRoundedOutToTheDevicesBlock) {
  Bio a = Range(512, 512), b = Range(kBlock - 512, 1024), c = Range(kBlock, 512);
  EXPECT_TRUE(guard_.Enter(a));
  ExpectWaits(b);
  ExpectWaits(c);
  EXPECT_EQ(Leave(a), std::vector<Bio*>{&b});
  EXPECT_EQ(Leave(b), std::vector<Bio*>{&c});
  Leave(c);
}

TEST_F(RangeGuardTest, OverlappingWritesRunInOrderOfArrival_R5) {
  Bio a = Range(0, 4 * kBlock), b = Range(2 * kBlock, 4 * kBlock), c = Range(0, kBlock),
      d = Range(0, 8 * kBlock);
  EXPECT_TRUE(guard_.Enter(a));
  for (Bio* bio : {&b, &c, &d}) ExpectWaits(*bio);
  EXPECT_EQ(Leave(a), (std::vector<Bio*>{&b, &c}));
  EXPECT_TRUE(Leave(b).empty()) << "the last overlaps one that is not done";
  EXPECT_EQ(Leave(c), std::vector<Bio*>{&d});
  Leave(d);
}

TEST_F(RangeGuardTest, OneThatGivesUpLetsThoseBehindItPass) {
  Bio a = Range(0, kBlock), b = Range(0, 2 * kBlock), c = Range(kBlock, kBlock);
  EXPECT_TRUE(guard_.Enter(a));
  ExpectWaits(b);
  ExpectWaits(c);
  EXPECT_EQ(Leave(b), std::vector<Bio*>{&c});
  Leave(c);
  Leave(a);
}

TEST_F(RangeGuardTest, TheYoungestIsVisitedFirst) {
  Bio a = Range(0, kBlock), b = Range(0, kBlock), c = Range(0, kBlock);
  EXPECT_TRUE(guard_.Enter(a));
  ExpectWaits(b);
  ExpectWaits(c);
  std::vector<Bio*> seen;
  guard_.ForEachWaiting([&](Bio& bio) { seen.push_back(&bio); });
  EXPECT_EQ(seen, (std::vector<Bio*>{&c, &b}));
  for (Bio* bio : {&c, &b, &a}) EXPECT_TRUE(Leave(*bio).empty());
}

// The rule itself: a bio may go on when nothing that came before it overlaps.
class Model {
 public:
  void Enter(Bio& bio) { arrivals_.push_back(&bio); }
  void Leave(Bio& bio) { arrivals_.remove(&bio); }
  bool MayGoOn(const Bio& bio) const {
    for (const Bio* other : arrivals_) {
      if (other == &bio) return true;
      if (Begin(*other) < End(bio) && Begin(bio) < End(*other)) return false;
    }
    return false;
  }

 private:
  static uint64_t Begin(const Bio& bio) { return AlignDown(bio.offset, kBlock); }
  static uint64_t End(const Bio& bio) { return AlignUp(bio.offset + bio.length, kBlock); }
  std::list<Bio*> arrivals_;
};

TEST_F(RangeGuardTest, AdmitsWhatTheRuleAdmitsAndNothingElse_R5) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed=" << seed);
    sim::Rng rng(seed);
    Model model;
    std::deque<std::unique_ptr<Bio>> inside;
    std::vector<Bio*> admitted, waiting;
    const bool crowded = seed % 4 == 0;  // many inside, most of which do not touch
    const uint64_t space = (crowded ? 40'000 : rng.Between(4, 400)) * 512;
    const auto leave = [&](std::vector<Bio*>& from) {
      const size_t at = rng.Below(from.size());
      Bio& bio = *from[at];
      from.erase(from.begin() + static_cast<ptrdiff_t>(at));
      model.Leave(bio);
      for (Bio* next : Leave(bio)) {
        waiting.erase(std::find(waiting.begin(), waiting.end(), next));
        admitted.push_back(next);
      }
    };
    for (int step = 0; step < 1000; ++step) {
      const uint64_t dice = rng.Below(10);
      if (dice < (crowded ? 9 : 5)) {
        const uint64_t offset = rng.Below(space / 512) * 512;
        const uint64_t most =
            rng.Below(crowded ? 50 : 4) == 0 ? space / (crowded ? 4 : 1) : 8 * 512;
        inside.push_back(std::make_unique<Bio>(Range(offset, rng.Between(1, most / 512) * 512)));
        Bio& bio = *inside.back();
        model.Enter(bio);
        (guard_.Enter(bio) ? admitted : waiting).push_back(&bio);
      } else if (rng.Below(5) < 4 && !admitted.empty()) {
        leave(admitted);
      } else if (!waiting.empty()) {
        leave(waiting);
      }
      if (crowded && step % 100 != 99) continue;
      for (Bio* bio : admitted) ASSERT_TRUE(model.MayGoOn(*bio));
      for (Bio* bio : waiting) ASSERT_FALSE(model.MayGoOn(*bio));
    }
    while (!admitted.empty()) leave(admitted);
    ASSERT_TRUE(waiting.empty());
  }
}

// A client that sends nothing but overlapping writes may not slow the others on its reactor down:
// 50 us an entry, sanitizers included, where a walk over all of them would take ten times as long.
class RangeGuardCost : public testing::TestWithParam<uint64_t> {};

TEST_P(RangeGuardCost, SixteenThousandOverlappingWritesTakeNoTimeToSpeakOf_A2) {
  constexpr size_t kCount = 16'384;
  RangeGuard guard(kBlock, kCount + 1);
  std::deque<Bio> bios;
  const auto began = std::chrono::steady_clock::now();
  for (size_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(guard.Enter(bios.emplace_back(Range(i * GetParam(), kGiB))), i == 0);
  }
  Bio elsewhere = Range(8 * kGiB, kBlock);
  EXPECT_TRUE(guard.Enter(elsewhere));
  guard.Leave(elsewhere, [](Bio&) {});
  for (Bio& bio : bios) guard.Leave(bio, [](Bio&) {});
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::microseconds(50 * kCount));
  EXPECT_EQ(guard.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Steps, RangeGuardCost, testing::Values(0, kBlock));

}  // namespace
}  // namespace sluice
