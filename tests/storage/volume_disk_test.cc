// SPDX-License-Identifier: Apache-2.0
// Volumes over real disks of memory: what is written through one comes back through it, and lies
// where geometry says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "storage/bufq.h"
#include "storage/disk.h"
#include "storage/medium_memory.h"
#include "storage/null_disk.h"
#include "storage/topology.h"
#include "tests/storage/allocations.h"
#include "tests/storage/fake_target.h"

namespace sluice {
namespace {

class MemoryDisks final : public DiskFactory {
 public:
  explicit MemoryDisks(World& world) : world_(world) {}
  absl::StatusOr<std::unique_ptr<Target>> Open(const DiskSpec& spec, uint16_t home) override {
    if (spec.kind == DiskSpec::Kind::kNull) return std::make_unique<NullDisk>(spec.size_bytes);
    MemoryOptions memory;
    memory.size = spec.size_bytes;
    auto medium = MemoryMedium::Create(memory);
    if (!medium.ok()) return medium.status();
    auto bufq = Bufq::Alloc("fcfs", kBufqExact, BufqOptions{});
    if (!bufq.ok()) return bufq.status();
    DiskOptions options;
    options.name = spec.name;
    return std::make_unique<Disk>(options, *std::move(medium), *std::move(bufq), world_.at(home));
  }
  void Move(Target& target, uint16_t home) override {
    auto& disk = static_cast<Disk&>(target);
    world_.On(disk.home(), [&] { disk.Leave(); });
    world_.On(home, [&] { disk.Arrive(world_.at(home)); });
  }

 private:
  World& world_;
};

class VolumeDiskTest : public testing::Test {
 protected:
  void Build(std::vector<std::pair<std::string, uint64_t>> disks, std::vector<VolumeSpec> volumes) {
    TopologySpec spec;
    for (auto& [name, size] : disks) {
      DiskSpec disk;
      disk.name = name;
      disk.kind = name == "null" ? DiskSpec::Kind::kNull : DiskSpec::Kind::kMemory;
      disk.size_bytes = size;
      spec.disks.push_back(disk);
    }
    spec.volumes = std::move(volumes);
    auto built = Topology::Build(spec, 2, factory);
    ASSERT_TRUE(built.ok()) << built.status();
    topology = *std::move(built);
  }
  Target& At(const char* name) { return *topology->Find(name); }
  void Go(Request& request) {
    world.On(0, [&] { Submit(request.bio()); });
    ASSERT_TRUE(request.done());
  }
  std::vector<char> Read(const char* name, uint64_t offset, uint32_t length) {
    Request read(At(name), Op::kRead, offset, length);
    Go(read);
    EXPECT_EQ(read.error(), 0);
    return read.memory;
  }

  World world{2};
  MemoryDisks factory{world};
  std::unique_ptr<const Topology> topology;
};

const VolumeSpec kStripeOfThree = {"fast", VolumeSpec::Kind::kStripe, {"a", "b", "c"}, 0, 0, 65536};

TEST_F(VolumeDiskTest, AStripeDealsItsChunksToTheDisks) {
  Build({{"a", kMiB}, {"b", kMiB}, {"c", kMiB}}, {kStripeOfThree});
  Request write(At("fast"), Op::kWrite, 0, 1024 * 1024);
  write.Fill(1);
  Go(write);
  EXPECT_EQ(write.error(), 0);
  EXPECT_EQ(Read("fast", 0, 1024 * 1024), write.memory);
  for (uint32_t chunk = 0; chunk < 16; ++chunk) {
    const char* disks[] = {"a", "b", "c"};
    const auto at = write.memory.begin() + chunk * 65536;
    EXPECT_EQ(Read(disks[chunk % 3], chunk / 3 * 65536, 65536), std::vector<char>(at, at + 65536));
  }
}

TEST_F(VolumeDiskTest, ManyRandomRequestsAtOnceEndAsIfOneAfterTheOther) {
  Build({{"a", kMiB}, {"b", kMiB}, {"c", kMiB}, {"d", 2 * kMiB}},
        {kStripeOfThree,
         {"long", VolumeSpec::Kind::kConcat, {"fast", "d"}, 0, 0, 0},
         {"part", VolumeSpec::Kind::kSlice, {"long"}, 512 * kKiB, 4 * kMiB, 0}});
  std::vector<char> model(4 * kMiB, '\0');
  std::mt19937 random(1);
  for (uint32_t round = 0; round < 60; ++round) {
    std::vector<std::unique_ptr<Request>> batch;
    for (uint64_t base = 0; base < 4 * kMiB; base += 256 * kKiB) {  // one in each 256 KiB
      const auto length = static_cast<uint32_t>(512 * (1 + random() % 256));
      const uint64_t offset = base + 512 * (random() % ((256 * kKiB - length) / 512 + 1));
      const Op op = std::vector<Op>{Op::kRead, Op::kWrite, Op::kZero, Op::kTrim}[random() % 4];
      batch.push_back(std::make_unique<Request>(At("part"), op, offset, length));
      if (op == Op::kWrite) batch.back()->Fill(round + 1);
    }
    std::shuffle(batch.begin(), batch.end(), random);
    world.On(static_cast<uint16_t>(round % 2), [&] {
      for (auto& request : batch) Submit(request->bio());
    });
    for (auto& request : batch) {
      ASSERT_TRUE(request->done());
      ASSERT_EQ(request->error(), 0);
      const auto at = model.begin() + static_cast<ptrdiff_t>(request->bio().offset);
      const auto& memory = request->memory;
      switch (request->bio().op) {
        case Op::kRead:
          ASSERT_TRUE(std::equal(memory.begin(), memory.end(), at));
          break;
        case Op::kWrite:
          std::copy(memory.begin(), memory.end(), at);
          break;
        default:
          std::fill_n(at, request->bio().length, '\0');
      }
    }
  }
  for (uint64_t offset = 0; offset < model.size(); offset += kMiB) {
    const auto at = model.begin() + static_cast<ptrdiff_t>(offset);
    EXPECT_TRUE(Read("part", offset, kMaxTransfer) == std::vector<char>(at, at + kMiB)) << offset;
  }
  EXPECT_EQ(world.CellsUsed(), 0u);
}

TEST_F(VolumeDiskTest, ARequestAllocatesNothing) {
  Build({{"a", kMiB}, {"b", kMiB}, {"c", kMiB}}, {kStripeOfThree});
  for (const Op op : {Op::kWrite, Op::kRead}) {
    for (const bool warm : {false, true}) {
      Request request(At("fast"), op, 4096, 1000 * 1024);
      uint64_t before = 0;
      uint64_t after = 0;
      Callback done;
      done.run = [](Bio&, void* at) noexcept { *static_cast<uint64_t*>(at) = Allocations(); };
      done.context = &after;
      PushCallback(request.bio(), done);
      world.On(At("fast").home(), [&] {
        before = Allocations();
        Submit(request.bio());
      });
      ASSERT_TRUE(request.done());
      EXPECT_GT(after, 0u);
      EXPECT_TRUE(!warm || after == before) << OpName(op) << ": " << after - before;
    }
  }
}

TEST_F(VolumeDiskTest, ALabelIsGuardedOnARealDisk) {
  Build({{"a", kMiB}}, {{"s", VolumeSpec::Kind::kSlice, {"a"}, 64 * kKiB, 64 * kKiB, 0}});
  Request label(At("a"), Op::kWrite, 4096, 4096);
  label.Fill(1);
  Go(label);
  EXPECT_EQ(label.error(), EPERM);
  Request same(At("a"), Op::kZero, 0, 4096);
  Go(same);
  EXPECT_EQ(same.error(), 0);
  Request inside(At("s"), Op::kWrite, 0, 4096);
  inside.Fill(2);
  Go(inside);
  EXPECT_EQ(Read("a", 64 * kKiB, 4096), inside.memory);
}

TEST_F(VolumeDiskTest, ANullDiskMayBeALegOfAVolumeAnywhere) {
  Build({{"a", kMiB}, {"null", kMiB}},
        {{"v", VolumeSpec::Kind::kStripe, {"a", "null"}, 0, 0, 65536}});
  Request write(At("v"), Op::kWrite, 0, 256 * 1024);
  write.Fill(1);
  Go(write);
  EXPECT_EQ(write.error(), 0);
  EXPECT_EQ(Read("v", 65536, 65536), std::vector<char>(65536, '\0'));
  Request flush(At("v"), Op::kFlush, 0, 0);
  Go(flush);
  EXPECT_EQ(flush.error(), 0);
}

TEST_F(VolumeDiskTest, ExtentsOfTheDisksAreThoseOfTheVolume) {
  Build({{"a", kMiB}, {"b", kMiB}, {"c", kMiB}}, {kStripeOfThree});
  Request write(At("fast"), Op::kWrite, 65536, 65536);
  write.Fill(1);
  Go(write);
  ExtentQuery query;
  query.length = kMiB;
  query.extents_max = 10;
  bool done = false;
  query.context = &done;
  query.done = [](ExtentQuery& ended) noexcept { *static_cast<bool*>(ended.context) = true; };
  world.On(At("fast").home(), [&] { At("fast").QueryExtents(query); });
  ASSERT_TRUE(done);
  ASSERT_EQ(query.extents.size(), 3u);
  EXPECT_TRUE(query.extents[0].hole && !query.extents[1].hole && query.extents[2].hole);
  EXPECT_EQ(query.extents[0].length, 65536u);
  EXPECT_EQ(query.extents[1].length, 65536u);
  EXPECT_EQ(query.extents[2].length, kMiB - 2 * 65536);
}

}  // namespace
}  // namespace sluice
