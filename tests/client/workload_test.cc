// SPDX-License-Identifier: Apache-2.0
#include "client/bench/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "client/bench/coverage.h"
#include "client/bench/pattern.h"

namespace sluice::bench {
namespace {

using ::testing::ElementsAre;

Options With(const char* mode, uint32_t connections = 1) {
  Options options;
  options.mode = *FindMode(mode);
  options.connections = connections;
  return options;
}

std::vector<uint64_t> Blocks(Workload load, size_t at_most = 100) {
  std::vector<uint64_t> blocks;
  Plan plan;
  while (blocks.size() < at_most && load.Next(plan)) blocks.push_back(plan.block);
  return blocks;
}

TEST(Workload, SequentialConnectionsGoOverPartsOfTheirOwnAgainAndAgain) {
  const Options options = With("write", 3);
  const Region region{0, 8};
  EXPECT_THAT(Blocks(Workload::Load(options, region, 0, 7)), ElementsAre(0, 1, 2, 0, 1, 2, 0));
  EXPECT_THAT(Blocks(Workload::Load(options, region, 1, 4)), ElementsAre(3, 4, 5, 3));
  EXPECT_THAT(Blocks(Workload::Load(options, region, 2, 3)), ElementsAre(6, 7, 6));
}

TEST(Workload, RandomConnectionsTakeTheWholeRegionEvenlyAndDifferently) {
  const Options options = With("randread", 2);
  const Region region{0, 10};
  const auto one = Blocks(Workload::Load(options, region, 0, UINT64_MAX), 10000);
  const auto two = Blocks(Workload::Load(options, region, 1, UINT64_MAX), 10000);
  EXPECT_NE(one, two);
  for (uint64_t block = 0; block < 10; ++block) {
    EXPECT_NEAR(static_cast<double>(std::count(one.begin(), one.end(), block)), 1000, 150) << block;
  }
  EXPECT_LT(*std::max_element(one.begin(), one.end()), 10u);
}

TEST(Workload, TheSameSeedGivesTheSameRequests) {
  Options options = With("randrw");
  const Region region{0, 1000};
  const auto first = Blocks(Workload::Load(options, region, 0, 50));
  EXPECT_EQ(first, Blocks(Workload::Load(options, region, 0, 50)));
  options.seed = 2;
  EXPECT_NE(first, Blocks(Workload::Load(options, region, 0, 50)));
}

TEST(Workload, AMixHasTheShareOfReadsThatWasAskedFor) {
  for (const uint32_t percent : {0u, 30u, 70u, 100u}) {
    Options options = With("randrw");
    options.read_percent = percent;
    Workload load = Workload::Load(options, {0, 100}, 0, 20000);
    size_t reads = 0;
    Plan plan;
    while (load.Next(plan)) reads += plan.command == nbd::Command::kRead ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(reads), 200.0 * percent, 400) << percent;
  }
}

TEST(Workload, EachModeAsksForItsOwnCommand) {
  const std::pair<const char*, nbd::Command> kExpected[] = {
      {"read", nbd::Command::kRead},        {"randread", nbd::Command::kRead},
      {"write", nbd::Command::kWrite},      {"randwrite", nbd::Command::kWrite},
      {"trim", nbd::Command::kTrim},        {"randtrim", nbd::Command::kTrim},
      {"zero", nbd::Command::kWriteZeroes}, {"randzero", nbd::Command::kWriteZeroes}};
  for (const auto& [mode, command] : kExpected) {
    Workload load = Workload::Load(With(mode), {0, 10}, 0, 1);
    Plan plan;
    ASSERT_TRUE(load.Next(plan));
    EXPECT_EQ(plan.command, command) << mode;
  }
  EXPECT_EQ(FindMode("randwrites"), nullptr);
}

TEST(Workload, ReadBackReadsWhatWasWrittenOnceOverAllConnections) {
  const Options options = With("randwrite", 3);
  const Region region{0, 200};
  Coverage coverage(region.blocks);
  const std::set<uint64_t> written = {0, 1, 63, 64, 66, 67, 130, 199};
  for (const uint64_t block : written) coverage.Set(block);
  std::vector<uint64_t> read;
  for (uint32_t i = 0; i < 3; ++i) {
    const auto part = Blocks(Workload::ReadBack(options, region, i, coverage), 1000);
    read.insert(read.end(), part.begin(), part.end());
  }
  EXPECT_EQ(read, std::vector<uint64_t>(written.begin(), written.end()));
}

TEST(Workload, FlushIsOneAndADefaultOneHasNothing) {
  EXPECT_EQ(Blocks(Workload::Flush()).size(), 1u);
  EXPECT_EQ(Blocks(Workload()).size(), 0u);
}

TEST(Pattern, IsAFunctionOfPlaceAndSeedHoweverItIsCut) {
  std::vector<uint8_t> whole(100);
  FillPattern(5, 4000, whole);
  for (size_t from = 0; from < whole.size(); ++from) {
    std::vector<uint8_t> part(whole.size() - from);
    FillPattern(5, 4000 + from, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<ptrdiff_t>(from)));
    EXPECT_TRUE(MatchesPattern(5, 4000 + from, part));
    EXPECT_FALSE(MatchesPattern(6, 4000 + from, part) && part.size() > 1);
    EXPECT_FALSE(MatchesPattern(5, 4008 + from, part) && part.size() > 1);
  }
}

TEST(Pattern, OneFlippedBitDoesNotMatch) {
  std::vector<uint8_t> data(64);
  FillPattern(1, 4096, data);
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] = static_cast<uint8_t>(data[bit / 8] ^ (1u << bit % 8));
    EXPECT_FALSE(MatchesPattern(1, 4096, data)) << bit;
    data[bit / 8] = static_cast<uint8_t>(data[bit / 8] ^ (1u << bit % 8));
  }
  EXPECT_TRUE(MatchesPattern(1, 4096, data));
}

TEST(Pattern, ZeroesAreZeroesToTheLastByte) {
  std::vector<uint8_t> data(100);
  EXPECT_TRUE(IsZero(data));
  EXPECT_TRUE(IsZero({}));
  for (const size_t at : {0, 50, 99}) {
    data[at] = 1;
    EXPECT_FALSE(IsZero(data)) << at;
    data[at] = 0;
  }
}

}  // namespace
}  // namespace sluice::bench
