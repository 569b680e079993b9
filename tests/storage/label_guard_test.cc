// SPDX-License-Identifier: Apache-2.0
#include "storage/label_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/storage/fake_target.h"
#include "tests/storage/label_image.h"

namespace sluice {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kDiskSize = kMiB;
constexpr Place kSlice = {64 * kKiB, 128 * kKiB};
constexpr Place kOther = {256 * kKiB, 128 * kKiB};

class LabelGuardTest : public testing::Test {
 protected:
  LabelGuardTest() {
    PutGpt(disk.bytes, {kSlice, kOther});
    labelled = disk.bytes;
  }
  ~LabelGuardTest() override { EXPECT_EQ(world.CellsUsed(), 0u); }

  void Go(Request& request) {
    world.On(0, [&] { Submit(request.bio()); });
  }
  int Result(Op op, uint64_t offset, uint32_t length) {
    Request request(guard, op, offset, length);
    Go(request);
    EXPECT_TRUE(request.done());
    return request.error();
  }
  int WriteFrom(const DiskBytes& image, uint64_t offset, uint32_t length) {
    Request request(guard, Op::kWrite, offset, length);
    std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), length, request.memory.begin());
    Go(request);
    EXPECT_TRUE(request.done());
    return request.error();
  }
  size_t Writes() {
    size_t writes = 0;
    for (const auto& arrival : disk.arrivals) writes += IsWriteType(arrival.op) ? 1 : 0;
    return writes;
  }

  World world;
  FakeTarget disk{kDiskSize};
  LabelGuard guard{disk, {kSlice}};
  DiskBytes labelled;
};

TEST_F(LabelGuardTest, WritesBetweenTheLabelsPassUntouched) {
  EXPECT_EQ(Result(Op::kWrite, kLabelHeadBytes, 4096), 0);
  EXPECT_EQ(Result(Op::kTrim, kDiskSize - kLabelTailBytes - 4096, 4096), 0);
  EXPECT_EQ(Result(Op::kZero, kLabelHeadBytes, kDiskSize - kLabelTailBytes - kLabelHeadBytes), 0);
  EXPECT_THAT(disk.arrivals, SizeIs(3));  // no label was read for them
}

TEST_F(LabelGuardTest, WhatIsNoWritePassesEverywhere) {
  EXPECT_EQ(Result(Op::kRead, 0, kDiskSize), 0);
  EXPECT_EQ(Result(Op::kCache, 0, 4096), 0);
  EXPECT_EQ(Result(Op::kFlush, 0, 0), 0);
  EXPECT_THAT(disk.arrivals, SizeIs(3));
}

TEST_F(LabelGuardTest, AWriteThatLosesTheLabelIsRefused) {
  const struct {
    Op op;
    uint64_t offset;
    uint32_t length;
  } cases[] = {
      {Op::kWrite, 0, 512},          // the MBR
      {Op::kWrite, 0, 1024 * 1024},  // everything
      {Op::kZero, 0, 4096},          // MBR and header
      {Op::kTrim, 0, kDiskSize},     // everything, the lazy way
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Result(c.op, c.offset, c.length), EPERM) << OpName(c.op) << " at " << c.offset;
  }
  EXPECT_EQ(Writes(), 0u);
  EXPECT_EQ(disk.bytes, labelled);
}

TEST_F(LabelGuardTest, AnyByteOfTheLastGoodLabelIsProtectedAndNoOther) {
  disk.bytes[kDiskSize - kLba] = 0;  // only the primary is left
  for (uint64_t sector = 0; sector < kDiskSize / kLba; ++sector) {
    Request write(guard, Op::kWrite, sector * kLba, kLba);
    const auto at = disk.bytes.begin() + static_cast<ptrdiff_t>(sector * kLba);
    const DiskBytes before(at, at + kLba);
    std::transform(before.begin(), before.end(), write.memory.begin(),
                   [](char byte) { return static_cast<char>(byte ^ 0x55); });
    Go(write);
    // Sectors 0 to 33 are the MBR, the header and the entries; what the broken backup held may be
    // overwritten.
    ASSERT_EQ(write.error(), sector < 34 ? EPERM : 0) << "sector " << sector;
    std::copy(before.begin(), before.end(), at);
  }
}

TEST_F(LabelGuardTest, AnUnlabelledDiskIsProtectedInItsLabelSectorsAlone) {
  disk.bytes.assign(kDiskSize, '\0');
  for (uint64_t sector = 0; sector < kDiskSize / kLba; ++sector) {
    Request write(guard, Op::kWrite, sector * kLba, kLba);
    write.Fill(1);
    Go(write);
    const bool label = sector < 34 || sector >= kDiskSize / kLba - 33;
    ASSERT_EQ(write.error(), label ? EPERM : 0) << "sector " << sector;
  }
}

TEST_F(LabelGuardTest, AWriteThatChangesNoByteIsFine) {
  EXPECT_EQ(WriteFrom(labelled, 0, 64 * 1024), 0);
  EXPECT_EQ(WriteFrom(labelled, kDiskSize - 64 * 1024, 64 * 1024), 0);
  EXPECT_EQ(Writes(), 2u);
}

TEST_F(LabelGuardTest, AWriteThatKeepsEveryUsedSliceIsFine) {
  DiskBytes next = labelled;
  PutGpt(next, {kSlice});  // the other partition is not in use
  EXPECT_EQ(WriteFrom(next, 0, 64 * 1024), 0);
  EXPECT_EQ(WriteFrom(next, kDiskSize - 64 * 1024, 64 * 1024), 0);
  EXPECT_EQ(disk.bytes, next);
}

TEST_F(LabelGuardTest, AWriteThatMovesAUsedSliceIsRefused) {
  DiskBytes next = labelled;
  PutGpt(next, {{kSlice.offset, kSlice.size / 2}, kOther});
  EXPECT_EQ(WriteFrom(next, 0, 64 * 1024), EPERM);
  EXPECT_EQ(disk.bytes, labelled);
}

TEST_F(LabelGuardTest, TheLabelAsItIsNowDecides) {
  DiskBytes next = labelled;
  PutGpt(next, {kSlice});
  EXPECT_EQ(WriteFrom(next, 0, 64 * 1024), 0);
  PutGpt(next, {kOther});
  EXPECT_EQ(WriteFrom(next, 0, 64 * 1024), EPERM);
}

TEST_F(LabelGuardTest, AWriteCutAnywhereIntoSegmentsIsReadRight) {
  DiskBytes next = labelled;
  PutGpt(next, {kSlice});
  Request write(guard, Op::kWrite, 0, 64 * 1024);
  write.Cut({100, 412, 1, 4095, 16384, 64 * 1024 - 100 - 412 - 1 - 4095 - 16384});
  std::copy_n(next.begin(), 64 * 1024, write.memory.begin());
  Go(write);
  EXPECT_EQ(write.error(), 0);
}

TEST_F(LabelGuardTest, LabelWritesAreExaminedOneAtATimeInOrder) {
  disk.hold = true;
  DiskBytes keep = labelled;
  PutGpt(keep, {kSlice});
  Request first(guard, Op::kWrite, 0, 64 * 1024);
  std::copy_n(keep.begin(), 64 * 1024, first.memory.begin());
  Request second(guard, Op::kZero, 0, 512);
  Go(first);
  Go(second);
  const auto end_one = [&] {
    ASSERT_THAT(disk.held, SizeIs(1));
    world.On(0, [&] { disk.End(*disk.held[0]); });
  };
  end_one();  // the head and the tail for the first
  end_one();
  EXPECT_EQ(disk.arrivals.back().op, Op::kWrite);
  end_one();
  EXPECT_TRUE(first.done());
  EXPECT_EQ(second.callbacks, 0);
  end_one();  // the head and the tail for the second
  end_one();
  EXPECT_TRUE(second.done());
  EXPECT_EQ(second.error(), EPERM);
}

TEST_F(LabelGuardTest, ALabelThatCannotBeReadRefusesTheWrite) {
  disk.error = EIO;
  EXPECT_EQ(Result(Op::kWrite, 0, 512), EIO);
  EXPECT_EQ(Writes(), 0u);
}

TEST_F(LabelGuardTest, TheDisksErrorIsTheWritesError) {
  disk.hold = true;
  Request write(guard, Op::kWrite, 0, 512);
  std::copy_n(labelled.begin(), 512, write.memory.begin());
  Go(write);
  for (const int error : {0, 0, ENOSPC}) {
    world.On(0, [&] { disk.End(*disk.held[0], error); });
  }
  EXPECT_TRUE(write.done());
  EXPECT_EQ(write.error(), ENOSPC);
}

TEST_F(LabelGuardTest, AbandonedWritesNeverReachTheDisk) {
  disk.hold = true;
  disk.at_device = true;
  Request examined(guard, Op::kZero, 0, 512);
  Request waiting(guard, Op::kZero, 0, 512);
  Go(examined);
  Go(waiting);
  world.On(0, [&] { Abandon(waiting.bio()); });
  EXPECT_EQ(waiting.releases, 1);
  world.On(0, [&] { Abandon(examined.bio()); });
  EXPECT_EQ(examined.releases, 0);
  world.On(0, [&] { disk.End(*disk.held[0]); });
  EXPECT_EQ(examined.releases, 1);
  EXPECT_EQ(Writes(), 0u);
}

TEST_F(LabelGuardTest, AnAbandonedWriteAtTheDeviceIsReleasedWhenItEnds) {
  disk.hold = true;
  disk.at_device = true;
  Request write(guard, Op::kWrite, 0, 512);
  std::copy_n(labelled.begin(), 512, write.memory.begin());
  Go(write);
  world.On(0, [&] { disk.End(*disk.held[0]); });
  world.On(0, [&] { disk.End(*disk.held[0]); });
  world.On(0, [&] { Abandon(write.bio()); });
  EXPECT_EQ(write.releases, 0);
  EXPECT_EQ(disk.cancels, 1);
  world.On(0, [&] { disk.End(*disk.held[0]); });
  EXPECT_EQ(write.releases, 1);
}

TEST_F(LabelGuardTest, AnAbandonedWriteElsewhereIsTheDisksToCancel) {
  disk.hold = true;
  Request write(guard, Op::kWrite, 512 * kKiB, 4096);
  Go(write);
  world.On(0, [&] { Abandon(write.bio()); });
  EXPECT_EQ(write.releases, 1);
  EXPECT_THAT(disk.held, IsEmpty());
}

TEST(LabelGuardSizeTest, SmallDisksAndLargeBlocksAreReadInWholeBlocks) {
  for (const uint32_t block : {512u, 4096u, 65536u}) {
    for (const uint64_t blocks : {1u, 2u, 3u, 20u}) {
      World world;
      FakeTarget disk(blocks * block);
      disk.mutable_limits().block = block;
      LabelGuard guard(disk, {{blocks * block, 512}});
      Request write(guard, Op::kWrite, 0, static_cast<uint32_t>(blocks * block));
      write.Fill(1);
      world.On(0, [&] { Submit(write.bio()); });
      EXPECT_TRUE(write.done());
      EXPECT_EQ(write.error(), EPERM);
      EXPECT_THAT(disk.arrivals, SizeIs(2));
    }
  }
}

}  // namespace
}  // namespace sluice
