// SPDX-License-Identifier: Apache-2.0
// What is remembered of the legs of concats from one start of a server to the next.
#include "server/control/leg_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "server/config.h"
#include "server/control/control.h"
#include "tests/storage/topology_support.h"

namespace sluice {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Bytes = std::vector<uint64_t>;

class LegRecordTest : public testing::Test {
 protected:
  LegRecordTest() {
    std::filesystem::remove_all(folder_);
    state_ = *StateDir::Open(folder_);
  }
  ~LegRecordTest() override { std::filesystem::remove_all(folder_); }

  LegRecord Record() {
    auto record = LegRecord::Load(*state_);
    EXPECT_TRUE(record.ok()) << record.status();
    return *std::move(record);
  }
  // A start of a server with these volumes, which say all.
  void Started(std::vector<VolumeSpec> volumes, const std::set<std::string>& made = {}) {
    const absl::Status status = Record().Keep({{}, std::move(volumes)}, made);
    EXPECT_TRUE(status.ok()) << status;
  }
  // What the first of `volumes` has then; what is logged goes to said_, a refusal too.
  Bytes Recalled(std::vector<VolumeSpec> volumes) {
    testing::internal::CaptureStderr();
    const absl::Status status = Record().Recall(volumes[0], volumes);
    said_ = testing::internal::GetCapturedStderr();
    refused_ = !status.ok();
    if (refused_) said_ += std::string(status.message());
    return volumes[0].leg_bytes;
  }

  const std::string folder_ =
      testing::TempDir() + "leg_record_test." + std::to_string(static_cast<long>(getpid()));
  std::unique_ptr<StateDir> state_;
  std::string said_;
  bool refused_ = false;
};

TEST_F(LegRecordTest, WhatIsNotSaidIsWhatItWas) {
  Started({Concat("v", {"a", "b", "c"}, {kMiB, 2 * kMiB})});
  for (const Bytes& said : {Bytes{}, Bytes{kMiB}, Bytes{kMiB, 2 * kMiB}}) {
    EXPECT_THAT(Recalled({Concat("v", {"a", "b", "c"}, said)}), ElementsAre(kMiB, 2 * kMiB));
    EXPECT_EQ(said_, "");
  }
}

TEST_F(LegRecordTest, WhatIsSaidStandsAndThatItWasAnotherIsLogged) {
  Started({Concat("v", {"a", "b", "c"}, {kMiB, 2 * kMiB})});
  EXPECT_THAT(Recalled({Concat("v", {"a", "b", "c"}, {4096})}), ElementsAre(4096, 2 * kMiB));
  EXPECT_THAT(said_, AllOf(HasSubstr("volume \"v\": leg_bytes: 4096 of \"a\""),
                           HasSubstr("say leg_bytes: [1048576, 2097152]")));
}

TEST_F(LegRecordTest, AStartWithoutAVolumeForgetsNothing) {
  Started({Concat("v", {"a", "b"}, {kMiB})});
  Started({});
  Started({Concat("other", {"c", "d"}, {kMiB}), Stripe("v", {"a", "b"})});
  EXPECT_THAT(Recalled({Concat("v", {"a", "b"})}), ElementsAre(kMiB));
}

TEST_F(LegRecordTest, OtherLegsAreRefusedUnlessAllIsSaid) {
  Started({Concat("v", {"a", "b", "c"}, {kMiB, 2 * kMiB})});
  for (const auto& legs : std::vector<std::vector<std::string>>{
           {"b", "a", "c"}, {"x", "b", "c"}, {"a", "b", "x"}, {"x", "a", "b", "c"}, {"a", "c"}}) {
    EXPECT_THAT(Recalled({Concat("v", legs)}), IsEmpty()) << legs[0];
    EXPECT_TRUE(refused_);
    EXPECT_THAT(said_, AllOf(HasSubstr("might move: put the legs back"),
                             HasSubstr("leg_bytes: [1048576, 2097152]")));
  }
  EXPECT_THAT(Recalled({Concat("v", {"x", "b", "c"}, {kMiB})}), ElementsAre(kMiB));
  EXPECT_TRUE(refused_);
  EXPECT_THAT(Recalled({Concat("v", {"x", "b", "c"}, {kMiB, 4096})}), ElementsAre(kMiB, 4096));
  EXPECT_FALSE(refused_);
  EXPECT_THAT(said_, HasSubstr("\"x\" stands where \"a\" stood"));
}

TEST_F(LegRecordTest, FurtherLegsMoveNothingAndFewerAreLogged) {
  Started({Concat("v", {"a", "b", "c"}, {kMiB, 2 * kMiB})});
  EXPECT_THAT(Recalled({Concat("v", {"a", "b", "c", "d"})}), ElementsAre(kMiB, 2 * kMiB));
  EXPECT_EQ(said_, "");
  EXPECT_THAT(Recalled({Concat("v", {"a", "b"})}), ElementsAre(kMiB));
  EXPECT_THAT(said_, AllOf(HasSubstr("leg: \"c\" is none any more"),
                           HasSubstr("leg_bytes: [1048576, 2097152]")));
}

TEST_F(LegRecordTest, AVolumeOfAnotherNameGoesOnWhereItsLegsWere) {
  Started({Concat("v", {"a", "b"}, {kMiB}), Concat("w", {"c", "d"}, {2 * kMiB})});
  EXPECT_THAT(Recalled({Concat("x", {"a", "b"})}), ElementsAre(kMiB));
  EXPECT_THAT(said_, HasSubstr("volume \"x\": has the legs that \"v\" had"));
  // Names change places.
  const VolumeSpec v = Concat("v", {"c", "d"});
  const VolumeSpec w = Concat("w", {"a", "b"});
  EXPECT_THAT(Recalled({v, w}), ElementsAre(2 * kMiB));
  EXPECT_THAT(Recalled({w, v}), ElementsAre(kMiB));
  // A new one has the old one's name.
  EXPECT_THAT(Recalled({Concat("v", {"e", "f"}), w}), IsEmpty());
  EXPECT_FALSE(refused_);
}

// `old` is what the first two legs were once; since then the volume was made anew, and longer.
TEST_F(LegRecordTest, FewerLegsGoOnFromTheLastRecordOfThemNotFromAnOlderOne) {
  Started({Concat("old", {"a", "b"}, {kMiB})});
  Started({Concat("v", {"a", "b", "c"}, {2 * kMiB, kMiB})});
  for (const char* name : {"v", "w"}) {
    EXPECT_THAT(Recalled({Concat(name, {"a", "b"})}), ElementsAre(2 * kMiB)) << name;
    EXPECT_THAT(said_, HasSubstr("leg: \"c\" is none any more"));
  }
  // A new one has the old one's name.
  EXPECT_THAT(Recalled({Concat("v", {"e", "f"}), Concat("w", {"a", "b"})}), IsEmpty());
  EXPECT_FALSE(refused_);
}

TEST_F(LegRecordTest, WhatWasMadeAtRunTimeSaysItselfAndTakesItsNamesRecordWithIt) {
  Started({Concat("v", {"a", "b"}, {kMiB})});
  Started({Concat("v", {"a", "b"}, {2 * kMiB})}, {"v"});
  EXPECT_THAT(Recalled({Concat("v", {"a", "b"})}), IsEmpty());
}

TEST_F(LegRecordTest, ADeletedVolumesRecordGoes) {
  Started({Concat("v", {"a", "b"}, {kMiB}), Concat("w", {"c", "d"}, {kMiB})});
  EXPECT_TRUE(Record().Forget("v").ok());
  EXPECT_THAT(Recalled({Concat("v", {"a", "b"})}), IsEmpty());
  EXPECT_THAT(Recalled({Concat("w", {"c", "d"})}), ElementsAre(kMiB));
}

// As many as there may be, each as long as it can be.
TEST_F(LegRecordTest, TheLastThatWereDeclaredAreKeptAndWithThoseOfALargestConfigTheyFit) {
  const auto largest = [](const std::string& name) {
    const auto named = [](std::string text) {
      text.resize(64, '_');
      return text;
    };
    VolumeSpec volume = Concat(named(name), {});
    for (size_t leg = 0; leg < kMaxLegs; ++leg) {
      volume.legs.push_back(named(absl::StrCat(name, "-", leg)));
    }
    volume.leg_bytes.assign(kMaxLegs - 1, ~uint64_t{0});
    return volume;
  };
  const auto some = [&](const std::string& name, size_t count) {
    std::vector<VolumeSpec> volumes;
    for (size_t i = 0; i < count; ++i) volumes.push_back(largest(absl::StrCat(name, i)));
    return volumes;
  };
  Started(some("oldest", 1));
  Started(some("old", LegRecord::kUndeclaredMax));
  testing::internal::CaptureStderr();
  Started(some("new", 1024));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("forgotten is leg_bytes: ["));
  const auto silent = [](VolumeSpec volume) {
    volume.leg_bytes.clear();
    return volume;
  };
  EXPECT_THAT(Recalled({silent(largest("oldest0"))}), IsEmpty());
  EXPECT_EQ(Recalled({silent(largest("old0"))}), largest("old0").leg_bytes);
  EXPECT_EQ(Recalled({silent(largest("new1023"))}), largest("new1023").leg_bytes);
}

TEST_F(LegRecordTest, WhatNoRecordCanBeIsRefusedAndLeftAlone) {
  for (const VolumeSpec& bad :
       {Concat("v", {"a", "b"}), Concat("v", {}, {kMiB}), Concat("v", {"a"}, {kMiB, kMiB}),
        Concat("v", {"a", "b"}, {0}), Stripe("v", {"a", "b"}), Slice("v", "a", 0, kMiB),
        Concat("v", std::vector<std::string>(66, "a"), Bytes(65, kMiB))}) {
    Config config;
    config.topology.volumes = {bad};
    ASSERT_TRUE(state_->Load("layout", 1).ok());
    ASSERT_TRUE(state_->Save("layout", 1, RenderParts(config)).ok());
    const auto record = LegRecord::Load(*state_);
    EXPECT_TRUE(absl::IsDataLoss(record.status())) << RenderParts(config);
    EXPECT_THAT(std::string(record.status().message()), HasSubstr("/layout: volume \"v\""));
    EXPECT_EQ(*state_->Load("layout", 1), RenderParts(config));
  }
}

TEST_F(LegRecordTest, AStateThatIsFullWithoutItIsAnErrorOfTheStart) {
  Config saved;
  saved.topology.disks = {Memory("a", kMiB), Memory("b", kMiB)};
  saved.topology.volumes = {Concat("v", {"a", "b"})};
  saved.exports.emplace_back();
  saved.exports[0].name = "v";
  saved.exports[0].volume = "v";
  const size_t rest = RenderParts(saved).size();
  saved.exports[0].allow = {std::string(StateDir::kBytesMax - rest - 12, 'x')};
  ASSERT_EQ(RenderParts(saved).size(), StateDir::kBytesMax);
  ASSERT_TRUE(state_->Load("served", 1).ok());
  ASSERT_TRUE(state_->Save("served", 1, RenderParts(saved)).ok());

  FakeFactory factory;
  const auto topology = *Topology::Build(saved.topology, 1, factory);
  const absl::Status status =
      Control::SaveBuilt(*state_, saved, Control::Made{{"a", "b", "v"}, {"v"}}, *topology);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("with the sluiced that wrote it"));
}

}  // namespace
}  // namespace sluice
