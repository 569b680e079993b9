// SPDX-License-Identifier: Apache-2.0
#include "storage/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/volume.h"
#include "tests/storage/fake_target.h"
#include "tests/storage/label_image.h"
#include "tests/storage/topology_support.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ErrorOf(const TopologySpec& spec) { return std::string(CheckTopology(spec).message()); }

std::string BuildError(const TopologySpec& spec, FakeFactory& factory) {
  return std::string(Topology::Build(spec, 1, factory).status().message());
}

TEST(TopologyCheckTest, EachMistakeIsNamedWithItsVolumeAndKey) {
  const std::vector<DiskSpec> d = {Memory("d0", kMiB), Memory("d1", kMiB)};
  const uint64_t top = ~uint64_t{0};
  const struct {
    TopologySpec spec;
    const char* error;
  } table[] = {
      {{{Memory("", kMiB)}, {}}, R"(disk "": name: is empty)"},
      {{{Memory("a", kMiB), Memory("a", kMiB)}, {}}, R"(disk "a": name: another)"},
      {{d, {Concat("d1", {"d0"})}}, R"(volume "d1": name: another disk or volume has it)"},
      {{d, {Concat("v", {})}}, R"(volume "v": leg: is missing)"},
      {{d, {Concat("v", {"d0", "d9"})}}, R"(volume "v": leg: there is no disk or volume "d9")"},
      {{d, {Concat("v", {"d0", "d0"})}}, R"(volume "v": leg: "d0" is used already, by "v")"},
      {{d, {Concat("v", {"d0"}), Stripe("w", {"d1", "d0"})}},
       R"(volume "w": leg: "d0" is used already, by "v")"},
      {{d, {Slice("s", "d0", 0, 512), Concat("v", {"d0"})}},
       R"(volume "v": leg: "d0" is used already, by "s")"},
      {{d, {Concat("v", {"d0"}), Slice("s", "d0", 0, 512)}},
       R"(volume "s": of: "d0" is used already, by "v")"},
      {{d, {Slice("s", "d0", 0, 1024), Slice("t", "d0", 512, 1024)}},
       R"(volume "t": offset_bytes: overlaps the slice "s")"},
      {{d, {Concat("v", {"d0", "d1"}, {512, 512})}}, R"(volume "v": leg_bytes: there is one for)"},
      {{d, {Concat("v", {"d0", "d1"}, {0})}}, R"(volume "v": leg_bytes: is 0)"},
      {{d, {Slice("s", "d0", 0, 0)}}, R"(volume "s": size_bytes: is 0)"},
      {{d, {Slice("s", "d0", top, 2)}}, R"(volume "s": size_bytes: offset and size together)"},
      {{d, {Stripe("v", {"d0", "d1"}, 0)}}, R"(volume "v": chunk_bytes: 0 is no power of two)"},
      {{d, {Stripe("v", {"d0", "d1"}, 32768)}}, R"(volume "v": chunk_bytes: 32768 is no power)"},
      {{d, {Stripe("v", {"d0", "d1"}, 65537)}}, R"(volume "v": chunk_bytes: 65537 is no power)"},
      {{d, {Concat("v", {"v"})}}, R"(volume "v": leg: the volume stands on itself)"},
      {{d, {Concat("u", {"v"}), Concat("v", {"w"}), Concat("w", {"v", "d0"})}},
       R"(volume "w": leg: "v" is used already, by "u")"},
      {{d, {Concat("v", {"w"}), Concat("w", {"v", "d0"})}}, "leg: the volume stands on itself"},
      {{d,
        {Slice("s", "v", 0, 512), Slice("t", "v", 512, 512), Concat("v", {"s"}),
         Concat("u", {"t"})}},
       "leg: the volume stands on itself"},
      {{d,
        {Concat("e", {"d"}), Concat("d", {"c"}), Concat("c", {"b"}), Concat("b", {"a"}),
         Concat("a", {"d0"})}},
       R"(volume "e": leg: volumes are nested more than 4 deep)"},
  };
  for (const auto& row : table) {
    EXPECT_THAT(ErrorOf(row.spec), HasSubstr(row.error));
    EXPECT_EQ(CheckTopology(row.spec).code(), absl::StatusCode::kInvalidArgument) << row.error;
  }
}

TEST(TopologyCheckTest, OnlyVolumesOfTheCycleAreBlamedForIt) {
  const TopologySpec spec = {{Memory("d0", kMiB)},
                             {Concat("stands_on_it", {"s"}), Slice("s", "v", 0, 512),
                              Slice("t", "v", 512, 512), Concat("v", {"t"})}};
  EXPECT_THAT(ErrorOf(spec), testing::AnyOf(HasSubstr("\"v\""), HasSubstr("\"t\"")));
}

TEST(TopologyCheckTest, TooManyLegsAreRefused) {
  TopologySpec spec;
  std::vector<std::string> legs;
  for (size_t i = 0; i <= kMaxLegs; ++i) {
    legs.push_back(absl::StrCat("d", i));
    spec.disks.push_back(Memory(legs.back(), kMiB));
  }
  spec.volumes = {Concat("v", legs)};
  EXPECT_THAT(ErrorOf(spec), HasSubstr(R"(volume "v": leg: more than 64 legs)"));
  spec.volumes[0].legs.pop_back();
  EXPECT_EQ(ErrorOf(spec), "");
}

TEST(TopologyCheckTest, VolumesMayComeInAnyOrderAndFourDeep) {
  EXPECT_EQ(
      ErrorOf({{Memory("d0", kMiB)},
               {Concat("d", {"c"}), Concat("c", {"b"}), Concat("b", {"a"}), Concat("a", {"d0"})}}),
      "");
}

TEST(TopologyBuildTest, SizesAndBlocksAreCheckedOnceDisksAreOpen) {
  const std::vector<DiskSpec> d = {Memory("d0", kMiB), Memory("d1", 32 * kKiB)};
  const struct {
    std::vector<VolumeSpec> volumes;
    const char* error;
  } table[] = {
      {{Slice("s", "d0", kMiB - 512, 1024)}, R"(volume "s": size_bytes: the slice of 1024 bytes)"},
      {{Slice("s", "d0", 2 * kMiB, 512)}, R"(volume "s": size_bytes: the slice of 512 bytes)"},
      {{Slice("s", "d0", 100, 512)},
       R"(volume "s": offset_bytes: is no multiple of 512, the block size of "d0")"},
      {{Slice("s", "d0", 512, 700)},
       R"(volume "s": size_bytes: is no multiple of 512, the block size of "d0")"},
      {{Concat("v", {"d0", "d1"}, {1000})},
       R"(volume "v": leg_bytes: 1000 of "d0" is no multiple of 512)"},
      {{Concat("v", {"d1", "d0"}, {kMiB})},
       R"(volume "v": leg_bytes: "d1" has 32768 bytes, less than the 1048576 that the volume has)"},
      {{Stripe("v", {"d0", "d1"})}, R"(volume "v": leg: its smallest leg of 32768 bytes)"},
  };
  for (const auto& row : table) {
    FakeFactory factory;
    EXPECT_THAT(BuildError({d, row.volumes}, factory), HasSubstr(row.error));
    EXPECT_THAT(factory.closed.size(), 2u) << "what was opened is closed again";
  }
  FakeFactory factory;
  factory.logical_blocks = {{"d0", 128 * 1024}};
  EXPECT_THAT(
      BuildError({{Memory("d0", kMiB), Memory("d2", kMiB)}, {Stripe("v", {"d0", "d2"})}}, factory),
      HasSubstr(R"(volume "v": chunk_bytes: a leg has blocks of 131072 bytes)"));
}

// As at a start after a file has become longer.
TEST(TopologyBuildTest, WhatLiesBehindALegStaysWhereItIsWhenTheLegIsLonger) {
  World world;
  FakeFactory factory;
  TopologySpec spec = {{Memory("a", kMiB), Memory("b", kMiB), Memory("c", kMiB)},
                       {Concat("inner", {"a", "b"}), Concat("v", {"inner", "c"})}};
  (*Topology::Build(spec, 1, factory))->RecordLegs(spec);
  EXPECT_THAT(spec.volumes[0].leg_bytes, ElementsAre(kMiB));
  EXPECT_THAT(spec.volumes[1].leg_bytes, ElementsAre(2 * kMiB));
  for (DiskSpec& disk : spec.disks) disk.size_bytes = 3 * kMiB;
  const auto built = *Topology::Build(spec, 1, factory);
  EXPECT_EQ(built->Find("inner")->limits().size, 4 * kMiB);
  EXPECT_EQ(built->Find("v")->limits().size, 5 * kMiB);
  Request write(*built->Find("v"), Op::kWrite, 2 * kMiB, 4096);
  write.Fill(7);
  world.On(0, [&] { Submit(write.bio()); });
  EXPECT_EQ(factory.disks["c"]->bytes[100], PatternAt(2 * kMiB + 100, 7));
}

TEST(TopologyBuildTest, ARequestMayNotBecomeTooMany) {
  FakeFactory factory;
  factory.children = 127;
  const std::vector<DiskSpec> d = {Memory("d0", kMiB), Memory("d1", kMiB), Memory("d2", kMiB)};
  EXPECT_EQ(BuildError({d, {Concat("v", {"d0", "d1"})}}, factory), "");
  EXPECT_THAT(BuildError({d, {Concat("v", {"d0", "d1", "d2"})}}, factory),
              HasSubstr(R"(volume "v": leg: a request would become 384 requests)"));
}

TEST(TopologyBuildTest, ADiskThatDoesNotOpenFailsTheBuildAndClosesTheOthers) {
  FakeFactory factory;
  factory.unopenable = "d1";
  const absl::Status status =
      Topology::Build({{Memory("d0", kMiB), Memory("d1", kMiB)}, {}}, 1, factory).status();
  EXPECT_EQ(status, absl::NotFoundError("no such file"));
  EXPECT_THAT(factory.closed, ElementsAre("d0"));
}

TEST(TopologyBuildTest, WhatWasBuiltLastEndsFirst) {
  FakeFactory factory;
  auto topology = Topology::Build({{Memory("d0", kMiB), Memory("d1", kMiB)}, {}}, 1, factory);
  ASSERT_TRUE(topology.ok()) << topology.status();
  topology->reset();
  EXPECT_THAT(factory.closed, ElementsAre("d1", "d0"));
}

TEST(TopologyBuildTest, DisksJoinedByAVolumeShareAHomeTheOthersAreDealt) {
  FakeFactory factory;
  const TopologySpec spec = {
      {Memory("a", kMiB), Memory("b", kMiB), Memory("c", kMiB), Memory("d", kMiB), Null("n"),
       Memory("e", kMiB), Memory("f", kMiB)},
      {Concat("top", {"cd", "a"}), Stripe("cd", {"c", "d"}), Slice("s1", "e", 0, 65536),
       Slice("s2", "n", 0, 65536), Concat("nulls", {"s2", "b"})}};
  const auto topology = Topology::Build(spec, 3, factory);
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(factory.homes["a"], 0);
  EXPECT_EQ(factory.homes["b"], 1);
  EXPECT_EQ(factory.homes["c"], 0);
  EXPECT_EQ(factory.homes["d"], 0);
  EXPECT_EQ(factory.homes["n"], kNoHome);
  EXPECT_EQ(factory.homes["e"], 2);
  EXPECT_EQ(factory.homes["f"], 0);
  EXPECT_EQ((*topology)->Find("top")->home(), 0);
  EXPECT_EQ((*topology)->Find("nulls")->home(), 1);
  EXPECT_EQ((*topology)->Find("n")->home(), kNoHome);
  EXPECT_EQ((*topology)->Find("nobody"), nullptr);
}

TEST(TopologyBuildTest, ANullDiskJoinsNothing) {
  FakeFactory factory;
  const auto topology =
      Topology::Build({{Memory("a", kMiB), Memory("b", kMiB), Null("n")},
                       {Slice("s1", "n", 0, 65536), Slice("s2", "n", 65536, 65536),
                        Concat("x", {"a", "s1"}), Concat("y", {"b", "s2"}), Concat("z", {"x"})}},
                      2, factory);
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ(factory.homes["a"], 0);
  EXPECT_EQ(factory.homes["b"], 1);
}

TEST(TopologyBuildTest, LegsAreCutToWholeBlocksOfTheVolume) {
  FakeFactory factory;
  factory.logical_blocks = {{"big", 4096}};
  const auto topology = Topology::Build(
      {{Memory("odd", 64 * kKiB + 512), Memory("big", 64 * kKiB)}, {Concat("v", {"odd", "big"})}},
      1, factory);
  ASSERT_TRUE(topology.ok()) << topology.status();
  EXPECT_EQ((*topology)->Find("v")->limits().size, 128 * kKiB);
  EXPECT_EQ((*topology)->Find("v")->limits().logical_block, 4096u);
  EXPECT_EQ((*topology)->Find("v")->limits().block, 512u);
}

TEST(TopologyBuildTest, OnlyADiskWithSlicesIsGuarded) {
  World world;
  FakeFactory factory;
  const auto topology = Topology::Build({{Memory("sliced", kMiB), Memory("plain", kMiB)},
                                         {Slice("s", "sliced", 64 * kKiB, 64 * kKiB)}},
                                        1, factory);
  ASSERT_TRUE(topology.ok()) << topology.status();
  const auto write_at_0 = [&](const char* name) {
    Request write(*(*topology)->Find(name), Op::kWrite, 0, 512);
    write.Fill(1);
    world.On(0, [&] { Submit(write.bio()); });
    EXPECT_TRUE(write.done());
    return write.error();
  };
  EXPECT_EQ(write_at_0("sliced"), EPERM);
  EXPECT_EQ(write_at_0("plain"), 0);
  EXPECT_EQ(write_at_0("s"), 0);
}

TEST(TopologyBuildTest, AVolumeThatReachesTheLabelMeetsTheGuardToo) {
  World world;
  FakeFactory factory;
  const auto topology = Topology::Build(
      {{Memory("d", kMiB)}, {Slice("s", "d", 0, 64 * kKiB), Concat("v", {"s"})}}, 1, factory);
  ASSERT_TRUE(topology.ok()) << topology.status();
  PutMbr(factory.disks["d"]->bytes, {{0x83, 128, 256}});
  const auto write_at = [&](uint64_t offset) {
    Request write(*(*topology)->Find("v"), Op::kWrite, offset, 512);
    write.Fill(1);
    world.On(0, [&] { Submit(write.bio()); });
    EXPECT_TRUE(write.done());
    return write.error();
  };
  EXPECT_EQ(write_at(0), EPERM);
  EXPECT_EQ(write_at(512), 0);
}

// Random requests through volumes over volumes, several under way at a time and ended in any order,
// against flat bytes.
class ModelTest : public testing::TestWithParam<uint32_t> {
 protected:
  ModelTest() : random_(GetParam()) {
    spec_ = {{Memory("a", kMiB), Memory("b", kMiB + 64 * kKiB), Memory("c", 768 * kKiB),
              Memory("d", kMiB), Memory("e", 512 * kKiB)},
             {Stripe("ab", {"a", "b"}), Slice("c1", "c", 64 * kKiB, 320 * kKiB),
              Slice("c2", "c", 384 * kKiB, 256 * kKiB), Concat("cde", {"c1", "d", "e"}),
              Stripe("deep", {"ab", "cde"}, 128 * kKiB), Slice("part", "deep", 4096, 3 * kMiB),
              Slice("rest", "deep", 3 * kMiB + 4096, 508 * kKiB)}};
  }
  void SetUp() override {
    auto topology = Topology::Build(spec_, 2, factory_);
    ASSERT_TRUE(topology.ok()) << topology.status();
    topology_ = *std::move(topology);
    for (auto& [name, disk] : factory_.disks) disk->hold = true;
  }
  ~ModelTest() override { EXPECT_EQ(world_.CellsUsed(), 0u); }

  uint64_t Up(uint64_t below) { return random_() % below; }

  // A request inside `name` that overlaps none of `ranges`; null if chance finds none.
  std::unique_ptr<Request> Pick(const std::string& name,
                                std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
    Target& target = *topology_->Find(name);
    const auto length = static_cast<uint32_t>(512 * (1 + Up(Up(2) == 0 ? 16 : 1000)));
    const uint64_t offset = 512 * Up((target.limits().size - length) / 512 + 1);
    const bool free = std::all_of(ranges.begin(), ranges.end(), [&](const auto& range) {
      return offset + length <= range.first || range.second <= offset;
    });
    if (!free) return nullptr;
    ranges.emplace_back(offset, offset + length);
    const Op op = std::vector<Op>{Op::kRead, Op::kWrite, Op::kWrite, Op::kZero, Op::kTrim}[Up(5)];
    auto request = std::make_unique<Request>(target, op, offset, length);
    if (!HasData(op)) return request;
    std::vector<size_t> cuts;
    for (size_t left = length; left > 0; left -= cuts.back()) {
      cuts.push_back(cuts.size() == 40 ? left : 1 + Up(std::min<uint64_t>(left, 40000)));
    }
    request->Cut(cuts);
    if (op == Op::kWrite) request->Fill(++seed_);
    return request;
  }

  void EndAllInAnyOrder() {
    for (;;) {
      std::vector<std::pair<FakeTarget*, Bio*>> held;
      for (auto& [name, disk] : factory_.disks) {
        for (Bio* bio : disk->held) held.emplace_back(disk, bio);
      }
      if (held.empty()) return;
      const auto& [disk, bio] = held[Up(held.size())];
      world_.On(disk->home(), [disk = disk, bio = bio] { disk->End(*bio); });
    }
  }

  void Settle(Request& request, std::vector<char>& model) {
    ASSERT_TRUE(request.done());
    ASSERT_EQ(request.error(), 0);
    ASSERT_EQ(request.bio().resid, 0u);
    const auto at = model.begin() + static_cast<ptrdiff_t>(request.bio().offset);
    if (request.bio().op == Op::kRead) {
      ASSERT_TRUE(std::equal(request.memory.begin(), request.memory.end(), at));
    } else if (request.bio().op == Op::kWrite) {
      std::copy(request.memory.begin(), request.memory.end(), at);
    } else {
      std::fill_n(at, request.bio().length, '\0');
    }
  }

  // The bytes of a volume as they lie on the disks.
  std::vector<char> OnDisks(const std::string& name, uint64_t offset, uint64_t length) {
    const auto volume = std::find_if(spec_.volumes.begin(), spec_.volumes.end(),
                                     [&](const VolumeSpec& v) { return v.name == name; });
    if (volume == spec_.volumes.end()) {
      const auto at = factory_.disks[name]->bytes.begin() + static_cast<ptrdiff_t>(offset);
      return {at, at + static_cast<ptrdiff_t>(length)};
    }
    std::vector<char> bytes;
    const auto& geometry = static_cast<const Volume*>(topology_->Find(name))->geometry();
    geometry.Map(offset, length, [&](const Piece& piece) {
      const std::vector<char> part = OnDisks(volume->legs[piece.leg], piece.offset, piece.length);
      bytes.insert(bytes.end(), part.begin(), part.end());
    });
    return bytes;
  }

  World world_{3};
  FakeFactory factory_;
  TopologySpec spec_;
  std::unique_ptr<const Topology> topology_;
  std::mt19937 random_;
  uint32_t seed_ = 0;
};

TEST_P(ModelTest, NestedVolumesKeepEveryByteInItsPlace) {
  const std::vector<std::string> names = {"part", "rest"};
  std::map<std::string, std::vector<char>> models;
  for (const std::string& name : names) {
    models[name].assign(topology_->Find(name)->limits().size, '\0');
  }
  for (int round = 0; round < 100; ++round) {
    std::map<std::string, std::vector<std::pair<uint64_t, uint64_t>>> ranges;
    std::vector<std::pair<std::string, std::unique_ptr<Request>>> batch;
    for (int i = 0; i < 6; ++i) {
      const std::string& name = names[Up(names.size())];
      auto request = Pick(name, ranges[name]);
      if (request != nullptr) batch.emplace_back(name, std::move(request));
    }
    for (auto& [name, request] : batch) {
      world_.On(static_cast<uint16_t>(Up(3)), [&bio = request->bio()] { Submit(bio); });
    }
    EndAllInAnyOrder();
    for (auto& [name, request] : batch) ASSERT_NO_FATAL_FAILURE(Settle(*request, models[name]));
  }
  for (const std::string& name : names) {
    EXPECT_TRUE(OnDisks(name, 0, models[name].size()) == models[name]) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, testing::Range(1u, 5u));

}  // namespace
}  // namespace sluice
