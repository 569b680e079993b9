// SPDX-License-Identifier: Apache-2.0
// The seeded stack test: promises R1 to R8 and R16 to R22 of the whole stack under random load and
// faults (tests/sim/stack_world.h), and lying drives that it must find out.
//
// Environment: SLUICE_SEED=N replays one seed; SLUICE_SEEDS=N runs so many fresh ones (200; a tenth
// under a sanitizer); SLUICE_OPS=N requests a seed (10000).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include "tests/sim/stack_seeds.h"
#include "tests/sim/stack_world.h"

namespace sluice::sim {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t kSeeds = 20;
#else
constexpr uint64_t kSeeds = 200;
#endif
constexpr uint32_t kOps = 10'000;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}
uint32_t Ops(uint32_t otherwise) {
  return static_cast<uint32_t>(FromEnvironment("SLUICE_OPS", otherwise));
}
uint64_t FreshSeed() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(now.count()) % 1'000'000'000'000;
}

void ExpectKept(uint64_t seed, uint32_t ops) {
  const StackResult result = RunStack({.seed = seed, .ops = ops});
  EXPECT_EQ(result.failure, "") << "seed=" << seed << " ops=" << ops << result.summary
                                << "\nreplay: SLUICE_SEED=" << seed << " SLUICE_OPS=" << ops
                                << " sim_test --gtest_filter=Stack.AReplayedSeed";
}

// So many seeds together come to every corner that is counted; fewer may miss one by chance.
constexpr uint64_t kSeedsThatReachAll = 100;

TEST(Stack, AReplayedSeed) { ExpectKept(FromEnvironment("SLUICE_SEED", 1), Ops(kOps)); }

TEST(Stack, FreshSeedsKeepAllPromises_R1_R8_R16_R22) {
  const uint64_t first = FreshSeed();
  const uint64_t count = FromEnvironment("SLUICE_SEEDS", kSeeds);
  uint64_t answered = 0;
  std::map<std::string, uint64_t> reached;
  for (uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    const StackResult result = RunStack({.seed = seed, .ops = Ops(kOps)});
    answered += result.answered;
    for (const auto& [corner, times] : result.reached) reached[corner] += times;
    if (!result.failure.empty()) ExpectKept(seed, Ops(kOps));
  }
  std::cout << "seeds " << first << " to " << first + count - 1 << ", " << answered
            << " requests answered\n";
  EXPECT_GT(answered, count * Ops(kOps) / 2) << "most requests should see their answer";
  if (count < kSeedsThatReachAll) return;
  for (const auto& [corner, times] : reached) {
    EXPECT_GT(times, 0u) << corner << ": a load that never comes there proves nothing of it";
  }
}

TEST(Stack, SeedsThatOnceFailedKeepAllPromises) {
  for (const uint64_t seed : kStackSeeds) ExpectKept(seed, kOps);
}

TEST(Stack, ASeedReplaysItself) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const StackResult first = RunStack({.seed = seed, .ops = 500, .lie = Lie::kMisplaced});
    const StackResult again = RunStack({.seed = seed, .ops = 500, .lie = Lie::kMisplaced});
    EXPECT_EQ(first.failure, again.failure);
    EXPECT_EQ(first.summary, again.summary);
  }
}

class StackLie : public testing::TestWithParam<Lie> {};

TEST_P(StackLie, IsFoundOutWithin200Seeds) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const StackResult result = RunStack({.seed = seed, .ops = 1000, .lie = GetParam()});
    if (result.failure.empty()) continue;
    std::cout << "by seed " << seed << ": " << result.failure.substr(0, 100) << "\n";
    return;
  }
  ADD_FAILURE() << "the harness believes a drive that lies";
}

INSTANTIATE_TEST_SUITE_P(Drives, StackLie,
                         testing::Values(Lie::kAckEarly, Lie::kShortIsWhole, Lie::kFlushSkipped,
                                         Lie::kFuaDropped, Lie::kErrorToAll, Lie::kLateGhost,
                                         Lie::kZeroSkipped, Lie::kTrimTooFar, Lie::kReadUnfilled,
                                         Lie::kMisplaced),
                         [](const testing::TestParamInfo<Lie>& lie) { return LieName(lie.param); });

}  // namespace
}  // namespace sluice::sim
