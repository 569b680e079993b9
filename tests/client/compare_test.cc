// SPDX-License-Identifier: Apache-2.0
// Comparing two ends: what is found, and how little of them is read for it.
#include "client/command/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "client/crc32c.h"
#include "core/units.h"
#include "tests/client/bytes.h"

namespace sluice::command {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kChunk = Volume::kChecksumChunkBytes;
constexpr uint64_t kSize = 3 * kMiB + kChunk + 512;

// Bytes in memory.
class MemoryEndpoint final : public Endpoint {
 public:
  explicit MemoryEndpoint(bool sums) : sums_(sums) {}

  uint64_t size_bytes() const override { return data.size(); }
  bool can_checksum() const override { return sums_; }
  Status Read(uint64_t offset, std::span<std::byte> into) override {
    const std::lock_guard lock(mutex_);
    reads_.emplace_back(offset, into.size());
    if (offset <= bad && bad < offset + into.size()) return Status(StatusCode::kIoError, "bad");
    std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  }
  Result<std::vector<Checksum>> Checksums(uint64_t offset, uint64_t length) override {
    std::vector<Checksum> sums;
    for (uint64_t at = offset; at < offset + length; at += kChunk) {
      const auto chunk = static_cast<uint32_t>(std::min<uint64_t>(kChunk, offset + length - at));
      const bool fails = at <= bad && bad < at + chunk;
      sums.push_back({at, chunk, client::Crc32c(&data[at], chunk),
                      fails ? Status(StatusCode::kIoError, "bad") : Status()});
    }
    return sums;
  }
  Status Write(uint64_t, std::span<const std::byte>) override { return Refused(); }
  Status Zero(uint64_t, uint64_t) override { return Refused(); }
  Status Flush() override { return Refused(); }
  Result<std::vector<Extent>> Extents(uint64_t, uint64_t) override { return Refused(); }

  std::vector<std::pair<uint64_t, uint64_t>> TakeReads() { return std::exchange(reads_, {}); }

  Bytes data = Data(0, kSize);
  uint64_t bad = UINT64_MAX;  // a byte that cannot be read

 private:
  static Status Refused() { return Status(StatusCode::kReadOnly, "is only compared"); }

  const bool sums_;
  std::mutex mutex_;
  std::vector<std::pair<uint64_t, uint64_t>> reads_;  // guarded by mutex_
};

class CompareTest : public ::testing::Test {
 protected:
  CompareTest() {
    options_.jobs = 1;
    options_.quiet = true;
  }

  std::optional<uint64_t> FirstDifference(MemoryEndpoint& a, MemoryEndpoint& b) {
    const auto found = Compare(a, b, kSize, options_, buffers_);
    EXPECT_TRUE(found.ok()) << found.status().ToString();
    return found.ok() ? *found : std::nullopt;
  }

  Options options_;
  BufferPool buffers_;
  MemoryEndpoint left_ = MemoryEndpoint(true), right_ = MemoryEndpoint(true);
  MemoryEndpoint silent_ = MemoryEndpoint(false);
};

TEST_F(CompareTest, EqualSumsLeaveNothingToRead) {
  EXPECT_EQ(FirstDifference(left_, right_), std::nullopt);
  EXPECT_THAT(left_.TakeReads(), IsEmpty());
  EXPECT_THAT(right_.TakeReads(), IsEmpty());
}

TEST_F(CompareTest, WhatDiffersFirstIsFoundByReadingItsChunk) {
  right_.data[2 * kMiB + 77] ^= std::byte{1};
  right_.data[kSize - 1] ^= std::byte{1};
  EXPECT_EQ(FirstDifference(left_, right_), 2 * kMiB + 77);
  EXPECT_THAT(left_.TakeReads(), ElementsAre(std::pair(2 * kMiB, kChunk)));
  right_.data[2 * kMiB + 77] = left_.data[2 * kMiB + 77];
  EXPECT_EQ(FirstDifference(left_, right_), kSize - 1);
  EXPECT_THAT(left_.TakeReads(), ElementsAre(std::pair(kSize - 512, 512)));
}

TEST_F(CompareTest, WithoutSumsOnBothSidesAllIsRead) {
  silent_.data[5] ^= std::byte{1};
  for (auto& [a, b] : {std::pair(&left_, &silent_), std::pair(&silent_, &left_)}) {
    EXPECT_EQ(FirstDifference(*a, *b), 5u);
    EXPECT_EQ(left_.TakeReads().size(), 4u);
    EXPECT_EQ(silent_.TakeReads().size(), 4u);
  }
}

TEST_F(CompareTest, WhatHasNoSumIsReadAndFailsAsReadingDoes) {
  right_.bad = kMiB;
  EXPECT_EQ(Compare(left_, right_, kSize, options_, buffers_).status().code(),
            StatusCode::kIoError);
}

}  // namespace
}  // namespace sluice::command
