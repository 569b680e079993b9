// SPDX-License-Identifier: Apache-2.0
// A bio's memory by brute force against flat memory, and lent memory.
#include <cstring>
#include <string>
#include <vector>

#include "core/bio.h"
#include "core/target.h"
#include "gtest/gtest.h"

namespace sluice {
namespace {

// A vector cut at given lengths out of separate allocations, so that a byte too far is caught.
struct Vector {
  explicit Vector(const std::vector<size_t>& lengths) {
    for (const size_t length : lengths) {
      parts.emplace_back(length, '\0');
      flat.resize(flat.size() + length);
    }
    for (size_t i = 0, at = 0; i < parts.size(); ++i) {
      for (char& byte : parts[i]) byte = flat[at] = static_cast<char>('A' + at % 53), ++at;
      segs.push_back({parts[i].data(), parts[i].size()});
    }
  }
  Bio View(uint32_t skip, uint32_t length) {
    Bio bio;
    bio.segs = segs.data();
    bio.seg_count = static_cast<uint16_t>(segs.size());
    bio.seg_skip = skip;
    bio.length = length;
    return bio;
  }
  std::string Joined() const {
    std::string all;
    for (const auto& part : parts) all.append(part.data(), part.size());
    return all;
  }
  std::vector<std::vector<char>> parts;
  std::string flat;
  std::vector<Segment> segs;
};

// Every skip, length, offset and size of every vector of up to four parts of 0 to 3 bytes.
template <typename F>
void ForEveryRange(F&& check) {
  for (int code = 0; code < 256; ++code) {
    std::vector<size_t> lengths;
    for (int i = 0, rest = code; i < 4; ++i, rest /= 4) lengths.push_back(rest % 4);
    Vector vector(lengths);
    const auto total = static_cast<uint32_t>(vector.flat.size());
    for (uint32_t skip = 0; skip <= total; ++skip) {
      for (uint32_t length = 0; skip + length <= total; ++length) {
        const Bio bio = vector.View(skip, length);
        for (uint32_t at = 0; at <= length; ++at) {
          for (uint32_t size = 0; at + size <= length; ++size) check(vector, bio, at, size);
        }
      }
    }
  }
}

TEST(Segments, ASliceIsTheSameBytesInNoMoreSegmentsThanNeeded) {
  ForEveryRange([](Vector& vector, const Bio& bio, uint32_t at, uint32_t size) {
    Segment out[4];
    const size_t count = SliceSegments(bio, at, size, out, 4);
    std::string got;
    for (size_t i = 0; i < count; ++i) {
      ASSERT_GT(out[i].iov_len, 0u);
      got.append(static_cast<char*>(out[i].iov_base), out[i].iov_len);
    }
    ASSERT_EQ(got, vector.flat.substr(bio.seg_skip + at, size));
    ASSERT_LE(count, vector.segs.size());
  });
}

TEST(Segments, CopyFromBioReadsWhatFlatMemoryHolds) {
  ForEveryRange([](Vector& vector, const Bio& bio, uint32_t at, uint32_t size) {
    std::string got(size, '?');
    CopyFromBio(bio, at, got.data(), size);
    ASSERT_EQ(got, vector.flat.substr(bio.seg_skip + at, size));
  });
}

TEST(Segments, CopyToBioWritesTheRangeAndNothingElse) {
  ForEveryRange([](Vector& vector, const Bio& bio, uint32_t at, uint32_t size) {
    const std::string fresh(size, '#');
    CopyToBio(bio, at, fresh.data(), size);
    std::string expected = vector.flat;
    expected.replace(bio.seg_skip + at, size, fresh);
    ASSERT_EQ(vector.Joined(), expected);
    CopyToBio(bio, at, vector.flat.data() + bio.seg_skip + at, size);
  });
}

TEST(Segments, ASkipMayReachPastSeveralSegmentsUpToTheLargestBio) {
  Vector vector({kMaxTransfer - 1, 1, kMaxTransfer});
  const Bio bio = vector.View(kMaxTransfer - 2, kMaxTransfer);
  Segment out[3];
  ASSERT_EQ(SliceSegments(bio, 0, kMaxTransfer, out, 3), 3u);
  EXPECT_EQ(out[0].iov_len, 1u);
  EXPECT_EQ(out[1].iov_len, 1u);
  EXPECT_EQ(out[2].iov_len, kMaxTransfer - 2u);
}

struct TestLoan {
  Loan loan;
  Segment segs[2];
  int returned = 0;
};

TEST(Loans, ALentVectorFindsItsLoanAndIsReturnedOnce) {
  TestLoan lent{};
  static_assert(offsetof(TestLoan, segs) == sizeof(Loan));
  lent.loan.count = 2;
  lent.loan.give_back = [](Loan& loan) noexcept { ++reinterpret_cast<TestLoan&>(loan).returned; };
  Bio bio;
  bio.flags = kBorrow | kLent;
  bio.segs = lent.loan.segs();
  bio.seg_count = 2;
  EXPECT_EQ(bio.segs, lent.segs);
  EXPECT_EQ(&LoanOf(bio), &lent.loan);
  ReturnLoan(bio);
  EXPECT_EQ(lent.returned, 1);
  EXPECT_EQ(bio.segs, nullptr);
  EXPECT_EQ(bio.flags, kBorrow);
}

TEST(Extents, NeighboursThatAreAlikeAreJoinedAndEmptyOnesDropped) {
  std::vector<Extent> extents;
  AppendExtent(extents, {10, true, true});
  AppendExtent(extents, {0, false, false});
  AppendExtent(extents, {5, true, true});
  AppendExtent(extents, {1, false, true});
  AppendExtent(extents, {2, false, false});
  ASSERT_EQ(extents.size(), 3u);
  EXPECT_EQ(extents[0].length, 15u);
  EXPECT_TRUE(extents[0].hole);
  EXPECT_EQ(extents[1].length, 1u);
  EXPECT_EQ(extents[2].length, 2u);
}

TEST(BioDeathTest, BrokenRulesStopTheProcess) {
  Vector vector({4});
  const Bio bio = vector.View(0, 4);
  Segment out[1];
  EXPECT_DEATH(SliceSegments(bio, 3, 2, out, 1), "check failed");
  Bio short_vector = vector.View(2, 4);
  EXPECT_DEATH(SliceSegments(short_vector, 0, 4, out, 1), "check failed");
  Bio plain;
  EXPECT_DEATH(LoanOf(plain), "check failed");
  EXPECT_DEATH(Done(plain, 0), "check failed") << "no reactor runs here";
  EXPECT_DEATH(Submit(plain), "check failed");
}

}  // namespace
}  // namespace sluice
