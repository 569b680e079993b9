// SPDX-License-Identifier: Apache-2.0
#include "storage/label.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/units.h"
#include "tests/storage/label_image.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Place kFirst = {64 * kKiB, 128 * kKiB};
constexpr Place kSecond = {256 * kKiB, 512 * kKiB};
constexpr Place kElsewhere = {128 * kKiB, 64 * kKiB};

DiskBytes Blank() { return DiskBytes(kMiB, '\0'); }
DiskBytes WithGpt(const std::vector<Place>& partitions) {
  DiskBytes disk = Blank();
  PutGpt(disk, partitions);
  return disk;
}
DiskBytes WithMbr(const std::vector<MbrEntry>& entries) {
  DiskBytes disk = Blank();
  PutMbr(disk, entries);
  return disk;
}
std::vector<std::vector<Place>> Tables(const DiskBytes& disk) {
  return ParseLabel(ImageOf(disk)).tables;
}
bool Allowed(const DiskBytes& now, const DiskBytes& next, const std::vector<Place>& used) {
  return LabelChangeAllowed(ImageOf(now), ImageOf(next), used);
}

TEST(LabelTest, TheTestsChecksumIsTheRealOne) {
  EXPECT_EQ(PlainCrc32("123456789", 9), 0xCBF43926u);
}

TEST(LabelTest, AGptHasATableForEachValidCopy) {
  DiskBytes disk = WithGpt({kFirst, kSecond});
  EXPECT_THAT(Tables(disk),
              ElementsAre(ElementsAre(kFirst, kSecond), ElementsAre(kFirst, kSecond)));
  PutBackup(disk, {kFirst});
  EXPECT_THAT(Tables(disk), ElementsAre(ElementsAre(kFirst, kSecond), ElementsAre(kFirst)));
  disk[2 * kLba] ^= 1;  // an entry of the primary no longer fits its checksum
  EXPECT_THAT(Tables(disk), ElementsAre(ElementsAre(kFirst)));
}

TEST(LabelTest, AGptWithoutItsMbrIsNone) {
  DiskBytes disk = WithGpt({kFirst});
  disk[510] = 0;
  EXPECT_THAT(Tables(disk), IsEmpty());
}

TEST(LabelTest, AnMbrHasOneTable) {
  EXPECT_THAT(Tables(WithMbr({{0x83, 128, 256}, {0, 0, 0}, {0x82, 512, 1024}})),
              ElementsAre(ElementsAre(kFirst, kSecond)));
}

TEST(LabelTest, ABootSectorIsNoMbr) {
  DiskBytes disk = WithMbr({{0x83, 128, 256}});
  disk[446] = 0x33;  // code where a boot flag would be
  EXPECT_THAT(Tables(disk), IsEmpty());
  EXPECT_THAT(Tables(WithMbr({})), IsEmpty());
  EXPECT_THAT(Tables(Blank()), IsEmpty());
}

TEST(LabelTest, PartitionsThatLeaveTheDiskAreNone) {
  const uint64_t sectors = kMiB / kLba;
  EXPECT_THAT(Tables(WithMbr({{0x83, static_cast<uint32_t>(sectors) - 1, 2}, {0x83, ~0u, ~0u}})),
              ElementsAre(IsEmpty()));
  DiskBytes disk = WithGpt({kFirst, kSecond, kElsewhere});
  PutLittle(disk, 2 * kLba + 32, 0, 8);  // the first: sectors 0 to 2^64 - 1
  PutLittle(disk, 2 * kLba + 40, ~uint64_t{0}, 8);
  PutLittle(disk, 2 * kLba + 128 + 32, 9, 8);  // the second: it ends before it starts
  PutLittle(disk, 2 * kLba + 128 + 40, 8, 8);
  SignGpt(disk, 1, 2, 128 * 128);
  EXPECT_THAT(Tables(disk)[0], ElementsAre(kElsewhere));
}

TEST(LabelTest, HeadersThatLieAreNoTable) {
  struct Lie {
    const char* what;
    uint64_t at;
    uint64_t value;
    int bytes;
  };
  const Lie lies[] = {
      {"a header larger than its sector", 12, 513, 4},
      {"a header too small for its fields", 12, 91, 4},
      {"a header that is another's", 24, 2, 8},
      {"entries beyond the disk", 72, ~uint64_t{0}, 8},
      {"entries beyond the label's sectors", 72, 30, 8},
      {"entries in the middle of the disk", 72, 1000, 8},
      {"entries past all memory", 80, ~0u, 4},
      {"no entries", 80, 0, 4},
      {"entries of no size", 84, 0, 4},
      {"entries of an odd size", 84, 129, 4},
      {"entries of a size too small", 84, 64, 4},
      {"entries of a huge size", 84, 0xFFFFFF80u, 4},
  };
  for (const Lie& lie : lies) {
    DiskBytes disk = WithGpt({kFirst});
    PutLittle(disk, kLba + lie.at, lie.value, lie.bytes);
    PutLittle(disk, kLba + 16, 0, 4);
    PutLittle(disk, kLba + 16, PlainCrc32(&disk[kLba], 92), 4);
    EXPECT_THAT(Tables(disk), SizeIs(1)) << lie.what;  // the backup
  }
}

TEST(LabelTest, AnyBytesAreParsedWithoutHarm) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    DiskBytes disk(kLba * (1 + random() % 80), '\0');
    if (disk.size() > 70 * kLba && round % 2 == 0) PutGpt(disk, {{40 * kLba, 2 * kLba}});
    for (int i = 0; i < 8; ++i) {
      disk[random() % std::min<size_t>(disk.size(), 3 * kLba)] = static_cast<char>(random());
    }
    if (round % 4 == 0 && disk.size() > 3 * kLba) {
      PutProtectiveMbr(disk);
      PutLittle(disk, kLba + 16, 0, 4);
      PutLittle(disk, kLba + 16, PlainCrc32(&disk[kLba], 92), 4);
    }
    for (const auto& table : Tables(disk)) {
      for (const Place& place : table) {
        ASSERT_TRUE(place.size > 0 && InRange(place.offset, place.size, disk.size()));
      }
    }
  }
}

TEST(LabelRuleTest, ATableThatKeepsTheUsedSliceMayChange) {
  const DiskBytes now = WithGpt({kFirst, kSecond});
  EXPECT_TRUE(Allowed(now, WithGpt({kFirst}), {kFirst}));
  EXPECT_TRUE(Allowed(now, WithGpt({kElsewhere, kFirst}), {kFirst}));
  EXPECT_TRUE(Allowed(now, WithMbr({{0x83, 128, 256}}), {kFirst}));
  EXPECT_FALSE(Allowed(now, WithGpt({kSecond}), {kFirst}));
  EXPECT_FALSE(Allowed(now, WithGpt({{kFirst.offset, kFirst.size + kLba}, kSecond}), {kFirst}));
  EXPECT_FALSE(Allowed(now, WithGpt({{kFirst.offset + kLba, kFirst.size}, kSecond}), {kFirst}));
  EXPECT_FALSE(Allowed(now, WithGpt({kFirst}), {kFirst, kSecond}));
}

TEST(LabelRuleTest, WhatIsNoLabelMayNotReplaceOne) {
  EXPECT_FALSE(Allowed(WithGpt({kFirst}), Blank(), {kFirst}));
  EXPECT_FALSE(Allowed(WithGpt({kFirst}), Blank(), {kElsewhere}));
  EXPECT_FALSE(Allowed(WithMbr({{0x83, 128, 256}}), Blank(), {kFirst}));
  EXPECT_FALSE(Allowed(WithMbr({{0x83, 128, 256}}), Blank(), {{0, kMiB}}));
}

TEST(LabelRuleTest, BootCodeMayChangeUnderAnMbr) {
  DiskBytes next = WithMbr({{0x83, 128, 256}});
  next[0] = 0x33;
  EXPECT_TRUE(Allowed(WithMbr({{0x83, 128, 256}}), next, {kFirst}));
}

TEST(LabelRuleTest, AGptMayBeRewrittenCopyByCopy) {
  const std::vector<Place> old_table = {kFirst};
  const std::vector<Place> new_table = {kFirst, kSecond};
  const DiskBytes target = WithGpt(new_table);
  DiskBytes disk = WithGpt(old_table);
  const auto write = [&](uint64_t from, uint64_t size) {
    DiskBytes next = disk;
    std::copy_n(target.begin() + static_cast<ptrdiff_t>(from), size,
                next.begin() + static_cast<ptrdiff_t>(from));
    EXPECT_TRUE(Allowed(disk, next, {kFirst})) << "writing " << size << " bytes at " << from;
    disk = next;
  };
  write(kMiB - 33 * kLba, 32 * kLba);
  write(kMiB - kLba, kLba);
  write(2 * kLba, 32 * kLba);
  write(kLba, kLba);
  write(0, kLba);
  EXPECT_EQ(disk, target);
}

TEST(LabelRuleTest, TheLastValidCopyMayNotBeBroken) {
  DiskBytes now = WithGpt({kFirst});
  now[kLba] = 0;
  DiskBytes next = now;
  next[kMiB - kLba] = 0;
  EXPECT_FALSE(Allowed(now, next, {kFirst}));
}

TEST(LabelRuleTest, NoCopyMayLoseASliceEvenIfAnotherKeepsIt) {
  DiskBytes next = WithGpt({kFirst});
  PutBackup(next, {kSecond});
  EXPECT_FALSE(Allowed(WithGpt({kFirst}), next, {kFirst}));
}

TEST(LabelRuleTest, AnUnlabelledDiskMayGetALabelButNothingElse) {
  DiskBytes scribble = Blank();
  scribble[100] = 1;
  EXPECT_TRUE(Allowed(Blank(), WithGpt({kSecond}), {kFirst}));
  EXPECT_FALSE(Allowed(Blank(), scribble, {kFirst}));
}

TEST(LabelRuleTest, WithoutALabelASliceMayHoldItsOwnDataThere) {
  DiskBytes next = Blank();
  next[1024] = 1;  // a file system made in a slice that starts at sector 2
  EXPECT_TRUE(Allowed(Blank(), next, {{1024, 64 * kKiB}}));
  next[1023] = 1;
  EXPECT_FALSE(Allowed(Blank(), next, {{1024, 64 * kKiB}}));
  DiskBytes end = Blank();
  end[kMiB - 1] = 1;
  EXPECT_TRUE(Allowed(Blank(), end, {{kMiB - 64 * kKiB, 64 * kKiB}}));
  EXPECT_FALSE(Allowed(Blank(), end, {{kMiB - 64 * kKiB, 64 * kKiB - 512}}));
}

}  // namespace
}  // namespace sluice
