// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_probe.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "core/pool.h"
#include "core/units.h"
#include "tests/sim/host.h"

namespace sluice {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

// A sysfs of our own: one disk 8:0 with a partition 8:1.
class FakeSysfs {
 public:
  explicit FakeSysfs(const std::map<std::string, std::string>& queue) {
    const fs::path disk = fs::path(dir_.path()) / "devices/sda";
    fs::create_directories(disk / "queue");
    fs::create_directories(disk / "sda1");
    fs::create_directories(fs::path(dir_.path()) / "dev/block");
    fs::create_symlink("../../devices/sda", fs::path(dir_.path()) / "dev/block/8:0");
    fs::create_symlink("../../devices/sda/sda1", fs::path(dir_.path()) / "dev/block/8:1");
    for (const auto& [name, value] : queue) std::ofstream(disk / "queue" / name) << value << "\n";
  }
  const std::string& path() const { return dir_.path(); }

 private:
  sim::TempDir dir_;
};

TEST(ReadQueue, ReadsADisksOwnQueueAndAPartitionsDisk) {
  const FakeSysfs sysfs({{"nr_requests", "31"},
                         {"max_sectors_kb", "512"},
                         {"max_segments", "168"},
                         {"physical_block_size", "4096"},
                         {"rotational", "1"},
                         {"discard_max_bytes", "2199023255040"},
                         {"write_zeroes_max_bytes", "4096"}});
  for (const unsigned part : {0U, 1U}) {
    const QueueFacts facts = ReadQueue(sysfs.path(), makedev(8, part));
    EXPECT_TRUE(facts.found);
    EXPECT_EQ(facts.nr_requests, 31U);
    EXPECT_EQ(facts.max_sectors_kb, 512U);
    EXPECT_EQ(facts.max_segments, 168U);
    EXPECT_EQ(facts.physical_block_size, 4096U);
    EXPECT_TRUE(facts.rotational);
    EXPECT_EQ(facts.discard_max_bytes, 2199023255040U);
    EXPECT_EQ(facts.write_zeroes_max_bytes, 4096U);
    EXPECT_EQ(facts.write_zeroes_unmap_max_hw_bytes, 0U);
  }
}

TEST(ReadQueue, KeepsItsDefaultsForWhatIsMissingOrNonsense) {
  const FakeSysfs sysfs({{"nr_requests", "many"}, {"max_segments", "99999999999"}});
  const QueueFacts facts = ReadQueue(sysfs.path(), makedev(8, 0));
  EXPECT_EQ(facts.nr_requests, 64U);
  EXPECT_EQ(facts.max_segments, UINT32_MAX);
  EXPECT_FALSE(ReadQueue(sysfs.path(), makedev(0, 77)).found);
}

absl::StatusOr<FileFacts> Probe(const std::string& path, const ProbeOptions& options = {}) {
  const int fd = open(path.c_str(), (options.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  EXPECT_GE(fd, 0) << path;
  auto facts = ProbeFile(fd, options);
  const bool direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
  EXPECT_EQ(facts.ok() && facts->direct, direct);
  close(fd);
  return facts;
}

// The disk that holds `path`, as a sysfs of our own describes it.
ProbeOptions OnDisk(const std::string& path, const std::map<std::string, std::string>& queue,
                    const sim::TempDir& sysfs) {
  struct stat facts {};
  EXPECT_EQ(stat(path.c_str(), &facts), 0);
  const dev_t device = S_ISBLK(facts.st_mode) ? facts.st_rdev : facts.st_dev;
  const fs::path folder = fs::path(sysfs.path()) / "dev/block" /
                          (std::to_string(major(device)) + ":" + std::to_string(minor(device))) /
                          "queue";
  fs::create_directories(folder);
  for (const auto& [name, value] : queue) std::ofstream(folder / name) << value << "\n";
  ProbeOptions options;
  options.sysfs = sysfs.path();
  return options;
}

TEST(ProbeFile, TakesLimitsFromTheFilesDisk) {
  const sim::TempDir dir;
  const sim::TempDir sysfs;
  const std::string path = dir.Sparse("a", kMiB);
  const auto facts = Probe(path, OnDisk(path,
                                        {{"nr_requests", "300"},
                                         {"max_sectors_kb", "127"},
                                         {"max_segments", "160"},
                                         {"rotational", "1"}},
                                        sysfs));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->limits.depth, 128U);
  EXPECT_EQ(facts->limits.transfer_max, 127 * kKiB);
  EXPECT_EQ(facts->limits.segments_max, 160U);
  EXPECT_TRUE(facts->limits.rotational);
  EXPECT_FALSE(facts->device);
}

TEST(ProbeFile, AQueueOfNonsenseStillGivesUsableLimits) {
  const sim::TempDir dir;
  const sim::TempDir sysfs;
  const std::string path = dir.Sparse("a", kMiB);
  auto options =
      OnDisk(path, {{"nr_requests", "0"}, {"max_sectors_kb", "0"}, {"max_segments", "0"}}, sysfs);
  const auto facts = Probe(path, options);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->limits.depth, 1U);
  EXPECT_EQ(facts->limits.transfer_max, facts->limits.block);
  EXPECT_EQ(facts->limits.segments_max, kListSegments);
  options.depth = 500;
  EXPECT_EQ(Probe(path, options)->limits.depth, 500U);
}

TEST(ProbeFile, IsDirectWithTheAlignmentThatTheKernelAsksFor) {
  const sim::TempDir dir;
  const auto facts = Probe(dir.Sparse("a", kMiB));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_TRUE(facts->direct);
  EXPECT_FALSE(facts->limits.page_cache);
  EXPECT_TRUE(facts->limits.volatile_cache);
  EXPECT_EQ(facts->limits.size, kMiB);
  EXPECT_EQ(facts->limits.physical_block, 4096U);
  const int fd = open(dir.At("a").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  alignas(4096) static char memory[8192];
  EXPECT_EQ(pwrite(fd, memory + facts->limits.mem_align, facts->limits.block, 0),
            facts->limits.block);
  close(fd);
}

TEST(ProbeFile, ThePageCacheTakesAnyMemory) {
  const sim::TempDir dir;
  const auto facts = Probe(dir.Sparse("a", kMiB), {.buffered = true});
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_FALSE(facts->direct);
  EXPECT_TRUE(facts->limits.page_cache);
  EXPECT_EQ(facts->limits.block, 512U);
  EXPECT_EQ(facts->limits.mem_align, 1U);
  EXPECT_EQ(facts->why_buffered, "");
}

TEST(ProbeFile, ASizeThatIsNoMultipleOfTheBlockIsBufferedInSectors) {
  const sim::TempDir dir;
  for (const uint32_t tail : {1U, 488U, 511U}) {
    const auto facts = Probe(dir.Sparse("a" + std::to_string(tail), kMiB + tail));
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_FALSE(facts->direct);
    EXPECT_EQ(facts->limits.block, 512U);
    EXPECT_EQ(facts->limits.size, kMiB);
    EXPECT_EQ(facts->tail_bytes, tail);
    EXPECT_THAT(facts->why_buffered, HasSubstr("is no multiple of O_DIRECT's 512"));
  }
  EXPECT_THAT(std::string(Probe(dir.Sparse("tiny", 100)).status().message()),
              HasSubstr("smaller than one block"));
}

TEST(ProbeFile, RefusesAnEmptyFileAndAFolder) {
  const sim::TempDir dir;
  EXPECT_THAT(std::string(Probe(dir.Sparse("a", 0)).status().message()), HasSubstr("is empty"));
  EXPECT_THAT(std::string(Probe(dir.path(), {.read_only = true}).status().message()),
              HasSubstr("neither a regular file nor a block device"));
}

TEST(ProbeFile, ChangesNothing) {
  const sim::TempDir dir;
  const std::string path = dir.Sparse("a", kMiB);
  struct stat before {};
  struct stat after {};
  ASSERT_EQ(stat(path.c_str(), &before), 0);
  ASSERT_TRUE(Probe(path).ok());
  ASSERT_EQ(stat(path.c_str(), &after), 0);
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
}

TEST(ProbeFile, AReadOnlyFileOffersNoEffects) {
  const sim::TempDir dir;
  const auto facts = Probe(dir.Sparse("a", kMiB), {.read_only = true});
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_TRUE(facts->limits.read_only);
  EXPECT_FALSE(facts->limits.can_trim || facts->limits.can_zero || facts->limits.can_fast_zero);
}

TEST(ProbeFile, TmpfsPunchesButCannotZeroInPlace) {
  const sim::TempDir dir("/dev/shm");
  const auto facts = Probe(dir.Sparse("a", kMiB));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_TRUE(facts->tmpfs);
  EXPECT_EQ(facts->trim, Effect::kPunch);
  EXPECT_EQ(facts->zero, Effect::kPunch);
  EXPECT_EQ(facts->zero_no_hole, Effect::kNone);
  EXPECT_FALSE(facts->limits.native_fua);
}

class ProbeDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "block devices need root";
  }
  sim::TempDir dir_;
};

TEST_F(ProbeDevice, ALoopDeviceHasItsSectorsAndPunches) {
  for (const uint32_t block : {512U, 4096U}) {
    const sim::LoopDevice loop(dir_.Sparse("a" + std::to_string(block), kMiB), block);
    const auto facts = Probe(loop.path());
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_TRUE(facts->device && facts->direct);
    EXPECT_FALSE(facts->tmpfs) << "its node may be on one";
    EXPECT_EQ(facts->limits.size, kMiB);
    EXPECT_EQ(facts->limits.block, block);
    EXPECT_GE(facts->limits.physical_block, block);
    EXPECT_TRUE(facts->limits.native_fua);
    EXPECT_EQ(facts->trim, Effect::kPunch);
    EXPECT_EQ(facts->fast_zero, Effect::kPunch);
    EXPECT_EQ(facts->zero_no_hole, Effect::kZeroRange);
    EXPECT_EQ(facts->fast_zero_no_hole, Effect::kNone) << "the kernel may fall back to writing";
    EXPECT_EQ(Probe(loop.path(), {.buffered = true})->limits.block, block);
  }
}

// What a device's queue says decides what is offered: nothing may be promised that it lacks.
TEST_F(ProbeDevice, EffectsFollowTheQueue) {
  if (!sim::ZramDevice::Possible()) GTEST_SKIP() << "no zram here";
  struct Row {
    std::map<std::string, std::string> queue;
    Effect trim, zero, fast_zero;
  };
  const Row rows[] = {
      {{}, Effect::kNone, Effect::kZeroRange, Effect::kNone},
      {{{"discard_max_bytes", "4096"}}, Effect::kDiscard, Effect::kZeroRange, Effect::kNone},
      {{{"write_zeroes_max_bytes", "4096"}}, Effect::kNone, Effect::kZeroRange, Effect::kPunch},
      {{{"discard_max_bytes", "4096"}, {"write_zeroes_unmap_max_hw_bytes", "4096"}},
       Effect::kPunch,
       Effect::kPunch,
       Effect::kPunch},
  };
  const sim::ZramDevice zram(kMiB);
  for (const Row& row : rows) {
    const sim::TempDir sysfs;
    const auto facts = Probe(zram.path(), OnDisk(zram.path(), row.queue, sysfs));
    ASSERT_TRUE(facts.ok()) << facts.status();
    EXPECT_EQ(facts->trim, row.trim);
    EXPECT_EQ(facts->zero, row.zero);
    EXPECT_EQ(facts->zero_no_hole, Effect::kZeroRange);
    EXPECT_EQ(facts->fast_zero, row.fast_zero);
    EXPECT_EQ(facts->limits.can_trim, row.trim != Effect::kNone);
    EXPECT_EQ(facts->limits.can_fast_zero, row.fast_zero != Effect::kNone);
  }
}

}  // namespace
}  // namespace sluice
