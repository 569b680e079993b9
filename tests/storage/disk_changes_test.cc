// SPDX-License-Identifier: Apache-2.0
// What changes about a disk while it serves.
#include <gtest/gtest.h>

#include "tests/storage/disk_rig.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = 512;

RigOptions Depth(uint32_t depth) {
  RigOptions options;
  options.disk.depth = depth;
  options.disk.gather = false;
  return options;
}

TEST(DiskChanges, MoreDepthIsUsedAtOnce) {
  DiskRig rig(Depth(1));
  for (uint64_t i = 0; i < 8; ++i) rig.Send(rig.Write(i * 2 * kBlock, kBlock));
  EXPECT_EQ(rig.UnderWay(), 1u);
  EXPECT_EQ(rig.disk->backlog(), 8u);
  rig.On([&] { rig.disk->SetDepth(5); });
  EXPECT_EQ(rig.UnderWay(), 5u);
  EXPECT_EQ(rig.disk->depth(), 5u);
  EXPECT_EQ(rig.disk->backlog(), 8u);
  rig.Settle();
  EXPECT_EQ(rig.disk->backlog(), 0u);
}

TEST(DiskChanges, LessDepthHoldsFromTheNextCompletionOn) {
  DiskRig rig(Depth(4));
  for (uint64_t i = 0; i < 12; ++i) rig.Send(rig.Write(i * 2 * kBlock, kBlock));
  EXPECT_EQ(rig.UnderWay(), 4u);
  rig.On([&] { rig.disk->SetDepth(2); });
  for (int ticks = 0; rig.UnderWay() > 2 && ticks < 100; ++ticks) rig.Tick();
  size_t most = 0;
  for (int ticks = 0; rig.UnderWay() > 0 && ticks < 100; ++ticks) {
    most = std::max(most, rig.UnderWay());
    rig.Tick();
  }
  EXPECT_EQ(most, 2u);
  rig.On([&] { rig.disk->SetDepth(4); });  // with the slots that were put aside
  for (uint64_t i = 0; i < 6; ++i) rig.Send(rig.Write(i * 2 * kBlock, kBlock));
  EXPECT_EQ(rig.UnderWay(), 4u);
  rig.Settle();
}

TEST(DiskChanges, AClosedDiskFinishesWhatItHasAndTakesFlushesAlone) {
  DiskRig rig(Depth(1));
  Request& running = rig.Write(0, kBlock);
  Request& waiting = rig.Write(4 * kBlock, kBlock);
  rig.Send(running);
  rig.Send(waiting);
  rig.On([&] { rig.disk->SetClosed(true); });
  Request& late = rig.Write(8 * kBlock, kBlock);
  Request& late_read = rig.Read(0, kBlock);
  Request& flush = rig.Flush();
  rig.Send({&late, &late_read, &flush});
  EXPECT_EQ(late.error(), ESHUTDOWN);
  EXPECT_EQ(late_read.error(), ESHUTDOWN);
  rig.Settle();
  EXPECT_EQ(running.error(), 0);
  EXPECT_EQ(waiting.error(), 0);
  EXPECT_EQ(flush.error(), 0);
  EXPECT_TRUE(flush.done());
  EXPECT_EQ(rig.Contents(4 * kBlock, kBlock), DiskRig::Pattern(4 * kBlock, kBlock));
  rig.On([&] { rig.disk->SetClosed(false); });
  Request& open = rig.Write(0, kBlock);
  rig.Send(open);
  rig.Settle();
  EXPECT_EQ(open.error(), 0);
}

}  // namespace
}  // namespace sluice
