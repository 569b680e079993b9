// SPDX-License-Identifier: Apache-2.0
#include "client/attach/geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/units.h"
#include "proto/nbd.h"

namespace sluice::attach {
namespace {

using ::testing::HasSubstr;

constexpr uint16_t kUsualFlags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kSendTrim;
constexpr uint16_t kSeveral = kUsualFlags | nbd::kCanMultiConn;

Geometry Export(uint64_t size = kMiB, uint16_t flags = kSeveral, uint32_t min_block = 1) {
  return {.size_bytes = size, .min_block_bytes = min_block, .flags = flags};
}

TEST(AttachPlan, BlocksAreTheSmallestThatKernelAndServerTake) {
  EXPECT_EQ(PlanDevice(Export(), {}, 1)->block_bytes, 512U);
  EXPECT_EQ(PlanDevice(Export(kMiB, kSeveral, 4096), {}, 1)->block_bytes, 4096U);
  EXPECT_EQ(PlanDevice(Export(), {.block_bytes = 2048}, 1)->block_bytes, 2048U);
}

TEST(AttachPlan, BlocksThatEitherSideRefusesAreRefused) {
  for (const uint32_t wrong : {0U, 256U, 513U, 8192U}) {
    EXPECT_THAT(PlanDevice(Export(), {.block_bytes = wrong}, 1).status().ToString(),
                HasSubstr("512, 1024, 2048 or 4096"));
  }
  EXPECT_THAT(PlanDevice(Export(kMiB, kSeveral, 4096), {.block_bytes = 512}, 1).status().ToString(),
              HasSubstr("at least 4096 bytes: leave --block-size away"));
  EXPECT_FALSE(PlanDevice(Export(kMiB, kSeveral, 65536), {}, 1).ok());
}

TEST(AttachPlan, ConnectionsAreAsManyAsThereAreCpusUpToFourIfTheExportAllowsSeveral) {
  EXPECT_EQ(PlanDevice(Export(), {}, 1)->connections, 1U);
  EXPECT_EQ(PlanDevice(Export(), {}, 2)->connections, 2U);
  EXPECT_EQ(PlanDevice(Export(), {}, 64)->connections, 4U);
  EXPECT_EQ(PlanDevice(Export(), {}, 0)->connections, 1U);
  EXPECT_EQ(PlanDevice(Export(kMiB, kUsualFlags), {}, 64)->connections, 1U);
  EXPECT_EQ(PlanDevice(Export(), {.connections = 16}, 2)->connections, 16U);
}

TEST(AttachPlan, SeveralConnectionsToAnExportThatAllowsOneAreRefused) {
  EXPECT_TRUE(PlanDevice(Export(kMiB, kUsualFlags), {.connections = 1}, 2).ok());
  EXPECT_THAT(PlanDevice(Export(kMiB, kUsualFlags), {.connections = 2}, 2).status().ToString(),
              HasSubstr("leave --connections away"));
  EXPECT_FALSE(PlanDevice(Export(), {.connections = 0}, 2).ok());
  EXPECT_FALSE(PlanDevice(Export(), {.connections = kMaxConnections + 1}, 2).ok());
}

TEST(AttachPlan, ASizeIsRoundedDownToWholeBlocksAndAnEmptyExportRefused) {
  EXPECT_EQ(PlanDevice(Export(kMiB + 4095), {.block_bytes = 4096}, 1)->size_bytes, kMiB);
  EXPECT_THAT(PlanDevice(Export(511), {}, 1).status().ToString(), HasSubstr("empty"));
}

TEST(AttachPlan, ReadOnlyIsAddedToWhatTheServerTells) {
  EXPECT_EQ(PlanDevice(Export(), {}, 1)->flags, kSeveral);
  EXPECT_EQ(PlanDevice(Export(), {.read_only = true}, 1)->flags, kSeveral | nbd::kReadOnly);
}

class Successor : public ::testing::Test {
 protected:
  absl::Status Check(const Geometry& now) const { return CheckSuccessor(device_, now); }

  const Device device_ = *PlanDevice(Export(), {.connections = 2}, 2);
};

TEST_F(Successor, TheSameAndALargerExportAreTaken) {
  EXPECT_TRUE(Check(Export()).ok());
  EXPECT_TRUE(Check(Export(kGiB)).ok());
  EXPECT_TRUE(Check(Export(kMiB + 1)).ok());
}

TEST_F(Successor, ASmallerExportIsRefused) {
  EXPECT_THAT(Check(Export(kMiB - 512)).ToString(), HasSubstr("shrunk to 1048064 bytes"));
}

TEST_F(Successor, AnExportThatLacksWhatTheKernelWasPromisedIsRefused) {
  EXPECT_THAT(Check(Export(kMiB, kSeveral | nbd::kReadOnly)).ToString(), HasSubstr("read-only"));
  EXPECT_THAT(Check(Export(kMiB, kUsualFlags)).ToString(), HasSubstr("several connections"));
  EXPECT_THAT(Check(Export(kMiB, kSeveral & ~nbd::kSendFlush)).ToString(), HasSubstr("flush"));
  EXPECT_THAT(Check(Export(kMiB, kSeveral & ~nbd::kSendFua)).ToString(), HasSubstr("FUA"));
  EXPECT_THAT(Check(Export(kMiB, kSeveral & ~nbd::kSendTrim)).ToString(), HasSubstr("trim"));
  EXPECT_THAT(Check(Export(kMiB, kSeveral, 4096)).ToString(), HasSubstr("at least 4096"));
}

TEST_F(Successor, AnExportThatCanMoreIsTaken) {
  EXPECT_TRUE(Check(Export(kMiB, kSeveral | nbd::kSendWriteZeroes)).ok());
}

TEST(AttachSuccessor, AReadOnlyDeviceIsServedByAReadOnlyExport) {
  const Device device = *PlanDevice(Export(), {.read_only = true}, 1);
  EXPECT_TRUE(CheckSuccessor(device, Export(kMiB, kSeveral | nbd::kReadOnly)).ok());
}

}  // namespace
}  // namespace sluice::attach
