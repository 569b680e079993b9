// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/check.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string_view>

namespace sluice::nbd {
namespace {

constexpr uint64_t kSize = 1 << 20;

Terms FullTerms() {
  return {kSize, 512,
          kHasFlags | kSendFlush | kSendFua | kSendTrim | kSendWriteZeroes | kSendFastZero |
              kSendDf | kSendCache,
          true};
}

int Verdict(Command command, uint64_t offset, uint32_t length, uint16_t flags = 0,
            const Terms& terms = FullTerms()) {
  const Refusal refusal = Check({flags, command, 1, offset, length}, terms);
  EXPECT_EQ(refusal.error != 0, std::string_view(refusal.text) != "");
  return refusal.error;
}

constexpr Command kRanged[] = {Command::kRead,  Command::kWrite,       Command::kTrim,
                               Command::kCache, Command::kWriteZeroes, Command::kBlockStatus};

TEST(Check, EveryCommandPassesInsideTheExport) {
  for (const Command command : kRanged) {
    EXPECT_EQ(Verdict(command, 0, 512), 0);
    EXPECT_EQ(Verdict(command, kSize - 512, 512), 0);
    EXPECT_EQ(Verdict(command, 0, kSize), 0);
  }
  EXPECT_EQ(Verdict(Command::kFlush, 0, 0), 0);
}

TEST(Check, PastTheEndIsEnospcForWhatWouldGrowAndEinvalForTheRest) {
  for (const Command command : kRanged) {
    const bool grows = command == Command::kWrite || command == Command::kWriteZeroes;
    const int expected = grows ? ENOSPC : EINVAL;
    EXPECT_EQ(Verdict(command, kSize, 512), expected);
    EXPECT_EQ(Verdict(command, kSize - 512, 1024), expected);
    EXPECT_EQ(Verdict(command, ~uint64_t{511}, 1024), expected) << "must not wrap";
    EXPECT_EQ(Verdict(command, ~uint64_t{511}, 0xfffffe00),
              command == Command::kRead ? EOVERFLOW : expected);
  }
}

TEST(Check, NoLengthIsANoOpButForBlockStatus) {
  for (const Command command : kRanged) {
    const int expected = command == Command::kBlockStatus ? EINVAL : 0;
    EXPECT_EQ(Verdict(command, 512, 0), expected);
    EXPECT_EQ(Verdict(command, kSize, 0), expected);
  }
}

TEST(Check, MisalignedRangesAreEinval) {
  for (const Command command : kRanged) {
    EXPECT_EQ(Verdict(command, 1, 512), EINVAL);
    EXPECT_EQ(Verdict(command, 0, 511), EINVAL);
    Terms terms = FullTerms();
    terms.block_bytes = 4096;
    EXPECT_EQ(Verdict(command, 512, 4096, 0, terms), EINVAL);
    terms.block_bytes = 1;
    EXPECT_EQ(Verdict(command, 1, 1, 0, terms), 0);
  }
}

TEST(Check, ReadOnlyForbidsEveryWriteType) {  // S4
  Terms terms = FullTerms();
  terms.flags |= kReadOnly;
  for (const Command command : kRanged) {
    EXPECT_EQ(Verdict(command, 0, 512, 0, terms), IsWriteType(command) ? EPERM : 0);
    EXPECT_EQ(Verdict(command, 0, 0, 0, terms) == EPERM, IsWriteType(command));
  }
  EXPECT_EQ(Verdict(Command::kFlush, 0, 0, 0, terms), 0);
}

TEST(Check, FlushTakesNoRange) {
  EXPECT_EQ(Verdict(Command::kFlush, 512, 0), EINVAL);
  EXPECT_EQ(Verdict(Command::kFlush, 0, 512), EINVAL);
}

TEST(Check, FuaIsLegalEverywhereAndEachOtherFlagInItsPlace) {
  for (const Command command : kRanged) {
    EXPECT_EQ(Verdict(command, 0, 512, kFlagFua), 0);
    EXPECT_EQ(Verdict(command, 0, 512, kFlagDf) == 0, command == Command::kRead);
    EXPECT_EQ(Verdict(command, 0, 512, kFlagReqOne) == 0, command == Command::kBlockStatus);
    EXPECT_EQ(Verdict(command, 0, 512, kFlagNoHole) == 0, command == Command::kWriteZeroes);
    EXPECT_EQ(Verdict(command, 0, 512, kFlagFastZero) == 0, command == Command::kWriteZeroes);
    for (int bit = 5; bit < 16; ++bit) {
      EXPECT_EQ(Verdict(command, 0, 512, static_cast<uint16_t>(1 << bit)), EINVAL);
    }
  }
  EXPECT_EQ(Verdict(Command::kFlush, 0, 0, kFlagFua), 0);
}

TEST(Check, WhatWasNotOfferedIsEinval) {
  const auto without = [](uint16_t flag) {
    Terms terms = FullTerms();
    terms.flags = static_cast<uint16_t>(terms.flags & ~flag);
    return terms;
  };
  EXPECT_EQ(Verdict(Command::kRead, 0, 512, kFlagDf, without(kSendDf)), EINVAL);
  EXPECT_EQ(Verdict(Command::kTrim, 0, 512, 0, without(kSendTrim)), EINVAL);
  EXPECT_EQ(Verdict(Command::kWriteZeroes, 0, 512, 0, without(kSendWriteZeroes)), EINVAL);
  EXPECT_EQ(Verdict(Command::kWriteZeroes, 0, 512, kFlagFastZero, without(kSendFastZero)), EINVAL);
  Terms no_context = FullTerms();
  no_context.allocation_context = false;
  EXPECT_EQ(Verdict(Command::kBlockStatus, 0, 512, 0, no_context), EINVAL);
}

TEST(Check, UnknownCommandsAreEinval) {
  for (const int number : {8, 9, 255, 65535}) {
    EXPECT_EQ(Verdict(static_cast<Command>(number), 0, 0), EINVAL);
    EXPECT_EQ(Verdict(static_cast<Command>(number), 0, 4096), EINVAL);
  }
}

TEST(Check, AReadLongerThanThePayloadLimitOverflows) {
  Terms terms = FullTerms();
  terms.size_bytes = uint64_t{1} << 40;
  EXPECT_EQ(Verdict(Command::kRead, 0, 64u << 20, 0, terms), 0);
  EXPECT_EQ(Verdict(Command::kRead, 0, (64u << 20) + 512, 0, terms), EOVERFLOW);
  EXPECT_EQ(Verdict(Command::kTrim, 0, 0xfffffe00, 0, terms), 0);
  EXPECT_EQ(Verdict(Command::kBlockStatus, 0, 0xfffffe00, 0, terms), 0);  // CVE-2025-47711
}

}  // namespace
}  // namespace sluice::nbd
