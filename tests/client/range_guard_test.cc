// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/range_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using internal::Op;
using internal::OpKind;
using ::testing::ElementsAre;

Op Change(uint64_t offset, uint32_t length) {
  return {.kind = OpKind::kWriteZeroes, .offset = offset, .length = length};
}
Op Read(uint64_t offset, uint32_t length) { return {.offset = offset, .length = length}; }

class SdkRangeGuard : public ::testing::Test {
 protected:
  std::vector<Op*> Leave(const Op& op) {
    std::vector<Op*> freed;
    guard_.Leave(op.offset, freed);
    return freed;
  }
  internal::RangeGuard guard_;
};

TEST_F(SdkRangeGuard, WhatOnlyTouchesPasses) {
  Op a = Change(0, 512), b = Change(1024, 512), between = Change(512, 512), read = Read(1536, 512);
  for (Op* op : {&a, &b, &between, &read}) EXPECT_TRUE(guard_.Enter(*op));
}

TEST_F(SdkRangeGuard, OverlappingChangesGoInTheOrderTheyCame) {
  Op a = Change(0, 1024), b = Change(512, 1024), c = Change(1024, 512), d = Change(512, 512);
  EXPECT_TRUE(guard_.Enter(a));
  for (Op* op : {&b, &c, &d}) EXPECT_FALSE(guard_.Enter(*op));  // c waits for b alone
  EXPECT_THAT(Leave(a), ElementsAre(&b));
  EXPECT_THAT(Leave(b), ElementsAre(&c, &d));
}

TEST_F(SdkRangeGuard, AReadWaitsForTheChangesBeforeItAndForNoRead) {
  Op write = Change(0, 1024), read = Read(512, 1024), same = Read(512, 1024), other = Read(1024, 8);
  EXPECT_TRUE(guard_.Enter(other));
  EXPECT_TRUE(guard_.Enter(write));
  EXPECT_FALSE(guard_.Enter(read));
  EXPECT_FALSE(guard_.Enter(same));
  EXPECT_THAT(Leave(write), ElementsAre(&read, &same));
}

TEST_F(SdkRangeGuard, AReadHoldsNoChangeBackOnceItHasPassed) {
  Op read = Read(0, 512), write = Change(0, 512);
  EXPECT_TRUE(guard_.Enter(read));
  EXPECT_TRUE(guard_.Enter(write));
}

TEST_F(SdkRangeGuard, AHeldReadKeepsItsPlaceBeforeLaterChanges) {
  Op first = Change(0, 512), read = Read(0, 1024), later = Change(512, 512);
  EXPECT_TRUE(guard_.Enter(first));
  EXPECT_FALSE(guard_.Enter(read));
  EXPECT_FALSE(guard_.Enter(later));
  EXPECT_THAT(Leave(first), ElementsAre(&read, &later));
}

TEST_F(SdkRangeGuard, WhatIsHeldCanBeTaken) {
  Op first = Change(0, 512), read = Read(0, 512), change = Change(0, 512);
  EXPECT_TRUE(guard_.Enter(first));
  EXPECT_FALSE(guard_.Enter(read));
  EXPECT_FALSE(guard_.Enter(change));
  EXPECT_THAT(guard_.TakeHeld(), ElementsAre(&read, &change));
  EXPECT_THAT(Leave(first), ElementsAre());
}

}  // namespace
}  // namespace sluice
