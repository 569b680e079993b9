// SPDX-License-Identifier: Apache-2.0
#include "proto/nbd_transmission.h"

#include <array>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::nbd {
namespace {

using Bytes = std::vector<uint8_t>;
using ::testing::ElementsAre;

template <class Decode>
void ExpectNoShorter(ConstByteSpan bytes, size_t smallest, Decode decode) {
  for (size_t size = 0; size < smallest; ++size) {
    EXPECT_FALSE(decode(bytes.first(size))) << "cut to " << size;
  }
}

template <class Decode>
void ExpectWholeOnly(ConstByteSpan bytes, Decode decode) {
  ASSERT_TRUE(decode(bytes));
  ExpectNoShorter(bytes, bytes.size(), decode);
  Bytes longer(bytes.begin(), bytes.end());
  longer.push_back(0);
  EXPECT_FALSE(decode(longer)) << "one byte too many";
}

TEST(Request, HasTheWireFormOfTheProtocol) {
  const Request request{kFlagFua, Command::kWrite, 0x0102030405060708, 0x1112131415161718,
                        0x21222324};
  std::array<uint8_t, kRequestBytes> bytes;
  EncodeRequest(request, bytes);
  EXPECT_THAT(bytes, ElementsAre(0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1,              //
                                 1, 2, 3, 4, 5, 6, 7, 8,                          //
                                 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,  //
                                 0x21, 0x22, 0x23, 0x24));
  EXPECT_EQ(DecodeRequest(bytes), request);
  ExpectWholeOnly(bytes, DecodeRequest);
}

TEST(Request, EveryBitOfTheMagicCounts) {
  std::array<uint8_t, kRequestBytes> bytes;
  EncodeRequest({}, bytes);
  for (size_t bit = 0; bit < 32; ++bit) {
    auto bad = bytes;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    EXPECT_FALSE(DecodeRequest(bad)) << bit;
  }
}

TEST(SimpleReply, RoundTrips) {
  const SimpleReply reply{Error::kNoSpc, ~uint64_t{0}};
  std::array<uint8_t, kSimpleReplyBytes> bytes;
  EncodeSimpleReply(reply, bytes);
  EXPECT_EQ(DecodeSimpleReply(bytes), reply);
  ExpectWholeOnly(bytes, DecodeSimpleReply);
  bytes[3] ^= 1;
  EXPECT_FALSE(DecodeSimpleReply(bytes));
}

TEST(ChunkHeader, RoundTrips) {
  const ChunkHeader header{kChunkDone, ChunkType::kErrorOffset, 42, 4096};
  std::array<uint8_t, kChunkHeaderBytes> bytes;
  EncodeChunkHeader(header, bytes);
  EXPECT_EQ(DecodeChunkHeader(bytes), header);
  ExpectWholeOnly(bytes, DecodeChunkHeader);
  bytes[0] ^= 1;
  EXPECT_FALSE(DecodeChunkHeader(bytes));
}

TEST(OffsetData, CarriesAtLeastOneByte) {
  std::array<uint8_t, kOffsetDataBytes + 2> bytes = {};
  EncodeOffsetData(1u << 30, std::span(bytes).first<kOffsetDataBytes>());
  bytes[kOffsetDataBytes] = 7;
  ExpectNoShorter(bytes, kOffsetDataBytes + 1, DecodeOffsetData);
  const auto body = DecodeOffsetData(bytes);
  ASSERT_TRUE(body);
  EXPECT_EQ(body->offset, 1u << 30);
  EXPECT_THAT(body->data, ElementsAre(7, 0));
}

TEST(OffsetHole, IsNeverEmpty) {
  std::array<uint8_t, kOffsetHoleBytes> bytes;
  EncodeOffsetHole({512, 65536}, bytes);
  EXPECT_EQ(DecodeOffsetHole(bytes), (OffsetHole{512, 65536}));
  ExpectWholeOnly(bytes, DecodeOffsetHole);
  EncodeOffsetHole({512, 0}, bytes);
  EXPECT_FALSE(DecodeOffsetHole(bytes));
}

TEST(ErrorBody, RoundTripsWithTextAndOffset) {
  Bytes bytes(MaxErrorBodyBytes(4));
  const ErrorBody plain{Error::kIo, "oops", std::nullopt};
  const ErrorBody located{Error::kIo, "oops", 8192};
  const auto as_plain = [](ConstByteSpan b) { return DecodeErrorBody(ChunkType::kError, b); };
  const auto as_located = [](ConstByteSpan b) {
    return DecodeErrorBody(ChunkType::kErrorOffset, b);
  };

  EXPECT_EQ(EncodeErrorBody(located, bytes), bytes.size());
  EXPECT_EQ(as_located(bytes), located);
  ExpectWholeOnly(bytes, as_located);
  EXPECT_FALSE(as_plain(bytes));

  const size_t size = EncodeErrorBody(plain, bytes);
  EXPECT_EQ(as_plain(ConstByteSpan(bytes).first(size)), plain);
  ExpectWholeOnly(ConstByteSpan(bytes).first(size), as_plain);
  for (size_t room = 0; room < size; ++room) {
    EXPECT_EQ(EncodeErrorBody(plain, ByteSpan(bytes).first(room)), 0u);
  }
}

TEST(ErrorBody, TextIsCutToTheProtocolsLimit) {  // CVE-2020-10761
  const std::string text(kMaxTextBytes + 100, 't');
  Bytes bytes(MaxErrorBodyBytes(kMaxTextBytes));
  const size_t size = EncodeErrorBody({Error::kInval, text, 0}, bytes);
  EXPECT_EQ(size, bytes.size());
  EXPECT_EQ(DecodeErrorBody(ChunkType::kErrorOffset, bytes)->text.size(), kMaxTextBytes);
}

TEST(ErrorBody, AnErrorChunkWithoutErrorOrOfAnotherTypeIsRefused) {
  Bytes bytes(MaxErrorBodyBytes(0));
  bytes.resize(EncodeErrorBody({Error::kNone, "", std::nullopt}, bytes));
  EXPECT_FALSE(DecodeErrorBody(ChunkType::kError, bytes));
  bytes.resize(EncodeErrorBody({Error::kIo, "", std::nullopt}, bytes));
  EXPECT_TRUE(DecodeErrorBody(ChunkType::kError, bytes));
  EXPECT_FALSE(DecodeErrorBody(ChunkType::kOffsetData, bytes));
}

TEST(BlockStatus, RoundTrips) {
  std::array<uint8_t, kContextIdBytes + 2 * kStatusExtentBytes> bytes;
  const std::span all(bytes);
  EncodeContextId(3, all.first<4>());
  EncodeStatusExtent({4096, kStateHole | kStateZero}, all.subspan<4, 8>());
  EncodeStatusExtent({0xffffffff, 0}, all.subspan<12, 8>());
  const auto status = DecodeBlockStatus(bytes);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->context_id, 3u);
  ASSERT_EQ(status->extent_count(), 2u);
  EXPECT_EQ(status->extent(0), (StatusExtent{4096, kStateHole | kStateZero}));
  EXPECT_EQ(status->extent(1), (StatusExtent{0xffffffff, 0}));
}

TEST(BlockStatus, NeedsWholeExtentsAndNoneOfThemEmpty) {
  std::array<uint8_t, kContextIdBytes + 2 * kStatusExtentBytes> bytes = {};
  const std::span all(bytes);
  EncodeStatusExtent({1, 0}, all.subspan<4, 8>());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeBlockStatus(all.first(size)).has_value(), size == 12) << size;
  }
  EXPECT_FALSE(DecodeBlockStatus(bytes));
}

}  // namespace
}  // namespace sluice::nbd
