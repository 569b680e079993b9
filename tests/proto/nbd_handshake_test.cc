// SPDX-License-Identifier: Apache-2.0
#include "proto/nbd_handshake.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::nbd {
namespace {

using Bytes = std::vector<uint8_t>;
using ::testing::ElementsAre;

template <size_t N>
Bytes Of(const std::array<uint8_t, N>& array) {
  return Bytes(array.begin(), array.end());
}

// Encodes with `encode(out)` into room enough and checks that no smaller room is taken for enough.
template <class Encode>
Bytes Encoded(Encode encode) {
  Bytes out(8192);
  const size_t size = encode(ByteSpan(out));
  for (size_t room = 0; room < size; ++room) EXPECT_EQ(encode(ByteSpan(out).first(room)), 0u);
  out.resize(size);
  EXPECT_EQ(encode(ByteSpan(out)), size);
  return out;
}

// Every proper prefix of `bytes`, and `bytes` with one more at the end, is refused.
template <class Decode>
void ExpectWholeOnly(const Bytes& bytes, Decode decode) {
  ASSERT_TRUE(decode(bytes).has_value());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode(Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size))))
        << "cut to " << size;
  }
  Bytes longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(decode(longer)) << "one byte too many";
}

TEST(Greeting, HasTheWireFormOfTheProtocol) {
  EXPECT_THAT(EncodeGreeting(kFixedNewstyle | kNoZeroes),
              ElementsAre('N', 'B', 'D', 'M', 'A', 'G', 'I', 'C', 'I', 'H', 'A', 'V', 'E', 'O', 'P',
                          'T', 0, 3));
  EXPECT_EQ(DecodeGreeting(EncodeGreeting(3)), 3);
  ExpectWholeOnly(Of(EncodeGreeting(3)), DecodeGreeting);
}

TEST(Greeting, OldstyleMagicIsRefused) {
  auto bytes = EncodeGreeting(0);
  StoreBigEndian(bytes.data() + 8, uint64_t{0x00420281861253});
  EXPECT_FALSE(DecodeGreeting(bytes));
}

TEST(ClientFlags, RoundTrip) {
  EXPECT_EQ(DecodeClientFlags(EncodeClientFlags(0x80000003)), 0x80000003);
  ExpectWholeOnly(Of(EncodeClientFlags(3)), DecodeClientFlags);
}

TEST(OptionHeader, RoundTripsAndChecksItsMagic) {
  const OptionHeader header{Option::kGo, 0xfffffffe};
  const auto bytes = EncodeOptionHeader(header);
  EXPECT_EQ(DecodeOptionHeader(bytes), header);
  ExpectWholeOnly(Of(bytes), DecodeOptionHeader);
  for (size_t i = 0; i < 8; ++i) {
    auto bad = bytes;
    bad[i] ^= 1;
    EXPECT_FALSE(DecodeOptionHeader(bad));
  }
}

TEST(OptionReplyHeader, RoundTripsAndChecksItsMagic) {
  const OptionReplyHeader header{Option::kInfo, OptionReply::kErrUnknown, 17};
  const auto bytes = EncodeOptionReplyHeader(header);
  EXPECT_EQ(DecodeOptionReplyHeader(bytes), header);
  ExpectWholeOnly(Of(bytes), DecodeOptionReplyHeader);
  auto bad = bytes;
  bad[0] ^= 0x80;
  EXPECT_FALSE(DecodeOptionReplyHeader(bad));
}

TEST(ExportQuery, RoundTrips) {
  const std::array<Info, 3> infos = {Info::kBlockSize, Info::kName, static_cast<Info>(999)};
  const Bytes bytes = Encoded([&](ByteSpan out) { return EncodeExportQuery("disk", infos, out); });
  const auto query = DecodeExportQuery(bytes);
  ASSERT_TRUE(query);
  EXPECT_EQ(query->name, "disk");
  ASSERT_EQ(query->info_count(), 3u);
  for (size_t i = 0; i < infos.size(); ++i) EXPECT_EQ(query->info(i), infos[i]);
  ExpectWholeOnly(bytes, DecodeExportQuery);
}

TEST(ExportQuery, TheEmptyNameAndNoInfosAreLegal) {
  const Bytes bytes = Encoded([](ByteSpan out) { return EncodeExportQuery("", {}, out); });
  EXPECT_EQ(bytes.size(), 6u);
  EXPECT_TRUE(DecodeExportQuery(bytes));
}

TEST(ExportQuery, ANameLengthNearTheTopOfItsTypeIsRefused) {  // CVE-2022-26495, CVE-2022-26496
  Bytes bytes = Encoded([](ByteSpan out) { return EncodeExportQuery("abcd", {}, out); });
  for (const uint32_t length : {5u, 0x7fffffffu, 0xfffffffau, 0xfffffffeu, 0xffffffffu}) {
    StoreBigEndian(bytes.data(), length);
    EXPECT_FALSE(DecodeExportQuery(bytes)) << length;
  }
}

TEST(ExportQuery, NamesEndAtTheProtocolsLimit) {  // CVE-2017-15118
  Bytes out(8192);
  EXPECT_GT(EncodeExportQuery(std::string(kMaxTextBytes, 'n'), {}, out), 0u);
  EXPECT_EQ(EncodeExportQuery(std::string(kMaxTextBytes + 1, 'n'), {}, out), 0u);
  Bytes raw(4 + kMaxTextBytes + 1 + 2, 'n');
  StoreBigEndian(raw.data(), kMaxTextBytes + 1);
  StoreBigEndian(raw.data() + raw.size() - 2, uint16_t{0});
  EXPECT_FALSE(DecodeExportQuery(raw));
}

TEST(MetaQuery, RoundTrips) {
  const std::array<std::string_view, 3> queries = {"base:", "", "qemu:dirty-bitmap:b"};
  const Bytes bytes = Encoded([&](ByteSpan out) { return EncodeMetaQuery("e", queries, out); });
  const auto query = DecodeMetaQuery(bytes);
  ASSERT_TRUE(query);
  EXPECT_EQ(query->name, "e");
  EXPECT_EQ(query->count, 3u);
  ConstByteSpan rest = query->queries;
  for (const std::string_view expected : queries) EXPECT_EQ(NextMetaQuery(rest), expected);
  EXPECT_FALSE(NextMetaQuery(rest));
  ExpectWholeOnly(bytes, DecodeMetaQuery);
}

TEST(MetaQuery, ACountOrLengthThatLiesIsRefused) {
  const std::array<std::string_view, 1> queries = {"base:allocation"};
  const Bytes good = Encoded([&](ByteSpan out) { return EncodeMetaQuery("e", queries, out); });
  for (const size_t field : {size_t{0}, size_t{5}, size_t{9}}) {  // name, count, query
    const uint32_t right = LoadBigEndian<uint32_t>(good.data() + field);
    for (const uint32_t wrong : {right - 1, right + 1, 0x7fffffffu, 0xffffffffu}) {
      Bytes bytes = good;
      StoreBigEndian(bytes.data() + field, wrong);
      EXPECT_FALSE(DecodeMetaQuery(bytes)) << field << " " << wrong;
    }
  }
}

TEST(ServerEntry, RoundTripsWithAndWithoutDescription) {
  const Bytes bytes = Encoded([](ByteSpan out) { return EncodeServerEntry({"n", "what"}, out); });
  EXPECT_EQ(DecodeServerEntry(bytes), (ServerEntry{"n", "what"}));
  EXPECT_EQ(DecodeServerEntry(Bytes(bytes.begin(), bytes.begin() + 5)), (ServerEntry{"n", ""}));
  for (size_t size = 0; size < 5; ++size) {
    EXPECT_FALSE(DecodeServerEntry(ConstByteSpan(bytes).first(size)));
  }
}

TEST(MetaContext, RoundTrips) {
  const Bytes bytes = Encoded([](ByteSpan out) {
    return EncodeMetaContext({7, kBaseAllocation}, out);
  });
  EXPECT_EQ(DecodeMetaContext(bytes), (MetaContext{7, kBaseAllocation}));
  for (size_t size = 0; size < 4; ++size) {
    EXPECT_FALSE(DecodeMetaContext(ConstByteSpan(bytes).first(size)));
  }
}

TEST(InfoReplies, RoundTripAndTellTheirKind) {
  const InfoExport size{uint64_t{1} << 62, 0x0ded};
  EXPECT_EQ(DecodeInfoExport(EncodeInfoExport(size)), size);
  EXPECT_EQ(DecodeInfoKind(EncodeInfoExport(size)), Info::kExport);
  ExpectWholeOnly(Of(EncodeInfoExport(size)), DecodeInfoExport);

  const InfoBlockSize blocks{512, 65536, 32u << 20};
  EXPECT_EQ(DecodeInfoBlockSize(EncodeInfoBlockSize(blocks)), blocks);
  EXPECT_EQ(DecodeInfoKind(EncodeInfoBlockSize(blocks)), Info::kBlockSize);
  ExpectWholeOnly(Of(EncodeInfoBlockSize(blocks)), DecodeInfoBlockSize);

  const InfoText text{Info::kDescription, "Gr\xc3\xbc\xc3\x9f"};
  const Bytes bytes = Encoded([&](ByteSpan out) { return EncodeInfoText(text, out); });
  EXPECT_EQ(DecodeInfoText(bytes), text);
  EXPECT_FALSE(DecodeInfoText(EncodeInfoExport(size)));
  EXPECT_FALSE(DecodeInfoExport(bytes));
  EXPECT_FALSE(DecodeInfoKind(ConstByteSpan(bytes).first(1)));
}

TEST(ExportNameReply, RoundTrips) {
  const InfoExport info{1u << 20, kHasFlags | kSendFlush};
  EXPECT_EQ(DecodeExportNameReply(EncodeExportNameReply(info)), info);
  ExpectWholeOnly(Of(EncodeExportNameReply(info)), DecodeExportNameReply);
}

TEST(IsText, TakesUtf8WithoutNulUpToTheLimit) {  // S2
  EXPECT_TRUE(IsText(""));
  EXPECT_TRUE(IsText("plain"));
  EXPECT_TRUE(
      IsText("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80"
             "\xf4\x8f\xbf\xbf"));
  EXPECT_TRUE(IsText(std::string(kMaxTextBytes, 'x')));
  EXPECT_FALSE(IsText(std::string(kMaxTextBytes + 1, 'x')));
  EXPECT_FALSE(IsText(std::string_view("a\0b", 3)));
}

TEST(IsText, RefusesEveryIllFormedSequence) {
  for (const std::string_view bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x9f\xbf", "\xe2\x82",
        "\xe2\x82\x41", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x92",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "ok\xfe"}) {
    EXPECT_FALSE(IsText(bad)) << ::testing::PrintToString(bad);
  }
}

}  // namespace
}  // namespace sluice::nbd
