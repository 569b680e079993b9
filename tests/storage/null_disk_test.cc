// SPDX-License-Identifier: Apache-2.0
#include "storage/null_disk.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "core/units.h"
#include "storage/zeroes.h"
#include "tests/sim/medium_bench.h"

namespace sluice {
namespace {

// One request, made, carried out and looked at.
class Asked {
 public:
  Asked(NullDisk& disk, Op op, uint64_t offset, uint32_t length, uint8_t flags = 0)
      : memory_(length, 'x') {
    bio.target = &disk;
    bio.op = op;
    bio.offset = offset;
    bio.length = length;
    bio.flags = flags;
    bio.release = [](Bio& done) noexcept { ++reinterpret_cast<Asked&>(done).released; };
    if (!HasData(op) || (flags & kBorrow) != 0) return;
    segs_[0] = {memory_.data(), length / 4};
    segs_[1] = {memory_.data() + length / 4, length - length / 4};
    bio.segs = segs_;
    bio.seg_count = 2;
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  const std::string& memory() const { return memory_; }
  std::string lent() const {
    return std::string(static_cast<const char*>(bio.segs[0].iov_base), bio.length);
  }

  Bio bio;  // first: release finds us by it
  int released = 0;

 private:
  std::string memory_;
  Segment segs_[2];
};

class NullDiskTest : public testing::Test {
 protected:
  void Run(Asked& asked) {
    bench_.In([&] { Submit(asked.bio); });
    bench_.Until([&] { return asked.released > 0; });
    EXPECT_EQ(asked.bio.error, 0);
    EXPECT_EQ(asked.bio.resid, 0U);
  }
  sim::MediumBench bench_{sim::MediumBench::Loop::kManual};
  NullDisk disk_{uint64_t{1} << 50};
};

TEST_F(NullDiskTest, TakesEveryOperationAndKeepsNothing) {
  for (const Op op : {Op::kWrite, Op::kTrim, Op::kZero, Op::kCache, Op::kFlush}) {
    Asked asked(disk_, op, 4096, op == Op::kFlush ? 0 : 8192);
    Run(asked);
    EXPECT_EQ(asked.released, 1);
  }
  Asked read(disk_, Op::kRead, 4096, 8192);
  Run(read);
  EXPECT_EQ(read.memory(), std::string(8192, '\0'));
}

TEST_F(NullDiskTest, S5_AReadClearsAllOfTheMemoryItIsGivenAndNoMore) {
  Asked read(disk_, Op::kRead, 0, 8192);
  read.bio.seg_skip = 512;
  read.bio.length = 4096;
  Run(read);
  EXPECT_EQ(read.memory(),
            std::string(512, 'x') + std::string(4096, '\0') + std::string(8192 - 4608, 'x'));
}

TEST_F(NullDiskTest, SwallowsWritesThatComeWithoutMemory) {
  ASSERT_TRUE(disk_.limits().swallows);
  Asked write(disk_, Op::kWrite, 0, 4096);
  write.bio.segs = nullptr;
  write.bio.seg_count = 0;
  Run(write);
  EXPECT_EQ(write.bio.resid, 0U);
}

TEST_F(NullDiskTest, LendsZeroesToAnyNumberAtOnce) {
  ASSERT_EQ(disk_.limits().lend_bytes_max, kZeroesBytes);
  Asked first(disk_, Op::kRead, 0, kZeroesBytes, kBorrow);
  Asked second(disk_, Op::kRead, 512, 1024, kBorrow);
  Run(first);
  Run(second);
  EXPECT_EQ(first.lent(), std::string(kZeroesBytes, '\0'));
  ReturnLoan(first.bio);
  EXPECT_EQ(second.lent(), std::string(1024, '\0'));
  ReturnLoan(second.bio);
}

TEST_F(NullDiskTest, TellsTheBlockThatItIsGivenAndRefusesToWriteIfReadOnly) {
  NullDisk disk(1 << 20, 8192, true);
  EXPECT_EQ(disk.limits().logical_block, 8192U);
  EXPECT_EQ(disk.limits().preferred, 8192U);
  EXPECT_TRUE(disk.limits().read_only);
  for (Op op : {Op::kWrite, Op::kTrim, Op::kZero}) {
    Asked asked(disk, op, 0, 8192);
    bench_.In([&] { Submit(asked.bio); });
    bench_.Until([&] { return asked.released > 0; });
    EXPECT_EQ(asked.bio.error, EPERM);
  }
  Asked read(disk, Op::kRead, 0, 8192);
  Run(read);
}

TEST_F(NullDiskTest, IsOneHole) {
  ExtentQuery query;
  query.offset = 512;
  query.length = kGiB;
  int answers = 0;
  query.context = &answers;
  query.done = [](ExtentQuery& done) noexcept { ++*static_cast<int*>(done.context); };
  bench_.In([&] { disk_.QueryExtents(query); });
  bench_.Until([&] { return answers > 0; });
  ASSERT_EQ(query.extents.size(), 1U);
  EXPECT_EQ(query.extents[0].length, kGiB);
  EXPECT_TRUE(query.extents[0].hole && query.extents[0].zero);
}

}  // namespace
}  // namespace sluice
