// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/sim/medium_bench.h"
#include "tests/sim/medium_op.h"
#include "tests/sim/rng.h"

namespace sluice {
namespace {

using sim::MediumOp;
using sim::Pattern;
using testing::HasSubstr;

constexpr uint32_t kPage = 4096;

struct Ram : sim::MediumBench {
  explicit Ram(uint64_t size, uint32_t loans_max = 16)
      : MediumBench(Loop::kManual),
        medium(*MemoryMedium::Create({.size = size, .loans_max = loans_max})) {
    Attach(*medium);
  }

  // A read that borrows; the loan is out until it is given back.
  std::unique_ptr<MediumOp> Borrow(uint64_t offset, uint32_t length) {
    auto op = std::make_unique<MediumOp>(Op::kRead, offset, length, kBorrow);
    EXPECT_EQ(Run(*op), length);
    EXPECT_NE(op->io().loan, nullptr);
    return op;
  }
  void GiveBack(MediumOp& op) {
    In([&] { op.io().loan->give_back(*op.io().loan); });
    op.io().loan = nullptr;
  }

  std::unique_ptr<MemoryMedium> medium;
};

TEST(MemoryMedium, EndsAtOnceAndReadsWhatWasWritten) {
  Ram ram(kMiB);
  const std::string bytes = Pattern(1536, 3 * kPage, 1);
  auto write = MediumOp::Write(1536, bytes, 0, 5);
  EXPECT_EQ(ram.Start(write), Started::kDone);
  EXPECT_EQ(write.result(), 3 * kPage);
  EXPECT_EQ(ram.Read(1536, 3 * kPage, 7), bytes);
  EXPECT_EQ(ram.Read(0, 1536), std::string(1536, '\0'));
  EXPECT_EQ(ram.Effect(Op::kFlush), 0);
}

TEST(MemoryMedium, AllocatesAPageWhenItIsFirstWritten) {
  Ram ram(uint64_t{1} << 40);
  EXPECT_EQ(ram.medium->bytes_allocated(), 0U);
  ram.Read(0, 64 * 1024);
  ram.GiveBack(*ram.Borrow(kGiB, 1024));
  EXPECT_EQ(ram.medium->bytes_allocated(), 0U);
  ram.Write((uint64_t{1} << 40) - 512, Pattern(0, 512, 1));
  ram.Write(kPage - 512, Pattern(0, 1024, 1));
  EXPECT_EQ(ram.medium->bytes_allocated(), 3 * kPage);
  ram.Write(0, Pattern(0, 2 * kPage, 1));
  EXPECT_EQ(ram.medium->bytes_allocated(), 3 * kPage);
}

TEST(MemoryMedium, R22_TrimAndZeroPunchWholePagesAndTouchNoByteOutside) {
  for (const Op op : {Op::kTrim, Op::kZero}) {
    Ram ram(kMiB);
    const std::string bytes = Pattern(0, 8 * kPage, 2);
    ram.Write(0, bytes);
    EXPECT_EQ(ram.Effect(op, kPage + 512, 3 * kPage), 0);
    EXPECT_EQ(ram.medium->bytes_allocated(), 6 * kPage);
    std::string expected = bytes;
    expected.replace(kPage + 512, 3 * kPage, 3 * kPage, '\0');
    EXPECT_EQ(ram.Read(0, 8 * kPage), expected);
    EXPECT_EQ(ram.Effect(op, 0, kMiB), 0);
    EXPECT_EQ(ram.medium->bytes_allocated(), 0U);
    EXPECT_EQ(ram.medium->pages_held(), 0U);
    EXPECT_EQ(ram.Read(0, 8 * kPage), std::string(8 * kPage, '\0'));
  }
}

TEST(MemoryMedium, ZeroWithNoHoleAllocates) {
  Ram ram(kMiB);
  ram.Write(0, Pattern(0, kPage, 1));
  EXPECT_EQ(ram.Effect(Op::kZero, 512, 2 * kPage, kNoHole), 0);
  EXPECT_EQ(ram.medium->bytes_allocated(), 3 * kPage);
  EXPECT_EQ(ram.Read(0, 3 * kPage), Pattern(0, 512, 1) + std::string(3 * kPage - 512, '\0'));
  EXPECT_EQ(ram.Map(0, kMiB), "12288 data, 1036288 hole");
}

TEST(MemoryMedium, S5_APageTakenAgainShowsNothingOfItsOldBytes) {
  Ram ram(kMiB);
  ram.Write(0, Pattern(0, 4 * kPage, 1));
  ram.Effect(Op::kTrim, 0, 4 * kPage);
  ram.Write(8 * kPage + 1024, Pattern(0, 512, 2));
  EXPECT_EQ(ram.Read(8 * kPage, kPage),
            std::string(1024, '\0') + Pattern(0, 512, 2) + std::string(kPage - 1536, '\0'));
}

TEST(MemoryMedium, ALentPageKeepsItsBytesWhileTheDiskIsWritten) {
  Ram ram(kMiB);
  const std::string before = Pattern(0, 4 * kPage, 1);
  ram.Write(0, before);
  auto lent = ram.Borrow(512, 2 * kPage);
  ram.Write(kPage, Pattern(kPage, 512, 2));
  EXPECT_EQ(ram.medium->pages_copied(), 1U);
  ram.Effect(Op::kTrim, 0, kPage);
  ram.Effect(Op::kZero, 2 * kPage, 512);

  EXPECT_EQ(lent->bytes(), before.substr(512, 2 * kPage));
  std::string expected = before;
  expected.replace(0, kPage, kPage, '\0');
  expected.replace(kPage, 512, Pattern(kPage, 512, 2));
  expected.replace(2 * kPage, 512, 512, '\0');
  EXPECT_EQ(ram.Read(0, 4 * kPage), expected);
  EXPECT_EQ(ram.medium->bytes_allocated(), 3 * kPage);
  EXPECT_EQ(ram.medium->pages_held(), 6U) << "three of them are the borrower's alone";
  ram.GiveBack(*lent);
  EXPECT_EQ(ram.medium->pages_held(), 3U);
}

TEST(MemoryMedium, APageIsCopiedOnlyWhileItIsLent) {
  Ram ram(kMiB);
  ram.Write(0, Pattern(0, kPage, 1));
  auto first = ram.Borrow(0, kPage);
  auto second = ram.Borrow(0, 512);
  ram.Write(0, Pattern(0, kPage, 2));
  ram.Write(0, Pattern(0, kPage, 3));
  EXPECT_EQ(ram.medium->pages_copied(), 1U);
  ram.GiveBack(*first);
  EXPECT_EQ(ram.medium->pages_held(), 2U) << "the second borrower still reads it";
  EXPECT_EQ(second->bytes(), Pattern(0, 512, 1));
  ram.GiveBack(*second);
  EXPECT_EQ(ram.medium->pages_held(), 1U);
  EXPECT_EQ(ram.Read(0, kPage), Pattern(0, kPage, 3));
}

TEST(MemoryMedium, WhatWasWrittenInSequenceIsLentAsOneSegment) {
  Ram ram(kMiB);
  ram.Write(0, Pattern(0, 64 * kPage, 1));
  auto lent = ram.Borrow(0, 64 * kPage);
  EXPECT_EQ(lent->io().loan->count, 1U);
  EXPECT_EQ(lent->bytes(), Pattern(0, 64 * kPage, 1));
  ram.GiveBack(*lent);
}

TEST(MemoryMedium, LendsHolesAndTheWorstMixOfPages) {
  Ram ram(kMiB);
  for (uint64_t page = 0; page < 66; page += 2) {
    ram.Write(page * kPage, Pattern(page * kPage, kPage, 1));
  }
  auto lent = ram.Borrow(512, ram.medium->limits().lend_bytes_max);
  EXPECT_EQ(lent->io().loan->count, 65U);
  EXPECT_EQ(lent->bytes(), ram.Read(512, ram.medium->limits().lend_bytes_max));
  ram.GiveBack(*lent);
  auto hole = ram.Borrow(512 * 1024, 64 * 1024);
  EXPECT_EQ(hole->io().loan->count, 1U);
  EXPECT_EQ(hole->bytes(), std::string(64 * 1024, '\0'));
  ram.GiveBack(*hole);
}

TEST(MemoryMedium, TellsWhatIsAllocated) {
  Ram ram(64 * kMiB);
  ram.Write(kPage, Pattern(0, 2 * kPage, 1));
  ram.Write(40 * kMiB, Pattern(0, 512, 1));
  EXPECT_EQ(ram.Map(0, 64 * kMiB), "4096 hole, 8192 data, 41930752 hole, 4096 data, 25161728 hole");
  EXPECT_EQ(ram.Map(100, 4000), "3996 hole, 4 data");
  EXPECT_EQ(ram.Map(0, 64 * kMiB, 2), "4096 hole, 8192 data");
  EXPECT_EQ(ram.Map(kPage + 1, 1), "1 data");
}

TEST(MemoryMedium, RefusesWhatNoMemoryDiskCanBe) {
  const auto message = [](const MemoryOptions& options) {
    return std::string(MemoryMedium::Create(options).status().message());
  };
  EXPECT_THAT(message({.size = 0}), HasSubstr("more than 0"));
  EXPECT_THAT(message({.size = 513}), HasSubstr("multiple of its block of 512"));
  EXPECT_THAT(message({.size = uint64_t{9} << 40}), HasSubstr("at most 8 TiB"));
  EXPECT_THAT(message({.size = kMiB, .block = 8192}), HasSubstr("not 8192"));
  EXPECT_THAT(message({.size = kMiB, .block = 768}), HasSubstr("not 768"));
}

// Against flat memory, with loans held over later changes and given back in any order.
TEST(MemoryMedium, BehavesAsFlatMemoryDoes) {
  constexpr uint64_t kSize = 9 * kMiB;
  Ram ram(kSize);
  std::string model(kSize, '\0');
  sim::Rng rng(20);
  struct Held {
    std::unique_ptr<MediumOp> op;
    std::string bytes;
  };
  std::vector<Held> held;
  for (uint64_t step = 0; step < 3000; ++step) {
    const uint64_t length = rng.Between(1, 64) * 512;
    const uint64_t offset =
        rng.Below((kSize - length) / 512) * 512 / rng.Between(1, 50) / 512 * 512;
    const auto size = static_cast<uint32_t>(length);
    switch (rng.Below(5)) {
      case 0:
        model.replace(offset, length, Pattern(offset, length, step));
        ASSERT_EQ(ram.Write(offset, Pattern(offset, length, step), 0, 3), size);
        break;
      case 1:
        model.replace(offset, length, length, '\0');
        ASSERT_EQ(ram.Effect(Op::kZero, offset, size, rng.PerMille(500) ? kNoHole : 0), 0);
        break;
      case 2:
        ASSERT_EQ(ram.Read(offset, size, 2), model.substr(offset, length));
        break;
      case 3:
        if (held.size() < 16)
          held.push_back({ram.Borrow(offset, size), model.substr(offset, length)});
        break;
      case 4:
        if (held.empty()) break;
        std::swap(held[rng.Below(held.size())], held.back());
        ASSERT_EQ(held.back().op->bytes(), held.back().bytes);
        ram.GiveBack(*held.back().op);
        held.pop_back();
        break;
    }
    ASSERT_LE(ram.medium->bytes_allocated(), kSize);
  }
  for (Held& lent : held) ram.GiveBack(*lent.op);
  EXPECT_GT(ram.medium->pages_copied(), 100U);
  EXPECT_EQ(ram.medium->pages_held() * kPage, ram.medium->bytes_allocated());
}

}  // namespace
}  // namespace sluice
