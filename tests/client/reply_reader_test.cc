// SPDX-License-Identifier: Apache-2.0
#include "client/nbd/reply_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "client/bench/pattern.h"
#include "proto/nbd_transmission.h"

namespace sluice::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

constexpr uint64_t kSeed = 3;

// Collects what came and releases what is done, as a stream does.
class Collector final : public ReplySink {
 public:
  explicit Collector(Flight& flight) : flight_(flight) {}

  void OnData(Request&, uint64_t offset, ConstByteSpan bytes) override {
    matches = matches && MatchesPattern(kSeed, offset, bytes);
    received += bytes.size();
  }
  void OnHole(Request&, uint64_t, uint32_t length) override { holes += length; }
  uint8_t* PlaceFor(Request& request, uint64_t offset, uint64_t) override {
    return place == nullptr ? nullptr : place + (offset - request.offset);
  }
  void OnExtents(Request&, ConstByteSpan descriptors) override {
    extents.insert(extents.end(), descriptors.begin(), descriptors.end());
  }
  void OnDone(Request& request) override {
    done.push_back(request.error);
    flight_.Release(request);
  }

  void Reset() {
    done.clear();
    received = holes = 0;
    matches = true;
  }

  std::vector<nbd::Error> done;
  uint64_t received = 0, holes = 0;
  bool matches = true;
  uint8_t* place = nullptr;
  Bytes extents;

 private:
  Flight& flight_;
};

// A client with requests in flight and the bytes a server would send it.
class ReplyReaderTest : public ::testing::Test {
 protected:
  Request& Ask(nbd::Command command, uint64_t offset, uint32_t length) {
    Request& request = flight_.Take();
    request.command = command;
    request.offset = offset;
    request.length = length;
    return request;
  }
  Request& AskRead(uint64_t offset, uint32_t length) {
    return Ask(nbd::Command::kRead, offset, length);
  }

  void Simple(uint64_t cookie, nbd::Error error = nbd::Error::kNone) {
    uint8_t header[nbd::kSimpleReplyBytes];
    nbd::EncodeSimpleReply({.error = error, .cookie = cookie}, header);
    Raw(header);
  }
  void Chunk(uint64_t cookie, nbd::ChunkType type, bool last, ConstByteSpan body) {
    uint8_t header[nbd::kChunkHeaderBytes];
    nbd::EncodeChunkHeader({.flags = last ? nbd::kChunkDone : uint16_t{0},
                            .type = type,
                            .cookie = cookie,
                            .length = static_cast<uint32_t>(body.size())},
                           header);
    Raw(header);
    Raw(body);
  }
  void DataChunk(uint64_t cookie, uint64_t offset, size_t length, bool last) {
    Bytes body(nbd::kOffsetDataBytes + length);
    StoreBigEndian(body.data(), offset);
    FillPattern(kSeed, offset, ByteSpan(body).subspan(nbd::kOffsetDataBytes));
    Chunk(cookie, nbd::ChunkType::kOffsetData, last, body);
  }
  void HoleChunk(uint64_t cookie, uint64_t offset, uint32_t length, bool last) {
    uint8_t body[nbd::kOffsetHoleBytes];
    nbd::EncodeOffsetHole({.offset = offset, .length = length}, body);
    Chunk(cookie, nbd::ChunkType::kOffsetHole, last, body);
  }
  void Data(uint64_t offset, size_t length) {
    Bytes data(length);
    FillPattern(kSeed, offset, data);
    Raw(data);
  }
  void Raw(ConstByteSpan bytes) { stream_.insert(stream_.end(), bytes.begin(), bytes.end()); }

  // Hands the stream over in pieces of at most `piece` bytes.
  absl::Status Feed(bool structured, size_t piece = SIZE_MAX) {
    ReplyReader reader(flight_, sink_, structured, context_);
    ConstByteSpan rest = stream_;
    while (!rest.empty()) {
      const ByteSpan room = reader.Room();
      const size_t count = std::min({rest.size(), room.size(), piece});
      std::copy_n(rest.begin(), count, room.begin());
      rest = rest.subspan(count);
      if (absl::Status status = reader.Take(count); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void ExpectBroken(bool structured, const char* why) {
    const absl::Status status = Feed(structured);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }

  std::optional<uint32_t> context_;
  Flight flight_ = Flight(8);
  Collector sink_ = Collector(flight_);
  Bytes stream_;
};

TEST_F(ReplyReaderTest, RepliesMayComeInAnyOrderAndInPiecesOfAnySize) {
  for (size_t piece : {size_t{1}, size_t{2}, size_t{15}, size_t{17}, size_t{4096}, SIZE_MAX}) {
    stream_.clear();
    sink_.Reset();
    const uint64_t read = AskRead(4096, 4096).cookie;
    const uint64_t write = Ask(nbd::Command::kWrite, 0, 512).cookie;
    const uint64_t other = AskRead(0, 1 << 20).cookie;
    Simple(write);
    Simple(other);
    Data(0, 1 << 20);
    Simple(read);
    Data(4096, 4096);
    ASSERT_TRUE(Feed(false, piece).ok()) << piece;
    EXPECT_EQ(sink_.received, (1u << 20) + 4096);
    EXPECT_TRUE(sink_.matches) << piece;
    EXPECT_EQ(sink_.done.size(), 3u);
    EXPECT_EQ(flight_.in_flight(), 0u);
  }
}

TEST_F(ReplyReaderTest, AFailedReadHasNoPayload) {
  const uint64_t first = AskRead(0, 4096).cookie;
  const uint64_t second = Ask(nbd::Command::kFlush, 0, 0).cookie;
  Simple(first, nbd::Error::kIo);
  Simple(second);
  ASSERT_TRUE(Feed(false).ok());
  EXPECT_THAT(sink_.done, ElementsAre(nbd::Error::kIo, nbd::Error::kNone));
  EXPECT_EQ(sink_.received, 0u);
}

TEST_F(ReplyReaderTest, ChunksMayInterleaveAndComeInPieces) {
  for (size_t piece : {size_t{1}, size_t{19}, size_t{21}, SIZE_MAX}) {
    stream_.clear();
    sink_.Reset();
    const uint64_t one = AskRead(0, 8192).cookie;
    const uint64_t two = AskRead(65536, 4096).cookie;
    DataChunk(one, 4096, 4096, false);
    HoleChunk(two, 65536, 1024, false);
    HoleChunk(one, 0, 4096, true);
    DataChunk(two, 66560, 3072, false);
    Chunk(two, nbd::ChunkType::kNone, true, {});
    ASSERT_TRUE(Feed(true, piece).ok()) << piece;
    EXPECT_EQ(sink_.received, 4096u + 3072);
    EXPECT_EQ(sink_.holes, 4096u + 1024);
    EXPECT_TRUE(sink_.matches);
    EXPECT_EQ(sink_.done.size(), 2u);
  }
}

TEST_F(ReplyReaderTest, AnErrorChunkFailsItsRequestAloneWhateverFollows) {
  const uint64_t bad = AskRead(0, 8192).cookie;
  const uint64_t good = Ask(nbd::Command::kWrite, 0, 512).cookie;
  Bytes body(nbd::MaxErrorBodyBytes(5));
  body.resize(
      nbd::EncodeErrorBody({.error = nbd::Error::kIo, .text = "drive", .offset = 512}, body));
  DataChunk(bad, 4096, 4096, false);
  Chunk(bad, nbd::ChunkType::kErrorOffset, false, body);
  Chunk(bad, nbd::ChunkType::kNone, true, {});
  Chunk(good, nbd::ChunkType::kNone, true, {});
  ASSERT_TRUE(Feed(true).ok());
  EXPECT_THAT(sink_.done, ElementsAre(nbd::Error::kIo, nbd::Error::kNone));
}

TEST_F(ReplyReaderTest, WrongMagicEndsTheStream) {
  AskRead(0, 4096);
  Raw(Bytes(16, 0x42));
  ExpectBroken(false, "magic");
}

TEST_F(ReplyReaderTest, AReplyToNothingEndsTheStream) {
  const uint64_t cookie = AskRead(0, 4096).cookie;
  for (const uint64_t stranger : {cookie + 1, cookie + (1 << 16), cookie | 0xffff, UINT64_MAX}) {
    stream_.clear();
    Simple(stranger);
    ExpectBroken(false, "no request");
  }
}

TEST_F(ReplyReaderTest, ASecondReplyToOneRequestEndsTheStream) {
  const uint64_t cookie = Ask(nbd::Command::kWrite, 0, 512).cookie;
  Simple(cookie);
  Simple(cookie);
  ExpectBroken(false, "no request");
  EXPECT_EQ(sink_.done.size(), 1u);
}

TEST_F(ReplyReaderTest, ChunksThatWereNotAgreedEndTheStream) {
  DataChunk(AskRead(0, 512).cookie, 0, 512, true);
  ExpectBroken(false, "not agreed");
}

TEST_F(ReplyReaderTest, ASimpleReplyToReadEndsAStructuredStream) {
  Simple(AskRead(0, 512).cookie);
  ExpectBroken(true, "simple reply to READ");
}

TEST_F(ReplyReaderTest, DataOutsideOfTheRequestEndsTheStream) {
  const uint64_t cookie = AskRead(8192, 4096).cookie;
  for (const uint64_t offset : {uint64_t{0}, uint64_t{8191}, uint64_t{8193}, UINT64_MAX - 100}) {
    stream_.clear();
    DataChunk(cookie, offset, 4096, true);
    ExpectBroken(true, "outside");
  }
  stream_.clear();
  HoleChunk(cookie, 8192, UINT32_MAX, true);
  ExpectBroken(true, "outside");
}

TEST_F(ReplyReaderTest, MoreDataThanWasAskedForEndsTheStream) {
  const uint64_t cookie = AskRead(0, 4096).cookie;
  DataChunk(cookie, 0, 4096, false);
  DataChunk(cookie, 0, 1, false);
  ExpectBroken(true, "more data");
}

TEST_F(ReplyReaderTest, LessDataThanWasAskedForEndsTheStream) {
  const uint64_t cookie = AskRead(0, 4096).cookie;
  DataChunk(cookie, 0, 4095, true);
  ExpectBroken(true, "less data");
}

TEST_F(ReplyReaderTest, DataInTheReplyToAWriteEndsTheStream) {
  DataChunk(Ask(nbd::Command::kWrite, 0, 4096).cookie, 0, 4096, true);
  ExpectBroken(true, "no READ");
}

TEST_F(ReplyReaderTest, ChunksWithForbiddenLengthsEndTheStream) {
  const uint64_t cookie = AskRead(0, 4096).cookie;
  const auto broken = [&](nbd::ChunkType type, size_t length, bool last, const char* why) {
    stream_.clear();
    Chunk(cookie, type, last, Bytes(length));
    ExpectBroken(true, why);
  };
  broken(nbd::ChunkType::kOffsetData, 8, true, "without its data");
  broken(nbd::ChunkType::kOffsetHole, 11, true, "malformed hole");
  broken(nbd::ChunkType::kOffsetHole, 12, true, "malformed hole");  // of no bytes
  broken(nbd::ChunkType::kError, 5, true, "malformed error");
  broken(nbd::ChunkType::kError, 6, true, "malformed error");  // without an error
  broken(nbd::ChunkType::kError, 1 << 20, true, "longer than");
  broken(nbd::ChunkType::kNone, 1, true, "kind nobody");
  broken(nbd::ChunkType::kNone, 0, false, "kind nobody");
  broken(nbd::ChunkType::kBlockStatus, 12, true, "kind nobody");
  broken(static_cast<nbd::ChunkType>(77), 12, true, "kind nobody");
}

TEST_F(ReplyReaderTest, LongDataGoesWhereTheSinkWantsIt) {
  constexpr uint32_t kLength = 1 << 20;
  Bytes place(kLength);
  sink_.place = place.data();
  Simple(AskRead(4096, kLength).cookie);
  Data(4096, kLength);
  Simple(Ask(nbd::Command::kFlush, 0, 0).cookie);
  ASSERT_TRUE(Feed(false, 100'000).ok());
  EXPECT_EQ(sink_.done.size(), 2u);
  EXPECT_GT(sink_.received, 0u);        // what came with the header
  EXPECT_LT(sink_.received, 200'000u);  // the rest did not pass through the buffer
  EXPECT_TRUE(
      MatchesPattern(kSeed, 4096 + sink_.received, ByteSpan(place).subspan(sink_.received)));
}

class ExtentsTest : public ReplyReaderTest {
 protected:
  ExtentsTest() { context_ = 7; }

  uint64_t AskStatus() { return Ask(nbd::Command::kBlockStatus, 0, 1 << 20).cookie; }
  void StatusChunk(uint64_t cookie, uint32_t context, size_t extents, bool last) {
    Bytes body(nbd::kContextIdBytes + extents * nbd::kStatusExtentBytes);
    StoreBigEndian(body.data(), context);
    for (size_t i = 0; i < extents; ++i) {
      uint8_t* const at = body.data() + nbd::kContextIdBytes + i * nbd::kStatusExtentBytes;
      StoreBigEndian(at, static_cast<uint32_t>(i + 1));
      StoreBigEndian(at + 4, uint32_t{3});
    }
    Chunk(cookie, nbd::ChunkType::kBlockStatus, last, body);
  }
};

TEST_F(ExtentsTest, ComeInPiecesOfAnySizeAndNumber) {
  for (size_t piece : {size_t{1}, size_t{7}, size_t{27}, SIZE_MAX}) {
    stream_.clear();
    sink_.Reset();
    sink_.extents.clear();
    StatusChunk(AskStatus(), 7, 100'000, true);  // more than the buffer holds
    ASSERT_TRUE(Feed(true, piece).ok()) << piece;
    EXPECT_EQ(sink_.done.size(), 1u);
    ASSERT_EQ(sink_.extents.size(), 800'000u);
    EXPECT_EQ(LoadBigEndian<uint32_t>(&sink_.extents[8 * 99'999]), 100'000u);
  }
}

TEST_F(ExtentsTest, OfAnotherContextNobodyAskedFor) {
  StatusChunk(AskStatus(), 8, 1, true);
  ExpectBroken(true, "no context");
}

TEST_F(ExtentsTest, WithoutAny) {
  StatusChunk(AskStatus(), 7, 0, true);
  ExpectBroken(true, "malformed");
}

TEST_F(ExtentsTest, WithAPieceOfOne) {
  Chunk(AskStatus(), nbd::ChunkType::kBlockStatus, true, Bytes(4 + 12));
  ExpectBroken(true, "malformed");
}

TEST_F(ExtentsTest, ToARead) {
  StatusChunk(AskRead(0, 4096).cookie, 7, 1, true);
  ExpectBroken(true, "nobody asked");
}

TEST_F(ExtentsTest, AnAnswerWithoutThem) {
  Chunk(AskStatus(), nbd::ChunkType::kNone, true, {});
  ExpectBroken(true, "without extents");
}

}  // namespace
}  // namespace sluice::bench
