// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/units.h"
#include "core/worker.h"
#include "tests/sim/host.h"
#include "tests/sim/log_lines.h"
#include "tests/sim/medium_bench.h"
#include "tests/sim/medium_op.h"
#include "tests/sim/rng.h"

namespace sluice {
namespace {

using sim::MediumOp;
using sim::Pattern;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSize = 4 * kMiB;

// A medium on a path, with its worker and its loop.
struct Drive : sim::MediumBench {
  explicit Drive(const FileOptions& options)
      : MediumBench(Loop::kRing), medium(*FileMedium::Open(options, worker)) {
    Attach(*medium);
  }
  Worker worker;
  std::unique_ptr<FileMedium> medium;
};

uint64_t BytesOnDisk(const std::string& path) {
  struct stat facts {};
  EXPECT_EQ(stat(path.c_str(), &facts), 0);
  return static_cast<uint64_t>(facts.st_blocks) * 512;
}

// --- What every kind of file and device must do alike. ---

struct Kind {
  const char* name;
  uint32_t loop_block;  // 0: the file itself
  bool buffered;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class EveryFileMedium : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    std::string path = dir_.Sparse("disk", kSize);
    if (GetParam().loop_block != 0) {
      if (geteuid() != 0) GTEST_SKIP() << "loop devices need root";
      loop_.emplace(path, GetParam().loop_block);
      path = loop_->path();
    }
    drive_.emplace(FileOptions{.path = path, .buffered = GetParam().buffered});
    block_ = std::max(512U, GetParam().loop_block);
  }

  sim::TempDir dir_;
  std::optional<sim::LoopDevice> loop_;
  std::optional<Drive> drive_;
  uint32_t block_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Kinds, EveryFileMedium,
                         testing::Values(Kind{"direct_file", 0, false},
                                         Kind{"buffered_file", 0, true},
                                         Kind{"loop_512", 512, false},
                                         Kind{"loop_4096", 4096, false},
                                         Kind{"buffered_loop", 512, true}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(EveryFileMedium, ReadsWhatWasWritten) {
  const uint32_t size = 16 * block_;
  const std::string bytes = Pattern(3 * block_, size, 1);
  EXPECT_EQ(drive_->Write(3 * block_, bytes, 0, 4), size);
  EXPECT_EQ(drive_->Read(3 * block_, size, 8), bytes);
  EXPECT_EQ(drive_->Read(0, 3 * block_), std::string(3 * block_, '\0'));
  EXPECT_EQ(drive_->Effect(Op::kCache, 0, block_), 0);
}

TEST_P(EveryFileMedium, FlushAndFuaSucceed) {
  ASSERT_TRUE(drive_->medium->limits().native_fua);
  EXPECT_EQ(drive_->Write(0, Pattern(0, block_, 1), kFua), block_);
  EXPECT_EQ(drive_->Effect(Op::kFlush), 0);
  EXPECT_EQ(drive_->Read(0, block_), Pattern(0, block_, 1));
}

TEST_P(EveryFileMedium, R22_TrimAndZeroReadBackZeroAndTouchNoByteOutside) {
  struct Row {
    Op op;
    uint8_t flags;
  };
  for (const Row& row :
       {Row{Op::kTrim, 0}, Row{Op::kZero, 0}, Row{Op::kZero, kNoHole}, Row{Op::kZero, kFastZero}}) {
    const uint32_t size = 64 * block_;
    std::string expected = Pattern(0, size, 9);
    ASSERT_EQ(drive_->Write(0, expected), size);
    ASSERT_EQ(drive_->Effect(row.op, 3 * block_, 50 * block_, row.flags), 0);
    expected.replace(3 * block_, 50 * block_, 50 * block_, '\0');
    EXPECT_EQ(drive_->Read(0, size), expected) << OpName(row.op) << " " << int{row.flags};
  }
}

TEST_P(EveryFileMedium, TrimGivesSpaceBackAndNoHoleKeepsIt) {
  ASSERT_EQ(drive_->Write(0, Pattern(0, kMiB, 1)), kMiB);
  ASSERT_EQ(drive_->Effect(Op::kFlush), 0);
  const uint64_t full = BytesOnDisk(dir_.At("disk"));
  EXPECT_GE(full, kMiB);
  ASSERT_EQ(drive_->Effect(Op::kZero, 0, kMiB, kNoHole), 0);
  ASSERT_EQ(drive_->Effect(Op::kFlush), 0);
  EXPECT_GE(BytesOnDisk(dir_.At("disk")), kMiB);
  ASSERT_EQ(drive_->Effect(Op::kTrim, 0, kMiB), 0);
  EXPECT_LE(BytesOnDisk(dir_.At("disk")) + kMiB, full + 4 * kKiB);
}

TEST_P(EveryFileMedium, ManyOperationsUnderWayEndOnceEach) {
  std::vector<std::unique_ptr<MediumOp>> ops;
  sim::Rng rng(GetParam().loop_block + 3);
  constexpr uint64_t kCount = 200;
  const uint32_t size = 2 * block_;
  for (uint64_t i = 0; i < kCount; ++i) {
    ops.push_back(std::make_unique<MediumOp>(Op::kWrite, i * size, size, 0, 1));
    Pattern(i * size, size, 5).copy(ops.back()->data(), size);
  }
  rng.Shuffle(ops);
  drive_->In([&] {
    for (auto& op : ops) EXPECT_EQ(op->StartOn(*drive_->medium), Started::kPending);
  });
  for (auto& op : ops) {
    drive_->Until([&] { return op->ended(); });
    EXPECT_EQ(op->times_ended(), 1);
    EXPECT_EQ(op->result(), size);
  }
  EXPECT_EQ(drive_->Read(0, kCount * size), Pattern(0, kCount * size, 5));
}

// --- Files. ---

TEST(FileMedium, TellsWhatIsAllocated) {
  const sim::TempDir dir;
  Drive drive({.path = dir.Sparse("disk", kSize)});
  EXPECT_EQ(drive.Map(0, kSize), "4194304 hole");
  drive.Write(64 * kKiB, Pattern(0, 64 * kKiB, 1));
  drive.Write(kMiB, Pattern(0, 4 * kKiB, 1));
  EXPECT_EQ(drive.Map(0, kSize), "65536 hole, 65536 data, 917504 hole, 4096 data, 3141632 hole");
  EXPECT_EQ(drive.Map(64 * kKiB + 512, 1024), "1024 data");
  EXPECT_EQ(drive.Map(100, 512), "512 hole");
  EXPECT_EQ(drive.Map(0, kSize, 2), "65536 hole, 65536 data");
  drive.Effect(Op::kTrim, kMiB, 4 * kKiB);
  EXPECT_EQ(drive.Map(kMiB, kMiB), "1048576 hole");
}

TEST(FileMedium, IsMadeWhenItIsMissing) {
  const sim::TempDir dir;
  Drive drive({.path = dir.At("new"), .create_bytes = kSize});
  EXPECT_EQ(drive.medium->limits().size, kSize);
  EXPECT_EQ(drive.Write(kSize - 4096, Pattern(0, 4096, 1)), 4096);
  EXPECT_EQ(drive.Read(kSize - 4096, 4096), Pattern(0, 4096, 1));
}

TEST(FileMedium, ASizeThatIsNoMultipleOfTheBlockStaysAsItIs) {
  const sim::TempDir dir;
  const std::string path = dir.Sparse("disk", 10'000);
  const sim::LogLines log;
  {
    Drive drive({.path = path});
    EXPECT_THAT(log.lines(),
                ElementsAre(AllOf(HasSubstr("through the page cache: its size of 10000"),
                                  HasSubstr("its last 272 bytes, less than a sector"))));
    EXPECT_EQ(drive.medium->limits().size, 9728U);
    EXPECT_EQ(drive.Write(9728 - 1024, Pattern(0, 1024, 1)), 1024);
    EXPECT_EQ(drive.Read(9728 - 1024, 1024), Pattern(0, 1024, 1));
  }
  EXPECT_EQ(std::filesystem::file_size(path), 10'000U);
}

TEST(FileMedium, OpensQuietlyWhenAllIsWell) {
  const sim::TempDir dir;
  const sim::LogLines log;
  Drive direct({.path = dir.Sparse("a", kSize)});
  Drive buffered({.path = dir.Sparse("b", kSize), .buffered = true});
  Drive reading({.path = dir.Sparse("c", kSize), .read_only = true});
  EXPECT_TRUE(reading.medium->limits().read_only);
  EXPECT_THAT(log.lines(), IsEmpty());
}

TEST(FileMedium, ErrorsNameThePath) {
  const sim::TempDir dir;
  Worker worker;
  const auto empty = FileMedium::Open({.path = dir.Sparse("empty", 0)}, worker);
  EXPECT_EQ(empty.status().message(), dir.At("empty") + ": is empty: a disk needs a size");
  EXPECT_EQ(empty.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FileMedium, AFileCutShortMeanwhileReadsShort) {
  const sim::TempDir dir;
  Drive drive({.path = dir.Sparse("disk", kSize)});
  ASSERT_EQ(truncate(dir.At("disk").c_str(), 8192), 0);
  MediumOp across(Op::kRead, 4096, 8192);
  EXPECT_EQ(drive.Run(across), 4096);
  MediumOp beyond(Op::kRead, 8192, 4096);
  EXPECT_EQ(drive.Run(beyond), 0);
}

TEST(FileMedium, AMomentsRefusalIsTriedAgainBoundedly) {
  const sim::TempDir dir;
  Drive drive({.path = dir.Sparse("disk", kSize)});
  drive.Write(0, Pattern(0, 4096, 1));
  MediumOp read(Op::kRead, 0, 4096);
  drive.Run(read);
  // As if the kernel had turned it away instead, time and again.
  const auto refuse = [&](MediumOp& op, int32_t error) {
    drive.In([&] {
      op.io().op.result = -error;
      op.io().op.done(op.io().op);
    });
  };
  int tries = 0;
  for (; tries < 100 && read.result() == 4096; ++tries) {
    const int ended = read.times_ended();
    refuse(read, tries % 2 == 0 ? EAGAIN : EINTR);
    drive.Until([&] { return read.times_ended() == ended + 1; });
  }
  EXPECT_EQ(tries, 8);
  EXPECT_EQ(drive.medium->retries(), 7U);
  EXPECT_EQ(read.result(), -EINTR);

  MediumOp flush(Op::kFlush, 0, 0);
  drive.Run(flush);
  refuse(flush, EINTR);
  EXPECT_EQ(flush.times_ended(), 2);
  EXPECT_EQ(flush.result(), -EINTR) << "a failed flush is never retried into success (R6)";
  EXPECT_EQ(drive.medium->retries(), 7U);
}

// --- File systems with less to offer. ---

TEST(FileMedium, OnTmpfsZeroesThatMustNotBeHolesAreLeftToTheDisk) {
  const sim::TempDir dir("/dev/shm");
  Drive drive({.path = dir.Sparse("disk", kSize)});
  drive.Write(0, Pattern(0, 8192, 1));
  EXPECT_EQ(drive.Effect(Op::kZero, 0, 4096, kNoHole), -EOPNOTSUPP);
  EXPECT_EQ(drive.Effect(Op::kZero, 0, 4096, kNoHole | kFastZero), -EOPNOTSUPP);
  EXPECT_EQ(drive.Read(0, 8192), Pattern(0, 8192, 1));
  EXPECT_EQ(drive.Effect(Op::kZero, 0, 4096), 0);
  EXPECT_EQ(drive.Read(0, 4096), std::string(4096, '\0'));
}

TEST(FileMedium, OnTmpfsReadsAndWritesEndAtOnce) {
  const sim::TempDir dir("/dev/shm");
  Drive drive({.path = dir.Sparse("disk", kSize)});
  EXPECT_TRUE(drive.medium->facts().tmpfs);
  MediumOp write(Op::kWrite, 4096, 8192);
  EXPECT_EQ(drive.Start(write), Started::kDone);
  EXPECT_EQ(write.result(), 8192);
  MediumOp read(Op::kRead, 4096, 8192);
  EXPECT_EQ(drive.Start(read), Started::kDone);
  EXPECT_EQ(read.result(), 8192);
}

class OddFileSystem : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "mounting needs root";
  }
};

TEST_F(OddFileSystem, WithoutDirectIoIsReadThroughThePageCacheWithOneWarning) {
  const sim::MountedDir ramfs("ramfs");
  const sim::LogLines log;
  Drive drive({.path = ramfs.dir().Sparse("disk", kSize)});
  EXPECT_THAT(log.lines(), ElementsAre(HasSubstr("has no O_DIRECT")));
  EXPECT_TRUE(drive.medium->limits().page_cache);
  EXPECT_FALSE(drive.medium->limits().native_fua);
  EXPECT_FALSE(drive.medium->limits().can_trim);
  EXPECT_EQ(drive.Write(512, Pattern(512, 1024, 1)), 1024);
  EXPECT_EQ(drive.Read(512, 1024), Pattern(512, 1024, 1));
}

TEST_F(OddFileSystem, WhatTheKernelDoesNotKnowIsAskedOfItOnce) {
  const sim::MountedDir ramfs("ramfs");
  Drive drive({.path = ramfs.dir().Sparse("disk", kSize)});
  ASSERT_TRUE(drive.medium->limits().can_zero);
  MediumOp first(Op::kZero, 0, 4096);
  EXPECT_EQ(drive.Start(first), Started::kPending);
  drive.Until([&] { return first.ended(); });
  EXPECT_EQ(first.result(), -EOPNOTSUPP);
  MediumOp second(Op::kZero, 0, 4096);
  EXPECT_EQ(drive.Start(second), Started::kDone);
  EXPECT_EQ(second.result(), -EOPNOTSUPP);
  EXPECT_EQ(drive.Effect(Op::kTrim, 0, 4096), -EOPNOTSUPP);
  EXPECT_TRUE(drive.medium->limits().can_zero) << "limits are constant";
}

TEST_F(OddFileSystem, R21_FullFailsTheOneWriteAndLeavesItsNeighbours) {
  const sim::MountedDir small("tmpfs", "size=256k");
  Drive drive({.path = small.dir().Sparse("disk", kSize)});
  const uint32_t size = 64 * kKiB;
  uint64_t offset = 0;
  while (offset < kSize && drive.Write(offset, Pattern(offset, size, 1)) == size) offset += size;
  ASSERT_GE(offset, size);
  ASSERT_LE(offset, 256 * kKiB);
  EXPECT_EQ(drive.Write(2 * kMiB, Pattern(0, 4096, 1)), -ENOSPC);
  EXPECT_EQ(drive.Read(0, static_cast<uint32_t>(offset)), Pattern(0, offset, 1));
  EXPECT_EQ(drive.Write(0, Pattern(0, size, 2)), size);
  EXPECT_EQ(drive.Effect(Op::kFlush), 0);
}

TEST(FileMedium, AClosedDriveLeavesItsPlaceInTheRingToTheNextOne) {
  const sim::TempDir dir;
  Drive drive({.path = dir.Sparse("first", kSize)});
  const std::string path = dir.Sparse("second", kSize);
  for (uint32_t round = 1; round <= 3; ++round) {
    drive.medium.reset();
    drive.In([] {});  // the turn after which the file is closed
    drive.medium = *FileMedium::Open({.path = path}, drive.worker);
    drive.Attach(*drive.medium);
    EXPECT_EQ(drive.Write(0, Pattern(0, 8192, round)), 8192);
    EXPECT_EQ(drive.Read(0, 8192), Pattern(0, 8192, round));
    EXPECT_EQ(drive.Effect(Op::kFlush), 0);
  }
}

// --- Block devices. ---

TEST(FileMedium, AllOfADeviceIsData) {
  if (geteuid() != 0) GTEST_SKIP() << "loop devices need root";
  const sim::TempDir dir;
  const sim::LoopDevice loop(dir.Sparse("disk", kSize), 512);
  Drive drive({.path = loop.path()});
  EXPECT_EQ(drive.Map(512, kMiB), "1048576 data");
}

TEST(FileMedium, R2_R3_FlushAndFuaReachTheDevice) {
  if (geteuid() != 0) GTEST_SKIP() << "loop devices need root";
  const sim::TempDir dir;
  const sim::LoopDevice loop(dir.Sparse("disk", kSize), 512);
  for (const bool buffered : {false, true}) {
    Drive drive({.path = loop.path(), .buffered = buffered});
    const auto flushes_of = [&](const std::function<int64_t()>& work) {
      const uint64_t before = loop.flushes();
      EXPECT_GE(work(), 0);
      return loop.flushes() - before;
    };
    const auto write = [&](uint8_t flags) {
      return [&drive, flags] { return drive.Write(0, Pattern(0, 4096, flags), flags); };
    };
    EXPECT_EQ(flushes_of(write(0)), 0U);
    EXPECT_GE(flushes_of(write(kFua)), 1U);
    EXPECT_EQ(flushes_of(write(0)), 0U);
    EXPECT_GE(flushes_of([&] { return drive.Effect(Op::kFlush); }), 1U);
  }
}

TEST(FileMedium, DiscardsByTheWorkerWhatNoPunchReaches) {
  if (geteuid() != 0 || !sim::ZramDevice::Possible()) GTEST_SKIP() << "needs root and zram";
  const sim::ZramDevice zram(kSize);
  Drive drive({.path = zram.path()});
  ASSERT_EQ(drive.medium->facts().trim, Effect::kDiscard);
  ASSERT_EQ(drive.Write(0, Pattern(0, kMiB, 1)), kMiB);
  const uint64_t full = zram.bytes_used();
  MediumOp trim(Op::kTrim, 4096, kMiB - 8192);
  EXPECT_EQ(drive.Start(trim), Started::kPending);
  drive.Until([&] { return trim.ended(); });
  EXPECT_EQ(trim.result(), 0);
  EXPECT_LE(zram.bytes_used() + kMiB - 8192, full);
  EXPECT_EQ(drive.Read(0, 4096), Pattern(0, 4096, 1));
  EXPECT_EQ(drive.Read(kMiB - 4096, 4096), Pattern(kMiB - 4096, 4096, 1));
}

}  // namespace
}  // namespace sluice
