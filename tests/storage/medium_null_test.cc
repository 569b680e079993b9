// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_null.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/units.h"
#include "tests/sim/medium_bench.h"

namespace sluice {
namespace {

using sim::MediumBench;
using sim::MediumOp;
using sim::Pattern;

struct Null : MediumBench {
  Null() : MediumBench(Loop::kManual), medium(uint64_t{1} << 50) { Attach(medium); }
  NullMedium medium;
};

TEST(NullMedium, WritesVanish) {
  Null null;
  EXPECT_EQ(null.Write(kMiB, Pattern(0, 4096, 1), kFua), 4096);
  EXPECT_EQ(null.Read(kMiB, 4096), std::string(4096, '\0'));
  EXPECT_EQ(null.Effect(Op::kTrim, 0, 4096), 0);
  EXPECT_EQ(null.Effect(Op::kFlush), 0);
  EXPECT_EQ(null.Map(512, kGiB), "1073741824 hole");
}

TEST(NullMedium, S5_AReadClearsTheMemoryItIsGiven) {
  Null null;
  MediumOp read(Op::kRead, 0, 8192, 0, 3);
  std::memset(read.data(), 'x', 8192);
  EXPECT_EQ(null.Run(read), 8192);
  EXPECT_EQ(read.bytes(), std::string(8192, '\0'));
}

TEST(NullMedium, LendsZeroesToAnyNumberAtOnce) {
  Null null;
  const uint32_t most = null.medium.limits().lend_bytes_max;
  MediumOp first(Op::kRead, 0, most, kBorrow);
  MediumOp second(Op::kRead, 512, 512, kBorrow);
  EXPECT_EQ(null.Run(first), most);
  EXPECT_EQ(null.Run(second), 512);
  first.io().loan->give_back(*first.io().loan);
  EXPECT_EQ(first.bytes(), std::string(most, '\0'));
  EXPECT_EQ(second.bytes(), std::string(512, '\0'));
  second.io().loan->give_back(*second.io().loan);
}

}  // namespace
}  // namespace sluice
