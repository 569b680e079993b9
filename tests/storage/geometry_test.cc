// SPDX-License-Identifier: Apache-2.0
// Geometry against its definition: the list of leg bytes a volume is made of, written out byte by
// byte.
#include "storage/geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kMaxSize = 24;
constexpr uint64_t kTop = ~uint64_t{0};

struct Address {
  uint32_t leg;
  uint64_t offset;
  auto operator<=>(const Address&) const = default;
};
using Bytes = std::vector<Address>;  // where each byte of a volume lies, in volume order

Bytes Leg(uint32_t leg, uint64_t size) {
  Bytes bytes;
  for (uint64_t at = 0; at < size; ++at) bytes.push_back({leg, at});
  return bytes;
}

Bytes SliceOf(const Bytes& leg, uint64_t offset, uint64_t size) {
  return {leg.begin() + static_cast<ptrdiff_t>(offset),
          leg.begin() + static_cast<ptrdiff_t>(offset + size)};
}

Bytes ConcatOf(const std::vector<Bytes>& legs) {
  Bytes bytes;
  for (const Bytes& leg : legs) bytes.insert(bytes.end(), leg.begin(), leg.end());
  return bytes;
}

Bytes StripeOf(const std::vector<Bytes>& legs, uint64_t chunk) {
  uint64_t smallest = kTop;
  for (const Bytes& leg : legs) smallest = std::min<uint64_t>(smallest, leg.size());
  Bytes bytes;
  for (uint64_t row = 0; row + chunk <= smallest; row += chunk) {
    for (const Bytes& leg : legs) {
      const Bytes piece = SliceOf(leg, row, chunk);
      bytes.insert(bytes.end(), piece.begin(), piece.end());
    }
  }
  return bytes;
}

std::vector<Bytes> Legs(const std::vector<uint64_t>& sizes) {
  std::vector<Bytes> legs;
  for (const uint64_t size : sizes) legs.push_back(Leg(static_cast<uint32_t>(legs.size()), size));
  return legs;
}

std::vector<Piece> PiecesOf(const Geometry& geometry, uint64_t offset, uint64_t length) {
  std::vector<Piece> pieces;
  geometry.Map(offset, length, [&](const Piece& piece) { pieces.push_back(piece); });
  return pieces;
}

// The reason why one range is mapped wrongly; empty if it is right.
std::string FaultOfRange(const Geometry& geometry, const Bytes& want, uint64_t offset,
                         uint64_t length) {
  std::vector<Piece> runs(geometry.legs());
  std::vector<uint64_t> pieces_on(geometry.legs(), 0);
  uint64_t at = offset;
  std::string fault;
  geometry.Map(offset, length, [&](const Piece& piece) {
    if (piece.length == 0) fault = "an empty piece";
    for (uint64_t i = 0; i < piece.length; ++i, ++at) {
      if (at >= want.size() || want[at] != Address{piece.leg, piece.offset + i}) {
        fault = "a byte elsewhere than defined";
      }
    }
    Piece& run = runs[piece.leg];
    if (run.length == 0) run = {piece.leg, piece.offset, 0};
    if (run.offset + run.length != piece.offset) fault = "two runs on one leg";
    run.length += piece.length;
    ++pieces_on[piece.leg];
  });
  if (at != offset + length) fault = "the range is not covered";
  for (uint32_t leg = 0; leg < geometry.legs(); ++leg) {
    const Piece run = geometry.LegRun(leg, offset, length);
    if (run.length != runs[leg].length) fault = "LegRun differs in length";
    if (run.length > 0 && run != runs[leg]) fault = "LegRun differs";
    if (pieces_on[leg] > geometry.MaxPiecesOnLeg(length)) fault = "more pieces than MaxPiecesOnLeg";
  }
  return fault;
}

void ExpectIs(const Geometry& geometry, const Bytes& want) {
  ASSERT_EQ(geometry.size(), want.size());
  ASSERT_EQ(std::set<Address>(want.begin(), want.end()).size(), want.size()) << "no bijection";
  for (uint64_t at = 0; at < want.size(); ++at) {
    ASSERT_EQ(geometry.VolumeOffset(want[at].leg, want[at].offset), at);
  }
  for (uint64_t offset = 0; offset <= want.size(); ++offset) {
    for (uint64_t length = 0; length <= want.size() - offset; ++length) {
      const std::string fault = FaultOfRange(geometry, want, offset, length);
      ASSERT_EQ(fault, "") << "range " << offset << "+" << length << " of " << want.size();
    }
  }
}

// Calls `visit` with every list of 1 to 4 leg sizes whose sum is at most kMaxSize.
void ForEachSizes(const std::function<void(const std::vector<uint64_t>&)>& visit) {
  std::vector<uint64_t> sizes;
  const std::function<void(uint64_t)> extend = [&](uint64_t left) {
    if (!sizes.empty()) visit(sizes);
    if (sizes.size() == 4) return;
    for (uint64_t size = 1; size <= left; ++size) {
      sizes.push_back(size);
      extend(left - size);
      sizes.pop_back();
    }
  };
  extend(kMaxSize);
}

TEST(GeometryTest, EverySliceIsABijection) {
  for (uint64_t leg = 1; leg <= kMaxSize; ++leg) {
    for (uint64_t offset = 0; offset < leg; ++offset) {
      for (uint64_t size = 1; size <= leg - offset; ++size) {
        const auto slice = MakeSlice(leg, offset, size);
        ASSERT_TRUE(slice.ok()) << slice.status();
        ASSERT_NO_FATAL_FAILURE(ExpectIs(**slice, SliceOf(Leg(0, leg), offset, size)));
      }
    }
  }
}

TEST(GeometryTest, EveryConcatIsABijection) {
  ForEachSizes([](const std::vector<uint64_t>& sizes) {
    const auto concat = MakeConcat(sizes);
    ASSERT_TRUE(concat.ok()) << concat.status();
    ASSERT_NO_FATAL_FAILURE(ExpectIs(**concat, ConcatOf(Legs(sizes))));
  });
}

TEST(GeometryTest, EveryStripeIsABijectionAndMeetsEachLegInOneRun) {
  for (const uint64_t chunk : {1, 2, 4}) {
    ForEachSizes([&](const std::vector<uint64_t>& sizes) {
      const auto stripe = MakeStripe(sizes, chunk);
      const Bytes want = StripeOf(Legs(sizes), chunk);
      ASSERT_EQ(stripe.ok(), !want.empty());
      if (!stripe.ok()) return;
      ASSERT_NO_FATAL_FAILURE(ExpectIs(**stripe, want));
    });
  }
}

TEST(GeometryTest, BytesThatAStripeLeavesOverHaveNoPlaceInTheVolume) {
  const auto stripe = MakeStripe({11, 9}, 4);
  ASSERT_TRUE(stripe.ok());
  EXPECT_EQ((*stripe)->size(), 16u);
  EXPECT_EQ((*stripe)->VolumeOffset(0, 7), 11u);
  EXPECT_EQ((*stripe)->VolumeOffset(0, 8), std::nullopt);
  EXPECT_EQ((*stripe)->VolumeOffset(1, 8), std::nullopt);
}

TEST(GeometryTest, MaxPiecesOnLegIsReached) {
  const auto stripe = MakeStripe({8, 8, 8}, 2);
  ASSERT_TRUE(stripe.ok());
  for (uint64_t length = 1; length <= 24; ++length) {
    size_t most = 0;
    for (uint64_t offset = 0; offset + length <= 24; ++offset) {
      size_t on_leg[3] = {0, 0, 0};
      for (const Piece& piece : PiecesOf(**stripe, offset, length)) ++on_leg[piece.leg];
      most = std::max({most, on_leg[0], on_leg[1], on_leg[2]});
    }
    EXPECT_LE(most, (*stripe)->MaxPiecesOnLeg(length)) << length;
    EXPECT_GE(most + 1, (*stripe)->MaxPiecesOnLeg(length)) << length;
  }
  EXPECT_EQ((*stripe)->MaxPiecesOnLeg(2), 1u);
  EXPECT_EQ((*stripe)->MaxPiecesOnLeg(6),
            2u);  // from the last byte of a chunk to the first of its next
  EXPECT_EQ((*stripe)->MaxPiecesOnLeg(24), 4u);
}

// A volume over volumes over disks, resolved by recursion through Map.
struct Node {
  Bytes bytes;  // by definition; Address::leg is the disk
  std::shared_ptr<const Geometry> geometry;
  std::vector<const Node*> legs;
  uint32_t disk = 0;
};

void Resolve(const Node& node, uint64_t offset, uint64_t length, Bytes& out) {
  if (!node.geometry) {
    for (uint64_t i = 0; i < length; ++i) out.push_back({node.disk, offset + i});
    return;
  }
  node.geometry->Map(offset, length, [&](const Piece& piece) {
    Resolve(*node.legs[piece.leg], piece.offset, piece.length, out);
  });
}

Node Over(absl::StatusOr<std::unique_ptr<const Geometry>> geometry, std::vector<const Node*> legs,
          Bytes bytes) {
  EXPECT_TRUE(geometry.ok()) << geometry.status();
  return {std::move(bytes), *std::move(geometry), std::move(legs), 0};
}

// Every volume of the given legs: slices, a concat and stripes of chunk 1, 2, 4.
std::vector<Node> VolumesOver(const std::vector<const Node*>& legs) {
  std::vector<uint64_t> sizes;
  std::vector<Bytes> bytes;
  for (const Node* leg : legs) {
    sizes.push_back(leg->bytes.size());
    bytes.push_back(leg->bytes);
  }
  std::vector<Node> nodes;
  if (legs.size() == 1) {
    const uint64_t half = (sizes[0] + 1) / 2;
    nodes.push_back(Over(MakeSlice(sizes[0], sizes[0] - half, half), legs,
                         SliceOf(bytes[0], sizes[0] - half, half)));
  }
  nodes.push_back(Over(MakeConcat(sizes), legs, ConcatOf(bytes)));
  for (const uint64_t chunk : {1, 2, 4}) {
    Bytes want = StripeOf(bytes, chunk);
    if (!want.empty()) nodes.push_back(Over(MakeStripe(sizes, chunk), legs, std::move(want)));
  }
  return nodes;
}

TEST(GeometryTest, VolumesOfVolumesAreBijections) {
  // Disks of uneven sizes; over them every inner volume; over those every pair of inner volumes
  // that share no disk.
  const uint64_t disk_sizes[] = {5, 7, 4, 8};
  std::vector<Node> disks;
  for (const uint64_t size : disk_sizes) {
    const auto disk = static_cast<uint32_t>(disks.size());
    disks.push_back({Leg(disk, size), nullptr, {}, disk});
  }
  std::vector<std::vector<Node>> inner;  // groups over disks {0}, {1}, {0,1}, {2}, {3}, {2,3}
  for (const size_t first : {size_t{0}, size_t{2}}) {
    inner.push_back(VolumesOver({&disks[first]}));
    inner.push_back(VolumesOver({&disks[first + 1]}));
    inner.push_back(VolumesOver({&disks[first], &disks[first + 1]}));
  }
  size_t volumes = 0;
  const auto check_all = [&](const std::vector<const Node*>& legs) {
    for (const Node& outer : VolumesOver(legs)) {
      ++volumes;
      ASSERT_LE(outer.bytes.size(), kMaxSize);
      for (uint64_t offset = 0; offset <= outer.bytes.size(); ++offset) {
        for (uint64_t length = 0; length <= outer.bytes.size() - offset; ++length) {
          Bytes got;
          Resolve(outer, offset, length, got);
          ASSERT_EQ(got, SliceOf(outer.bytes, offset, length));
        }
      }
    }
  };
  for (size_t left = 0; left < 3; ++left) {
    for (const Node& a : inner[left]) {
      ASSERT_NO_FATAL_FAILURE(check_all({&a}));
      for (size_t right = 3; right < 6; ++right) {
        for (const Node& b : inner[right]) ASSERT_NO_FATAL_FAILURE(check_all({&a, &b}));
      }
    }
  }
  EXPECT_GT(volumes, 500u);
}

TEST(GeometryTest, SlicesNearTheTopDoNotWrap) {
  const auto top = MakeSlice(kTop, kTop - 8, 8);
  ASSERT_TRUE(top.ok()) << top.status();
  EXPECT_THAT(PiecesOf(**top, 3, 5), ElementsAre(Piece{0, kTop - 5, 5}));
  EXPECT_EQ((*top)->VolumeOffset(0, kTop - 1), 7u);
  EXPECT_EQ((*top)->VolumeOffset(0, kTop), std::nullopt);
  EXPECT_THAT(std::string(MakeSlice(kTop, kTop, 2).status().message()),
              HasSubstr("leaves its leg"));
  EXPECT_FALSE(MakeSlice(16, kTop, 2).ok());
  EXPECT_FALSE(MakeSlice(16, 8, kTop).ok());
}

TEST(GeometryTest, ConcatsNearTheTopDoNotWrap) {
  const auto full = MakeConcat({uint64_t{1} << 63, (uint64_t{1} << 63) - 1});
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ((*full)->size(), kTop);
  EXPECT_THAT(PiecesOf(**full, 0, kTop),
              ElementsAre(Piece{0, 0, uint64_t{1} << 63}, Piece{1, 0, (uint64_t{1} << 63) - 1}));
  EXPECT_THAT(PiecesOf(**full, kTop - 2, 2), ElementsAre(Piece{1, (uint64_t{1} << 63) - 3, 2}));
  EXPECT_FALSE(MakeConcat({uint64_t{1} << 63, uint64_t{1} << 63}).ok());
}

TEST(GeometryTest, StripesNearTheTopDoNotWrap) {
  constexpr uint64_t kQuarter = uint64_t{1} << 62;
  EXPECT_FALSE(MakeStripe({kQuarter, kQuarter, kQuarter, kQuarter}, 1).ok());
  const auto three = MakeStripe({kQuarter, kQuarter, kQuarter}, kQuarter);
  ASSERT_TRUE(three.ok()) << three.status();
  EXPECT_THAT(PiecesOf(**three, 2 * kQuarter - 1, 2),
              ElementsAre(Piece{1, kQuarter - 1, 1}, Piece{2, 0, 1}));
  EXPECT_EQ((*three)->LegRun(1, 0, 3 * kQuarter), (Piece{1, 0, kQuarter}));

  const auto bytes = MakeStripe({kTop, kTop - 5}, 1);
  EXPECT_FALSE(bytes.ok());
  const auto alone = MakeStripe({kTop}, 1);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ((*alone)->LegRun(0, 1, kTop - 1), (Piece{0, 1, kTop - 1}));
  EXPECT_THAT(PiecesOf(**alone, kTop - 2, 2),
              ElementsAre(Piece{0, kTop - 2, 1}, Piece{0, kTop - 1, 1}));
  EXPECT_EQ((*alone)->MaxPiecesOnLeg(kTop), kTop);

  const auto half = MakeStripe({kTop}, uint64_t{1} << 63);
  ASSERT_TRUE(half.ok()) << half.status();
  EXPECT_EQ((*half)->size(), uint64_t{1} << 63);
}

TEST(GeometryTest, WhatCannotBeBuiltIsRefusedWithAReason) {
  const auto why = [](const absl::StatusOr<std::unique_ptr<const Geometry>>& made) {
    return std::string(made.status().message());
  };
  EXPECT_THAT(why(MakeSlice(8, 0, 0)), HasSubstr("slice of 0 bytes"));
  EXPECT_THAT(why(MakeSlice(8, 4, 5)), HasSubstr("leaves its leg of 8 bytes"));
  EXPECT_THAT(why(MakeConcat({})), HasSubstr("no legs"));
  EXPECT_THAT(why(MakeConcat({4, 0})), HasSubstr("leg 1 is empty"));
  EXPECT_THAT(why(MakeStripe({}, 4)), HasSubstr("no legs"));
  EXPECT_THAT(why(MakeStripe({8, 3}, 4)), HasSubstr("smallest leg of 3 bytes holds no chunk"));
  EXPECT_THAT(why(MakeStripe({8, 8}, 3)), HasSubstr("no power of 2"));
  EXPECT_THAT(why(MakeStripe({8, 8}, 0)), HasSubstr("no power of 2"));
}

TEST(GeometryDeathTest, ARangeThatLeavesTheVolumeIsOurOwnError) {
  const auto concat = MakeConcat({8, 8});
  ASSERT_TRUE(concat.ok());
  EXPECT_DEATH(PiecesOf(**concat, 12, 5), "");
  EXPECT_DEATH(PiecesOf(**concat, 17, 0), "");
  EXPECT_DEATH(PiecesOf(**concat, 1, kTop), "");
}

}  // namespace
}  // namespace sluice
