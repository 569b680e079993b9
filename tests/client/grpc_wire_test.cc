// SPDX-License-Identifier: Apache-2.0
// Messages made and taken apart by hand are those that generated code makes and takes apart.
#include "client/sdk/grpc_wire.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "client/crc32c.h"
#include "client/sdk/op_ledger.h"

namespace sluice::internal {
namespace {

using Bytes = std::vector<std::byte>;

std::string TextOf(const ::grpc::ByteBuffer& buffer) {
  std::vector<::grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string text;
  for (const ::grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

// In pieces of at most `piece` bytes, as they come out of a socket.
::grpc::ByteBuffer Cut(const std::string& text, size_t piece) {
  std::vector<::grpc::Slice> slices;
  for (size_t at = 0; at < text.size(); at += piece) {
    slices.emplace_back(text.data() + at, std::min(piece, text.size() - at));
  }
  return ::grpc::ByteBuffer(slices.data(), slices.size());
}

Op MakeOp(OpKind kind, uint64_t offset, uint32_t length, Bytes& data, uint32_t flags = 0) {
  Op op;
  op.kind = kind;
  op.offset = offset;
  op.length = length;
  op.data = data.data();
  op.flags = flags;
  return op;
}

TEST(GrpcWire, OpsAreEncodedAsTheSchemaSays) {
  Bytes first(4096, std::byte{1});
  Bytes second(70'000, std::byte{2});
  Op ops[] = {MakeOp(OpKind::kWrite, 1ull << 40, 4096, first, kFua),
              MakeOp(OpKind::kRead, 8192, 512, first, kFua),
              MakeOp(OpKind::kWriteZeroes, 0, 1u << 30, first, kFua | kNoHole),
              MakeOp(OpKind::kDiscard, 4096, 4096, first),
              MakeOp(OpKind::kWrite, 0, 70'000, second),
              MakeOp(OpKind::kFlush, 0, 0, first)};
  std::vector<NumberedOp> numbered;
  for (uint64_t i = 0; i < std::size(ops); ++i) numbered.push_back({(1ull << 62) - 6 + i, &ops[i]});
  v1::IoRequest message;
  ASSERT_TRUE(message.ParseFromString(TextOf(EncodeOps(numbered, 77))));
  EXPECT_EQ(message.ack_through(), 77u);
  EXPECT_FALSE(message.has_attach());
  ASSERT_EQ(message.ops_size(), 6);
  EXPECT_EQ(message.payload().size(), 74'096u);
  EXPECT_EQ(message.ops(0).op_id(), (1ull << 62) - 6);
  EXPECT_EQ(message.ops(0).kind(), v1::OP_KIND_WRITE);
  EXPECT_EQ(message.ops(0).flags(), unsigned{v1::OP_FLAG_FUA});
  EXPECT_EQ(message.ops(0).offset_bytes(), 1ull << 40);
  EXPECT_EQ(message.ops(0).crc32c(), client::Crc32c(first.data(), first.size()));
  EXPECT_EQ(message.ops(1).kind(), v1::OP_KIND_READ);
  EXPECT_EQ(message.ops(1).flags(), unsigned{v1::OP_FLAG_OMIT_ZEROES});
  EXPECT_FALSE(message.ops(1).has_crc32c());
  EXPECT_EQ(message.ops(2).flags(), unsigned{v1::OP_FLAG_FUA | v1::OP_FLAG_NO_HOLE});
  EXPECT_EQ(message.ops(2).length_bytes(), 1u << 30);
  EXPECT_EQ(message.ops(3).kind(), v1::OP_KIND_DISCARD);
  EXPECT_EQ(message.ops(4).payload_offset(), 4096u);
  EXPECT_EQ(message.ops(4).crc32c(), client::Crc32c(second.data(), second.size()));
  EXPECT_EQ(message.ops(5).kind(), v1::OP_KIND_FLUSH);
  EXPECT_EQ(message.ops(5).length_bytes(), 0u);
}

v1::IoResponse Response() {
  v1::IoResponse response;
  std::string& payload = *response.mutable_payload();
  for (uint32_t i = 0; i < 5; ++i) {
    v1::OpResult& result = *response.add_results();
    result.set_op_id(i + 1);
    result.set_payload_offset(static_cast<uint32_t>(payload.size()));
    result.set_length_bytes(1000 * i);
    payload.append(1000 * i, static_cast<char>('a' + i));
    result.set_crc32c(client::Crc32c(payload.data() + result.payload_offset(), 1000 * i));
  }
  response.mutable_notice()->set_draining(true);
  return response;
}

TEST(GrpcWire, ResultsAreTakenApartHoweverTheyAreCut) {
  const v1::IoResponse response = Response();
  for (const size_t piece : {1, 2, 3, 7, 100, 999, 1000, 100'000}) {
    ::grpc::ByteBuffer bytes = Cut(response.SerializeAsString(), piece);
    IoReply reply(bytes);
    ASSERT_TRUE(reply.Parse()) << piece;
    EXPECT_FALSE(reply.has_attached());
    EXPECT_TRUE(reply.has_notice() && reply.notice().draining());
    ASSERT_EQ(reply.results().size(), 5u);
    for (const int i : {0, 1, 2, 3, 4, 1, 3}) {  // also out of their order
      const v1::OpResult& result = reply.results()[static_cast<size_t>(i)];
      std::string data(result.length_bytes(), '?');
      EXPECT_TRUE(reply.CopyData(result, reinterpret_cast<std::byte*>(data.data())));
      EXPECT_EQ(data, std::string(data.size(), static_cast<char>('a' + i))) << piece;
    }
  }
}

TEST(GrpcWire, ZeroesThatWereLeftOutAreThere) {
  v1::IoResponse response = Response();
  v1::OpResult& zero = *response.add_results();
  zero.set_length_bytes(4096);
  zero.set_all_zero(true);
  ::grpc::ByteBuffer bytes = Cut(response.SerializeAsString(), 600);
  IoReply reply(bytes);
  ASSERT_TRUE(reply.Parse());
  Bytes data(4096, std::byte{7});
  EXPECT_TRUE(reply.CopyData(reply.results()[5], data.data()));
  EXPECT_EQ(data, Bytes(4096));
  EXPECT_TRUE(reply.CopyData(reply.results()[1], data.data()));  // the others are where they were
  EXPECT_EQ(data.front(), std::byte{'b'});
}

TEST(GrpcWire, DataThatAreChangedOrMissingAreNotTaken) {
  v1::IoResponse response = Response();
  (*response.mutable_payload())[1500] ^= 1;
  response.mutable_results(4)->set_payload_offset(9001);
  ::grpc::ByteBuffer bytes = Cut(response.SerializeAsString(), 600);
  IoReply reply(bytes);
  ASSERT_TRUE(reply.Parse());
  Bytes data(8000);
  EXPECT_TRUE(reply.CopyData(reply.results()[1], data.data()));
  EXPECT_FALSE(reply.CopyData(reply.results()[2], data.data()));
  EXPECT_TRUE(reply.CopyData(reply.results()[3], data.data()));
  EXPECT_FALSE(reply.CopyData(reply.results()[4], data.data()));
}

TEST(GrpcWire, UnknownFieldsPassAndNonsenseIsRefused) {
  const std::string good = Response().SerializeAsString();
  const std::string unknown = "\xaa\x01\x03xyz";  // field 21
  ::grpc::ByteBuffer more = Cut(unknown + good + unknown, 50);
  EXPECT_TRUE(IoReply(more).Parse());
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string bad = good.substr(0, random() % good.size());
    for (int j = 0; j < 3 && !bad.empty(); ++j) {
      bad[random() % std::min<size_t>(bad.size(), 200)] = static_cast<char>(random());
    }
    ::grpc::ByteBuffer bytes = Cut(bad, 1 + random() % 300);
    IoReply reply(bytes);
    if (!reply.Parse()) continue;
    for (const v1::OpResult& result : reply.results()) {
      if (result.length_bytes() > 10'000) continue;
      Bytes data(result.length_bytes());
      reply.CopyData(result, data.data());  // in bounds, whatever it says
    }
  }
  ::grpc::ByteBuffer cut = Cut(good.substr(0, good.size() - 1), 4096);
  EXPECT_FALSE(IoReply(cut).Parse());
}

TEST(OpLedger, IdsRiseAndTheOldestOpenOneHoldsTheWindow) {
  OpLedger ledger;
  ledger.Reset(4);
  Op ops[6];
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ledger.Add(ops[i], 0), static_cast<uint64_t>(i + 1));
  EXPECT_TRUE(ledger.full());
  EXPECT_EQ(&ledger.Take(2), &ops[1]);
  EXPECT_TRUE(ledger.full());  // 1 is open
  EXPECT_EQ(ledger.answered_through(), 0u);
  EXPECT_EQ(ledger.OpenIds(), (std::vector<uint64_t>{1, 3, 4}));
  ledger.Take(1);
  EXPECT_EQ(ledger.answered_through(), 2u);
  EXPECT_EQ(ledger.Find(1), nullptr);
  EXPECT_EQ(ledger.Find(5), nullptr);
  EXPECT_EQ(ledger.Add(ops[4], 1), 5u);
  EXPECT_EQ(ledger.Find(5)->lane, 1u);
  for (const uint64_t id : ledger.OpenIds()) ledger.Take(id);
  EXPECT_EQ(ledger.open(), 0u);
  EXPECT_EQ(ledger.answered_through(), 5u);
}

}  // namespace
}  // namespace sluice::internal
