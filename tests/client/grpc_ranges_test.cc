// SPDX-License-Identifier: Apache-2.0
// What the SDK makes of a gRPC server that tells of ranges: slowly, in part, wrongly, or not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "sluice/client.h"
#include "tests/client/fake_grpc_test.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kHalf = 1 << 18;  // of the volume

class GrpcRangesTest : public FakeGrpcTest {};

void Tell(FakeGrpcServer::ExtentsWriter& writer, uint64_t offset, uint64_t length, bool zero) {
  v1::GetBlockStatusResponse message;
  v1::BlockExtent& extent = *message.add_extents();
  extent.set_offset_bytes(offset);
  extent.set_length_bytes(length);
  extent.set_zero(zero);
  writer.Write(message);
}

TEST_F(GrpcRangesTest, ASilentServerIsLeftAndTheRestIsAskedForAgain) {
  std::vector<uint64_t> asked;
  FakeGrpcServer server({.extents = [&](const v1::GetBlockStatusRequest& request, auto& writer) {
    asked.push_back(request.offset_bytes());
    if (asked.size() == 1) return false;
    Tell(writer, request.offset_bytes(), kHalf, asked.size() == 2);
    return asked.size() != 2;
  }});
  const Volume volume = Open(server, {.reply_timeout_ms = 150});
  const auto extents = volume.Extents(0, 2 * kHalf);
  ASSERT_TRUE(extents.ok()) << extents.status().ToString();
  EXPECT_THAT(*extents,
              ElementsAre(Extent{0, kHalf, false, true}, Extent{kHalf, kHalf, false, false}));
  EXPECT_THAT(asked, ElementsAre(0, 0, kHalf));  // what was told was not asked for again
  EXPECT_EQ(Count(Event::kConnectionLost), 2);
  EXPECT_EQ(server.attaches(), 3u);
}

TEST_F(GrpcRangesTest, AServerThatNeverTellsIsNotAwaitedForEver) {
  std::atomic<int> asked = 0;
  FakeGrpcServer server({.extents = [&](const auto&, auto&) {
    ++asked;
    return false;
  }});
  const Volume volume = Open(server, {.reply_timeout_ms = 50});
  const Status status = volume.Extents(0, kHalf).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("silent"));
  EXPECT_EQ(asked, 5);
  EXPECT_TRUE(volume.Flush().ok());  // the volume is none the worse
}

TEST_F(GrpcRangesTest, AServerThatTakesLongIsNotSilentWhileItTells) {
  constexpr uint64_t kPiece = kHalf / 8;
  FakeGrpcServer server({.extents = [](const v1::GetBlockStatusRequest& request, auto& writer) {
    for (uint64_t i = 0; i < 8; ++i) {
      std::this_thread::sleep_for(milliseconds(100));
      Tell(writer, request.offset_bytes() + i * kPiece, kPiece, false);
    }
    return true;
  }});
  const Volume volume = Open(server, {.reply_timeout_ms = 600});
  EXPECT_TRUE(volume.Extents(0, kHalf).ok());
  EXPECT_EQ(Count(Event::kConnectionLost), 0);
}

TEST_F(GrpcRangesTest, WhatDoesNotJoinOrIsNothingIsRefused) {
  std::atomic<int> step = 0;
  FakeGrpcServer server({.extents = [&](const auto&, auto& writer) {
    switch (step++) {
      case 0:
        return true;
      case 1:
        Tell(writer, 512, kHalf - 512, false);
        return true;
      case 2:
        Tell(writer, 0, 0, false);
        return true;
      default:
        Tell(writer, 0, kHalf + 512, false);
        return true;
    }
  }});
  const Volume volume = Open(server);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(volume.Extents(0, kHalf).status().code(), StatusCode::kProtocolError) << i;
  }
}

// Sums of `count` chunks of a KiB from `offset` on, the last of them with a reason.
void Tell(FakeGrpcServer::ChunksWriter& writer, uint64_t offset, uint32_t count,
          v1::ErrorReason last = v1::ERROR_REASON_UNSPECIFIED) {
  v1::VerifyRangeResponse message;
  for (uint32_t i = 0; i < count; ++i) {
    v1::VerifiedChunk& chunk = *message.add_chunks();
    chunk.set_offset_bytes(offset + i * 1024);
    chunk.set_length_bytes(1024);
    chunk.set_crc32c(i);
    if (i + 1 == count) chunk.set_reason(last);
  }
  writer.Write(message);
}

TEST_F(GrpcRangesTest, AChunkThatCannotBeReadSaysSoAndSpoilsNoOther) {
  FakeGrpcServer server({.chunks = [](const auto& request, auto& writer) {
    Tell(writer, request.offset_bytes(), 2, v1::ERROR_REASON_IO_ERROR);
    Tell(writer, request.offset_bytes() + 2048, 2);
    return true;
  }});
  const auto sums = Open(server).Checksums(8192, 4096, 1024);
  ASSERT_TRUE(sums.ok()) << sums.status().ToString();
  std::vector<StatusCode> codes;
  for (const Checksum& sum : *sums) codes.push_back(sum.status.code());
  EXPECT_THAT(codes,
              ElementsAre(StatusCode::kOk, StatusCode::kIoError, StatusCode::kOk, StatusCode::kOk));
  EXPECT_EQ((*sums)[3].offset, 8192u + 3072);
}

TEST_F(GrpcRangesTest, ASilentServerIsAskedAgainForTheSumsThatItDidNotTell) {
  std::vector<uint64_t> asked;
  FakeGrpcServer server({.chunks = [&](const auto& request, auto& writer) {
    asked.push_back(request.offset_bytes());
    if (asked.size() != 2) Tell(writer, request.offset_bytes(), 2);
    return asked.size() > 2;
  }});
  const Volume volume = Open(server, {.reply_timeout_ms = 150});
  EXPECT_EQ(volume.Checksums(0, 4096, 1024)->size(), 4u);
  EXPECT_THAT(asked, ElementsAre(0, 2048, 2048));
  EXPECT_EQ(Count(Event::kConnectionLost), 2);
}

TEST_F(GrpcRangesTest, WhatADrainingServerDoesNotReadIsAskedForAfterTheNextAttach) {
  std::atomic<int> asked = 0;
  FakeGrpcServer server({.chunks = [&](const auto& request, auto& writer) {
    const int time = ++asked;
    Tell(writer, request.offset_bytes(), time == 2 ? 1 : 2,
         time <= 2 ? v1::ERROR_REASON_DRAINING : v1::ERROR_REASON_UNSPECIFIED);
    return true;
  }});
  const Volume volume = Open(server);
  std::promise<Result<std::vector<Checksum>>> sums;
  volume.AsyncChecksums(0, 3072, 1024, [&](auto result) { sums.set_value(std::move(result)); });
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(asked, 2);  // the first told one sum, the second none
  server.HangUp();
  const auto told = sums.get_future().get();
  ASSERT_TRUE(told.ok()) << told.status().ToString();
  EXPECT_EQ(told->size(), 3u);
}

TEST_F(GrpcRangesTest, ChunksThatDoNotJoinAreRefused) {
  std::atomic<uint64_t> offset = 0;
  std::atomic<uint32_t> count = 0;
  FakeGrpcServer server({.chunks = [&](const auto&, auto& writer) {
    Tell(writer, offset, count);
    return true;
  }});
  const Volume volume = Open(server);
  for (const auto& [at, chunks] : {std::pair(1024u, 1u), std::pair(0u, 5u)}) {
    offset = at;
    count = chunks;
    EXPECT_EQ(volume.Checksums(0, 4096, 1024).status().code(), StatusCode::kProtocolError);
  }
  offset = 0;
  count = 4;
  EXPECT_EQ(volume.Checksums(0, 4096, 2048).status().code(), StatusCode::kProtocolError);
}

}  // namespace
}  // namespace sluice
