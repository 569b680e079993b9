// SPDX-License-Identifier: Apache-2.0
#include "proto/bytes.h"

#include <array>

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(ByteReader, TakesBigEndianIntegersInOrder) {
  const std::array<uint8_t, 7> bytes = {0x12, 0x34, 0x00, 0x01, 0x02, 0x03, 'x'};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Take<uint16_t>(), 0x1234);
  EXPECT_EQ(reader.Take<uint32_t>(), 0x00010203u);
  EXPECT_FALSE(reader.Complete());
  EXPECT_EQ(reader.TakeText(1), "x");
  EXPECT_TRUE(reader.Complete());
}

TEST(ByteReader, AReadPastTheEndNeverComesBack) {
  const std::array<uint8_t, 3> bytes = {1, 2, 3};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.Take<uint32_t>(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.Take<uint8_t>(), 0u);
  EXPECT_TRUE(reader.TakeBytes(0).empty());
  EXPECT_FALSE(reader.Complete());
}

TEST(ByteReader, ALengthNearTheTopOfItsTypeDoesNotWrap) {
  const std::array<uint8_t, 3> bytes = {1, 2, 3};
  ByteReader reader(bytes);
  EXPECT_TRUE(reader.TakeBytes(SIZE_MAX).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(ByteWriter, RoundTripsWithTheReader) {
  std::array<uint8_t, 18> out{};
  ByteWriter writer(out);
  writer.Put(uint8_t{1}).Put(uint16_t{2}).Put(uint32_t{3}).Put(~uint64_t{0}).PutText("abc");
  EXPECT_EQ(writer.size(), out.size());
  ByteReader reader(out);
  EXPECT_EQ(reader.Take<uint8_t>(), 1);
  EXPECT_EQ(reader.Take<uint16_t>(), 2);
  EXPECT_EQ(reader.Take<uint32_t>(), 3u);
  EXPECT_EQ(reader.Take<uint64_t>(), ~uint64_t{0});
  EXPECT_EQ(reader.TakeText(3), "abc");
  EXPECT_TRUE(reader.Complete());
}

TEST(ByteWriter, WhatDoesNotFitIsNotWritten) {
  std::array<uint8_t, 4> out = {9, 9, 9, 9};
  ByteWriter writer(ByteSpan(out).first(3));
  writer.Put(uint16_t{0x0102}).Put(uint16_t{0x0304}).Put(uint8_t{5});
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.size(), 0u);
  EXPECT_EQ(out, (std::array<uint8_t, 4>{1, 2, 9, 9}));
}

}  // namespace
}  // namespace sluice
