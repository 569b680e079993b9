// SPDX-License-Identifier: Apache-2.0
// A topology built beside another one: what is shared, what is made, moved and closed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "storage/label_guard.h"
#include "storage/volume.h"
#include "tests/storage/label_image.h"
#include "tests/storage/topology_support.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class TopologyChangeTest : public testing::Test {
 protected:
  // Builds what `spec_` says now beside what is there; the old one ends.
  absl::Status Change(uint16_t reactors = 2) {
    auto built = Topology::Build(spec_, reactors, factory_, now_.get());
    if (!built.ok()) return built.status();
    (*built)->Adopt(factory_);
    now_ = *std::move(built);
    return absl::OkStatus();
  }
  // EPERM if the guard of the label is there.
  int WriteTo(const std::string& name, uint64_t offset) {
    Request write(*now_->Find(name), Op::kWrite, offset, 512);
    write.Fill(++seed_);
    world_.On(now_->Find(name)->home(), [&] { Submit(write.bio()); });
    EXPECT_TRUE(write.done());
    return write.error();
  }

  void GrowDisk(const std::string& name, uint64_t bytes) {
    factory_.disks[name]->mutable_limits().size = bytes;
    factory_.disks[name]->bytes.resize(bytes);
  }

  World world_{3};
  FakeFactory factory_;
  TopologySpec spec_;
  uint32_t seed_ = 0;
  std::unique_ptr<const Topology> now_;
};

TEST_F(TopologyChangeTest, WhatIsTheSameIsSharedAndOnlyTheNewIsOpened) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB)}, {Concat("v", {"a"})}};
  ASSERT_TRUE(Change().ok());
  const Target* a = now_->Find("a");
  const Target* v = now_->Find("v");
  factory_.homes.clear();
  spec_.disks.push_back(Memory("c", kMiB));
  spec_.disks[0].bufq = "fcfs";
  spec_.disks[0].depth = 7;
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("a"), a);
  EXPECT_EQ(now_->Find("v"), v);
  EXPECT_THAT(factory_.homes, ElementsAre(testing::Pair("c", 0)));
  EXPECT_THAT(factory_.closed, IsEmpty());
}

TEST_F(TopologyChangeTest, WhatIsGoneIsClosedWhenNobodyHoldsItVolumesBeforeTheirLegs) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB)}, {Concat("v", {"b"})}};
  ASSERT_TRUE(Change().ok());
  std::shared_ptr<Target> held = now_->Share("v");
  spec_ = {{Memory("a", kMiB)}, {}};
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("v"), nullptr);
  EXPECT_THAT(factory_.closed, IsEmpty());
  held.reset();
  EXPECT_THAT(factory_.closed, ElementsAre("b"));
}

TEST_F(TopologyChangeTest, AGrownConcatIsMadeAnewOverTheSameDisksAndTheOldOneServesOn) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB)}, {Concat("v", {"a"})}};
  ASSERT_TRUE(Change(1).ok());
  const std::shared_ptr<Target> old = now_->Share("v");
  spec_.volumes[0].legs.push_back("b");
  ASSERT_TRUE(Change(1).ok());
  EXPECT_NE(now_->Share("v"), old);
  EXPECT_EQ(old->limits().size, kMiB);
  EXPECT_EQ(now_->Find("v")->limits().size, 2 * kMiB);
  Request write(*old, Op::kWrite, 4096, 4096);
  write.Fill(7);
  world_.On(0, [&] { Submit(write.bio()); });
  EXPECT_EQ(write.error(), 0);
  EXPECT_EQ(WriteTo("v", kMiB), 0);
  EXPECT_EQ(factory_.disks["a"]->bytes[5000], PatternAt(5000, 7));
}

TEST_F(TopologyChangeTest, AVolumeThatFailsToBuildLeavesWhatIsThere) {
  spec_ = {{Memory("a", kMiB)}, {}};
  ASSERT_TRUE(Change().ok());
  spec_.disks.push_back(Memory("b", kMiB));
  spec_.volumes.push_back(Slice("s", "b", 0, 2 * kMiB));
  EXPECT_FALSE(Change().ok());
  EXPECT_THAT(factory_.closed, ElementsAre("b"));
  EXPECT_EQ(WriteTo("a", 0), 0);
}

TEST_F(TopologyChangeTest, DisksThatAVolumeJoinsAreMovedToOneReactorWithAllThatStandsOnThem) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB)}, {Concat("on_b", {"b"})}};
  ASSERT_TRUE(Change().ok());
  const uint16_t home = now_->Find("on_b")->home();
  ASSERT_NE(now_->Find("a")->home(), home);
  spec_.volumes.push_back(Concat("both", {"a", "on_b"}));
  EXPECT_THAT(*now_->MovedBy(spec_, 2), ElementsAre("a"));
  ASSERT_TRUE(Change().ok());
  for (const char* name : {"a", "b", "on_b", "both"}) EXPECT_EQ(now_->Find(name)->home(), home);
  EXPECT_EQ(WriteTo("both", kMiB - 512), 0);
}

TEST_F(TopologyChangeTest, AVolumeThatAlreadyExistsStaysWhereItIs) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB), Memory("c", kMiB)}, {Concat("v", {"c"})}};
  ASSERT_TRUE(Change(3).ok());
  const uint16_t home = now_->Find("v")->home();
  spec_.volumes[0].legs = {"c", "a", "b"};
  EXPECT_THAT(*now_->MovedBy(spec_, 3), UnorderedElementsAre("a", "b"));
  ASSERT_TRUE(Change(3).ok());
  EXPECT_EQ(now_->Find("v")->home(), home);
}

TEST_F(TopologyChangeTest, NewDisksGoWhereTheFewestAre) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB), Memory("c", kMiB)}, {}};
  ASSERT_TRUE(Change(2).ok());
  spec_.disks = {Memory("b", kMiB), Memory("d", kMiB), Memory("e", kMiB)};
  ASSERT_TRUE(Change(2).ok());
  EXPECT_EQ(now_->Find("b")->home(), 1);
  EXPECT_EQ(now_->Find("d")->home(), 0);
}

TEST_F(TopologyChangeTest, TheGuardOfADiskLearnsOfNewSlices) {
  spec_ = {{Memory("d", kMiB)}, {}};
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(WriteTo("d", 0), 0);
  spec_.volumes.push_back(Slice("s", "d", 128 * kKiB, 64 * kKiB));
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(WriteTo("d", 0), EPERM);
  const Target* guarded = now_->Find("d");
  spec_.volumes.push_back(Slice("t", "d", 256 * kKiB, 64 * kKiB));
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("d"), guarded);
  spec_.volumes.clear();
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("d"), guarded);
  EXPECT_EQ(WriteTo("d", 0), 0);
}

TEST_F(TopologyChangeTest, WhatStandsOnAGrownDiskGrowsWhereItIs) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB)},
           {Concat("v", {"b", "a"}), Concat("w", {"v"}), Slice("s", "w", 64 * kKiB, 64 * kKiB)}};
  ASSERT_TRUE(Change().ok());
  const Target* outer = now_->Find("w");
  const Target* slice = now_->Find("s");
  EXPECT_TRUE(now_->CheckGrowth("a").ok());
  GrowDisk("a", 2 * kMiB);
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("v")->limits().size, 3 * kMiB);
  EXPECT_EQ(now_->Find("w"), outer);
  EXPECT_EQ(outer->limits().size, 3 * kMiB);
  EXPECT_EQ(now_->Find("s"), slice);
  EXPECT_EQ(slice->limits().size, 64 * kKiB);
  EXPECT_EQ(WriteTo("w", 3 * kMiB - 512), 0);
}

TEST_F(TopologyChangeTest, ASliceGrowsWhereItIs) {
  spec_ = {{Memory("d", kMiB)}, {Slice("s", "d", 64 * kKiB, 64 * kKiB)}};
  ASSERT_TRUE(Change().ok());
  const Target* slice = now_->Find("s");
  spec_.volumes[0].size_bytes = 128 * kKiB;
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("s"), slice);
  EXPECT_EQ(slice->limits().size, 128 * kKiB);
  EXPECT_EQ(WriteTo("s", 128 * kKiB - 512), 0);
}

TEST_F(TopologyChangeTest, TheGuardFollowsTheEndOfItsDisk) {
  spec_ = {{Memory("d", kMiB)}, {Slice("s", "d", 64 * kKiB, 64 * kKiB)}};
  ASSERT_TRUE(Change().ok());
  auto* guard = static_cast<LabelGuard*>(now_->Find("d"));
  EXPECT_EQ(WriteTo("d", kMiB - 512), EPERM);
  GrowDisk("d", 2 * kMiB);
  ASSERT_TRUE(guard->idle());
  guard->Follow();
  ASSERT_TRUE(Change().ok());
  EXPECT_EQ(now_->Find("d"), guard);
  EXPECT_EQ(WriteTo("d", kMiB - 512), 0);
  EXPECT_EQ(WriteTo("d", 2 * kMiB - 512), EPERM);
}

// What lies behind it would be found elsewhere.
TEST_F(TopologyChangeTest, ALegOfAConcatThatIsNotItsLastMayNotGrow) {
  spec_ = {{Memory("a", kMiB), Memory("b", kMiB)},
           {Concat("v", {"a", "b"}), Slice("s", "v", 0, 64 * kKiB)}};
  ASSERT_TRUE(Change().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(now_->CheckGrowth("a")));
  EXPECT_TRUE(now_->CheckGrowth("b").ok());
  GrowDisk("a", 2 * kMiB);
  EXPECT_TRUE(absl::IsFailedPrecondition(Change()));
  EXPECT_EQ(now_->Find("v")->limits().size, 2 * kMiB);
}

TEST_F(TopologyChangeTest, ANewLegWithLargerBlocksMayNotCutTheOnesThere) {
  spec_ = {{Memory("a", kMiB + 512), Memory("b", kMiB)}, {Concat("v", {"a"})}};
  ASSERT_TRUE(Change().ok());
  factory_.logical_blocks["b"] = 4096;
  spec_.disks[1].name = "c";
  factory_.logical_blocks["c"] = 4096;
  spec_.volumes[0].legs.push_back("c");
  EXPECT_TRUE(absl::IsFailedPrecondition(Change()));
  EXPECT_EQ(now_->Find("v")->limits().size, kMiB + 512);
}

TEST_F(TopologyChangeTest, AConcatThatGoesOnHasOfItsLegsWhatItHad) {
  spec_ = {{Memory("a", 2 * kMiB), Memory("b", kMiB), Memory("c", kMiB)},
           {Concat("v", {"a", "b"}, {kMiB})}};
  ASSERT_TRUE(Change().ok());
  spec_.volumes[0].legs.push_back("c");
  ASSERT_TRUE(Change(1).ok());
  EXPECT_EQ(now_->Find("v")->limits().size, 3 * kMiB);
  now_->RecordLegs(spec_);
  EXPECT_THAT(spec_.volumes[0].leg_bytes, testing::ElementsAre(kMiB, kMiB));
  spec_.volumes[0].leg_bytes[0] = 2 * kMiB;
  EXPECT_TRUE(absl::IsFailedPrecondition(Change(1)));
  EXPECT_EQ(now_->Find("v")->limits().size, 3 * kMiB);
}

}  // namespace
}  // namespace sluice
