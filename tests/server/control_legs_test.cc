// SPDX-License-Identifier: Apache-2.0
// What volumes have of their legs stays where it is: while the server runs, over a restart, and
// when a volume is asked for again.
#include <gmock/gmock.h>

#include "tests/server/control_house.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(ControlTest, TheSameAgainMayLeaveOutWhatTheServerFilledIn) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(control().AddDisk({}, MemoryDisk(name)).ok());
  }
  const auto create = [&](const Ask& ask, std::vector<uint64_t> leg_bytes) {
    VolumeSpec volume = ConcatOf("v", {"a", "b", "c"});
    volume.leg_bytes = std::move(leg_bytes);
    return control().CreateVolume(ask, volume);
  };
  ASSERT_EQ(Said(create({"id", ""}, {kMiB})), "ok");
  EXPECT_EQ(Said(create({"id", ""}, {kMiB})), "ok");
  for (const auto& said : std::vector<std::vector<uint64_t>>{{}, {kMiB}, {kMiB, 4 * kMiB}}) {
    EXPECT_EQ(Said(create({}, said)), "ok");
  }
  for (const auto& said :
       std::vector<std::vector<uint64_t>>{{4 * kMiB}, {kMiB, kMiB}, {kMiB, 4 * kMiB, 4 * kMiB}}) {
    EXPECT_TRUE(absl::IsAlreadyExists(create({}, said).status())) << said.size();
  }
}

TEST_F(ControlTest, ALegThatHasOthersBehindItDoesNotGrow) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("a", Path("a"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().AddDisk({}, FileDisk("b", Path("b"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"a", "b"})).ok());
  std::filesystem::resize_file(Path("a"), 8 * kMiB);
  EXPECT_THAT(Said(control().RescanDisk({}, "a")), HasSubstr("only the last leg"));
  EXPECT_EQ(control().GetDisk("a")->limits.size, 4 * kMiB);
  std::filesystem::resize_file(Path("b"), 8 * kMiB);
  EXPECT_EQ(Said(control().RescanDisk({}, "b")), "ok");
  EXPECT_EQ(control().GetVolume("v")->limits.size, 12 * kMiB);
}

TEST_F(ControlTest, ALegThatIsLongerAtTheNextStartMovesNothing) {
  for (const char* name : {"a", "b", "c", "d"}) {
    std::ofstream(Path(name)).close();
    std::filesystem::resize_file(Path(name), 4 * kMiB);
  }
  config_.topology.disks = {FileDisk("a", Path("a")), FileDisk("b", Path("b"))};
  config_.topology.volumes = {ConcatOf("declared", {"a", "b"})};
  config_.exports = {ExportOf("declared", "declared")};
  Start();
  ASSERT_EQ(Said(control().AddDisk({}, FileDisk("c", Path("c")))), "ok");
  ASSERT_EQ(Said(control().AddDisk({}, FileDisk("d", Path("d")))), "ok");
  ASSERT_EQ(Said(control().CreateVolume({}, ConcatOf("made", {"c", "d"}))), "ok");
  EXPECT_EQ(Said(control().CreateVolume({}, ConcatOf("made", {"c", "d"}))), "ok");
  for (const char* name : {"a", "b", "c", "d"}) {
    std::filesystem::resize_file(Path(name), 6 * kMiB);
  }
  for (int starts = 0; starts < 2; ++starts) {
    Start();
    for (const char* name : {"declared", "made"}) {
      EXPECT_THAT(control().GetVolume(name)->spec.leg_bytes, ElementsAre(4 * kMiB)) << name;
      EXPECT_EQ(control().GetVolume(name)->limits.size, 10 * kMiB) << name;
    }
  }
  ASSERT_EQ(Said(control().AddDisk({}, MemoryDisk("e"))), "ok");
  EXPECT_EQ(control().GrowVolume({}, "made", 0, {"e"})->limits.size, 14 * kMiB);
}

TEST_F(ControlTest, WhatAnUndeclaredVolumeHadIsThatOfTheNextOneUntilThatIsDeleted) {
  const Config base = config_;
  config_.topology.disks.push_back(MemoryDisk("a"));
  config_.topology.disks.push_back(MemoryDisk("b"));
  config_.topology.volumes = {ConcatOf("v", {"a", "b"})};
  Start();
  config_ = base;
  Start();
  const auto create = [&] { return control().CreateVolume({}, ConcatOf("v", {"a", "b"})); };
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("a", 8 * kMiB)).ok());
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("b", 8 * kMiB)).ok());
  EXPECT_THAT(Said(control().CreateVolume({}, ConcatOf("v", {"b", "a"}))),
              HasSubstr("\"b\" stands where \"a\" stood"));
  EXPECT_THAT(create()->spec.leg_bytes, ElementsAre(4 * kMiB));
  ASSERT_EQ(Said(control().DeleteVolume({}, "v")), "ok");
  EXPECT_THAT(create()->spec.leg_bytes, ElementsAre(8 * kMiB));
  Start();
  EXPECT_THAT(create()->spec.leg_bytes, ElementsAre(8 * kMiB));
}

TEST_F(ControlTest, WhatWasMadeAndIsToBeDeclaredIsToSayWhatItHas) {
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("a")).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"a", "base"})).ok());
  house_.reset();
  const auto state = *StateDir::Open(folder_ + "/state");
  Config config = config_;
  config.topology.volumes = {ConcatOf("v", {"base"})};
  EXPECT_THAT(Said(Control::AddSaved(*state, config)),
              HasSubstr("declare it with leg_bytes: [4194304], for it has these"));
}

}  // namespace
}  // namespace sluice
