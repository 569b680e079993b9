// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/extents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace sluice::nbd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kHole = kStateHole | kStateZero;
const StatusRange kRange = {0, 16384, 512, 100};

std::vector<StatusExtent> Status(const std::vector<Extent>& extents, const StatusRange& range) {
  std::vector<StatusExtent> status = {{1, 1}};
  ToStatus(extents, range, status);
  return status;
}

TEST(ToStatus, TranslatesEveryState) {
  EXPECT_THAT(
      Status({{512, false, false}, {512, true, true}, {512, false, true}, {512, true, false}},
             kRange),
      ElementsAre(StatusExtent{512, 0}, StatusExtent{512, kHole}, StatusExtent{512, kStateZero},
                  StatusExtent{512, kStateHole}));
}

TEST(ToStatus, ClipsToTheRange) {
  EXPECT_THAT(Status({{8192, false, false}, {uint64_t{1} << 40, true, true}}, kRange),
              ElementsAre(StatusExtent{8192, 0}, StatusExtent{8192, kHole}));
  EXPECT_THAT(Status({{uint64_t{1} << 40, false, false}}, {0, 0xfffffe00, 512, 1}),
              ElementsAre(StatusExtent{0xfffffe00, 0}));
}

TEST(ToStatus, JoinsNeighboursAndStopsAtTheCount) {
  const std::vector<Extent> extents = {
      {512, true, true}, {512, true, true}, {512, false, false}, {512, false, false}};
  EXPECT_THAT(Status(extents, kRange),
              ElementsAre(StatusExtent{1024, kHole}, StatusExtent{1024, 0}));
  StatusRange one = kRange;
  one.count_max = 1;
  EXPECT_THAT(Status(extents, one), ElementsAre(StatusExtent{1024, kHole}));
}

TEST(ToStatus, ABlockThatIsPartlyDataIsData) {
  StatusRange range = kRange;
  range.block_bytes = 4096;
  EXPECT_THAT(Status({{512, false, false}, {7680, true, true}}, range),
              ElementsAre(StatusExtent{4096, 0}, StatusExtent{4096, kHole}));
  EXPECT_THAT(
      Status({{4608, true, true}, {512, false, false}, {11264, true, true}}, range),
      ElementsAre(StatusExtent{4096, kHole}, StatusExtent{4096, 0}, StatusExtent{8192, kHole}));
  EXPECT_THAT(Status({{512, true, true}, {3584, false, true}}, range),
              ElementsAre(StatusExtent{4096, kStateZero}));
}

TEST(ToStatus, AnAnswerShorterThanABlockSaysNothing) {
  StatusRange range = kRange;
  range.block_bytes = 4096;
  EXPECT_THAT(Status({{512, true, true}}, range), IsEmpty());
  EXPECT_THAT(Status({}, range), IsEmpty());
}

TEST(ToStatus, AgreesWithTheBlocksLookedAtOneByOne) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    const uint32_t block = 1u << (9 + random() % 4);
    const StatusRange range = {0, block * static_cast<uint32_t>(1 + random() % 16), block, 100};
    std::vector<Extent> extents;
    std::vector<uint32_t> sector_bits;
    while (sector_bits.size() * 512 < range.length) {
      const uint64_t sectors = 1 + random() % 12;
      const Extent extent = {sectors * 512, random() % 2 == 0, random() % 2 == 0};
      extents.push_back(extent);
      const uint32_t bits = (extent.hole ? kStateHole : 0) | (extent.zero ? kStateZero : 0);
      sector_bits.insert(sector_bits.end(), sectors, bits);
    }
    std::vector<StatusExtent> expected;
    for (uint32_t at = 0; at < range.length; at += block) {
      uint32_t bits = ~0u;
      for (uint32_t sector = at / 512; sector < (at + block) / 512; ++sector) {
        bits &= sector_bits[sector];
      }
      if (!expected.empty() && expected.back().status == bits) {
        expected.back().length += block;
      } else {
        expected.push_back({block, bits});
      }
    }
    ASSERT_EQ(Status(extents, range), expected) << round;
  }
}

}  // namespace
}  // namespace sluice::nbd
