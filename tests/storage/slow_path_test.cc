// SPDX-License-Identifier: Apache-2.0
// Requests of 512 bytes over a medium of 4096, against flat memory: through a disk, which brings
// the range guard along.
#include "storage/slow_path.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/rng.h"
#include "tests/storage/disk_rig.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = 512;
constexpr uint32_t kPage = 4096;

RigOptions Large(uint64_t seed = 1) {
  RigOptions options;
  options.medium.seed = seed;
  options.medium.limits = {.size = 64 * kPage, .block = kPage, .mem_align = 1};
  options.image = std::string(64 * kPage, 'x');
  return options;
}

// Ends every operation as it is started, like memory.
class AtOnce final : public Medium {
 public:
  static constexpr uint64_t kSize = 64 * kMiB;
  explicit AtOnce(std::unique_ptr<Medium> unused) : unused_(std::move(unused)) {
    limits_.size = kSize;
  }
  const MediumLimits& limits() const noexcept override { return limits_; }
  void Attach(uint16_t) noexcept override {}
  Started Start(MediumIo& io) noexcept override {
    ++starts;
    io.result = io.length;
    return Started::kDone;
  }
  void QueryExtents(ExtentQuery&) noexcept override {}

  int starts = 0;

 private:
  std::unique_ptr<Medium> unused_;  // the rig's
  MediumLimits limits_;
};

TEST(SlowPath, ALongRequestOfAMediumThatEndsAtOnceLetsOthersHaveTheirTurns) {
  AtOnce* medium = nullptr;
  RigOptions options = Large();
  options.wrap = [&](std::unique_ptr<Medium> below) {
    auto made = std::make_unique<AtOnce>(std::move(below));
    medium = made.get();
    return made;
  };
  DiskRig rig(options);
  Request& zero = rig.Make(Op::kZero, 0, AtOnce::kSize);
  int in_one_turn = 0;
  rig.On([&] {
    Submit(zero.bio());
    Reactor::Current()->Post([&] { in_one_turn = medium->starts; });
  });
  EXPECT_GT(in_one_turn, 0);
  EXPECT_LE(in_one_turn, 8);
  EXPECT_EQ(medium->starts, 64) << "it goes on by itself";
  EXPECT_EQ(zero.error(), 0);
}

TEST(SlowPath, AWriteInsideABlockTouchesNothingElse_R22) {
  DiskRig rig(Large());
  rig.Send(rig.Write(3 * kBlock, kBlock));
  rig.Settle();
  EXPECT_EQ(rig.Log(), "r0+8 w0+8");
  EXPECT_EQ(rig.Contents(0, kPage), std::string(3 * kBlock, 'x') +
                                        DiskRig::Pattern(3 * kBlock, kBlock) +
                                        std::string(4 * kBlock, 'x'));
}

TEST(SlowPath, OnlyTheRaggedEndsOfAWriteAreRead) {
  DiskRig rig(Large());
  rig.Send(rig.Write(7 * kBlock, 18 * kBlock));
  rig.Settle();
  EXPECT_EQ(rig.Log(), "r0+8 r24+8 w0+32");
  EXPECT_EQ(rig.Contents(6 * kBlock, 20 * kBlock), std::string(kBlock, 'x') +
                                                       DiskRig::Pattern(7 * kBlock, 18 * kBlock) +
                                                       std::string(kBlock, 'x'));
}

TEST(SlowPath, AnAlignedRequestGoesStraight) {
  DiskRig rig(Large());
  rig.Send({&rig.Write(kPage, kPage), &rig.Write(3 * kPage + kBlock, kBlock)});
  rig.Settle();
  EXPECT_EQ(rig.disk->stats().slow.value(), 1u);
}

TEST(SlowPath, MemoryThatTheDeviceCannotUseIsCopied) {
  RigOptions options = Large();
  options.medium.limits.mem_align = kPage;
  DiskRig rig(options);
  Request& write = rig.Write(0, kPage);
  write.memory.assign(kPage + 2 * kPage, '\0');
  char* base = write.memory.data() + kPage -
               reinterpret_cast<uintptr_t>(write.memory.data()) % kPage + kBlock;
  write.segs = {{base, kPage}};
  write.bio().segs = write.segs.data();
  std::fill_n(base, kPage, 'y');
  rig.Send(write);
  rig.Settle();
  EXPECT_EQ(rig.disk->stats().slow.value(), 1u);
  EXPECT_EQ(rig.Contents(0, kPage), std::string(kPage, 'y'));
}

TEST(SlowPath, AZeroWithRaggedEndsGivesItsMiddleToTheDevice_R22) {
  RigOptions options = Large();
  options.medium.limits.can_zero = true;
  DiskRig rig(options);
  rig.Send(rig.Make(Op::kZero, 7 * kBlock, 18 * kBlock, kNoHole));
  rig.Settle();
  EXPECT_EQ(rig.Log(), "r0+8 w0+8 z8+16 r24+8 w24+8");
  EXPECT_EQ(rig.medium->log()[2].flags, kNoHole);
  EXPECT_EQ(rig.Contents(6 * kBlock, 20 * kBlock),
            std::string(kBlock, 'x') + std::string(18 * kBlock, '\0') + std::string(kBlock, 'x'));
}

TEST(SlowPath, ATrimGivesBackOnlyTheWholeBlocksInsideIt_R22) {
  RigOptions options = Large();
  options.medium.limits.can_trim = true;
  DiskRig rig(options);
  rig.Send(
      {&rig.Make(Op::kTrim, 7 * kBlock, 18 * kBlock), &rig.Make(Op::kTrim, 32 * kBlock, kBlock)});
  rig.Settle();
  EXPECT_EQ(rig.Log(), "t8+16");
}

TEST(SlowPath, ShortTransfersAreContinued_R8) {
  for (const uint32_t immediate : {0u, 1000u}) {
    RigOptions options = Large();
    options.medium.immediate_per_mille = immediate;
    DiskRig rig(options);
    rig.medium->AddFault({.error = 0, .short_bytes = kPage + 100});
    rig.Send(rig.Write(kBlock, 5 * kPage));
    rig.Settle();
    Request& read = rig.Read(kBlock, 5 * kPage);
    rig.Send(read);
    rig.Settle();
    EXPECT_EQ(std::string(read.memory.data(), 5 * kPage), DiskRig::Pattern(kBlock, 5 * kPage));
  }
}

TEST(SlowPath, AnErrorOfAnyStepFailsTheRequestAndNothingIsWrittenBehindIt) {
  for (const Op op : {Op::kRead, Op::kWrite}) {
    DiskRig rig(Large());
    rig.medium->AddFault({.ops = sim::OpBit(op), .error = op == Op::kRead ? EIO : ENOSPC});
    Request& write = rig.Write(kBlock, kBlock);
    rig.Send(write);
    rig.Settle();
    EXPECT_EQ(write.error(), op == Op::kRead ? EIO : ENOSPC);
    EXPECT_EQ(rig.Contents(0, kPage), std::string(kPage, 'x'));
  }
}

TEST(SlowPath, ADeviceThatCannotZeroAfterAllIsWrittenTo_R22) {
  RigOptions options = Large();
  options.medium.limits.can_zero = true;
  DiskRig rig(options);
  rig.medium->AddFault({.ops = sim::OpBit(Op::kZero), .error = EOPNOTSUPP});
  rig.Send(rig.Make(Op::kZero, kBlock, 3 * kPage));
  rig.Settle();
  EXPECT_EQ(rig.Contents(0, 4 * kPage), std::string(kBlock, 'x') + std::string(3 * kPage, '\0') +
                                            std::string(kPage - kBlock, 'x'));
}

TEST(SlowPath, ConcurrentWritesToOneBlockAllArrive_R5) {
  DiskRig rig(Large());
  std::vector<Request*> writes;
  for (uint64_t i = 0; i < 64; ++i) writes.push_back(&rig.Write((i * 37 % 64) * kBlock, kBlock));
  rig.Send(writes);
  rig.Settle();
  EXPECT_EQ(rig.Contents(0, 64 * kBlock), DiskRig::Pattern(0, 64 * kBlock));
}

TEST(SlowPath, FuaReachesStableStorageThroughTheBounceBuffer_R2) {
  for (const bool native : {false, true}) {
    RigOptions options = Large();
    options.medium.limits.native_fua = native;
    DiskRig rig(options);
    rig.Send(rig.Write(kBlock, kBlock, kFua));
    rig.Settle();
    EXPECT_EQ(rig.medium->durable().substr(kBlock, kBlock), DiskRig::Pattern(kBlock, kBlock));
    EXPECT_EQ(rig.medium->Count(Op::kFlush), native ? 0u : 1u);
  }
}

// Rounds of requests that do not overlap, each round all at once, against flat memory.
TEST(SlowPath, RandomReadsWritesAndZeroesAreThoseOfFlatMemory) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed=" << seed);
    sim::Rng rng(seed);
    RigOptions options = Large(seed);
    options.medium.short_per_mille = seed % 2 == 0 ? 200 : 0;
    options.medium.immediate_per_mille = seed % 3 == 0 ? 300 : 0;
    options.medium.ticks_max = 4;
    options.medium.limits.can_zero = seed % 4 < 2;
    DiskRig rig(options);
    std::string flat = options.image;
    for (int round = 0; round < 20; ++round) {
      std::vector<Request*> batch, reads;
      const std::string before = flat;
      for (uint64_t at = 0; at < flat.size();) {
        const uint64_t offset = at + rng.Below(12) * kBlock;
        const auto length = static_cast<uint32_t>(rng.Between(1, 40) * kBlock);
        if (offset + length > flat.size()) break;
        at = offset + length;
        const uint64_t dice = rng.Below(3);
        if (dice == 0) {
          reads.push_back(&rig.Read(offset, length));
          batch.push_back(reads.back());
        } else if (dice == 1) {
          const auto fill = static_cast<uint32_t>(round + 2);
          batch.push_back(&rig.Write(offset, length, 0, fill));
          flat.replace(offset, length, DiskRig::Pattern(offset, length, fill));
        } else {
          batch.push_back(&rig.Make(Op::kZero, offset, length));
          flat.replace(offset, length, length, '\0');
        }
      }
      rng.Shuffle(batch);
      rig.Send(batch);
      rig.Settle();
      for (Request* read : reads) {
        const Bio& bio = read->bio();
        ASSERT_EQ(std::string(read->memory.data(), bio.length),
                  before.substr(bio.offset, bio.length));
      }
      ASSERT_EQ(rig.medium->contents(), flat);
    }
  }
}

}  // namespace
}  // namespace sluice
