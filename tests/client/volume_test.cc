// SPDX-License-Identifier: Apache-2.0
// The SDK's faces over a server that behaves.
#include "sluice/volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "client/bench/pattern.h"
#include "sluice/batch.h"
#include "sluice/client.h"
#include "tests/client/bytes.h"
#include "tests/client/fake_server.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
class VolumeTest : public ::testing::Test {
 protected:
  explicit VolumeTest(FakeServer::Behaviour behaviour = {}) : server_(std::move(behaviour)) {}

  Volume Open(const Options& options = {}) {
    auto volume = client_->Open(server_.uri(), options);
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }

  FakeServer server_;
  Result<Client> client_ = Client::Create();
};

TEST_F(VolumeTest, WhatIsWrittenIsRead) {
  const Volume volume = Open();
  EXPECT_EQ(volume.info().size_bytes, 1u << 20);
  const Bytes data = Data(8192, 300'000);
  ASSERT_TRUE(volume.Write(8192, data).ok());
  Bytes read(data.size());
  ASSERT_TRUE(volume.Read(8192, read).ok());
  EXPECT_EQ(read, data);
  ASSERT_TRUE(volume.WriteZeroes(8192, 4096).ok());
  ASSERT_TRUE(volume.Read(8192, std::span(read).first(4096)).ok());
  EXPECT_EQ(Bytes(read.begin(), read.begin() + 4096), Bytes(4096));
  EXPECT_TRUE(volume.Discard(0, 4096).ok());
  EXPECT_TRUE(volume.Flush().ok());
  EXPECT_EQ(server_.Count(nbd::Command::kTrim), 1u);
  EXPECT_EQ(server_.Count(nbd::Command::kFlush), 1u);
}

TEST_F(VolumeTest, NothingIsAskedOfTheServerForNothing) {
  const Volume volume = Open();
  EXPECT_TRUE(volume.Read(0, {}).ok());
  EXPECT_TRUE(volume.WriteZeroes(4096, 0).ok());
  EXPECT_EQ(server_.Count(nbd::Command::kRead) + server_.Count(nbd::Command::kWriteZeroes), 0u);
}

TEST_F(VolumeTest, WhatIsPastTheEndIsRefusedHere) {
  const Volume volume = Open();
  Bytes bytes(4096);
  EXPECT_EQ(volume.Read((1 << 20) - 512, bytes).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(volume.Write(UINT64_MAX, bytes).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(volume.Discard(0, UINT64_MAX).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(volume.Extents(0, 4096).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(server_.Count(nbd::Command::kRead) + server_.Count(nbd::Command::kWrite), 0u);
}

TEST_F(VolumeTest, ChecksumsNeedTheOtherDoor) {
  const Volume volume = Open();
  EXPECT_FALSE(volume.info().can_checksum);
  const Status status = volume.Checksums(0, 4096).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("over gRPC"));
}

TEST_F(VolumeTest, CallbacksRunOnceEachAndMayStartMore) {
  const Volume volume = Open({.connections = 3, .queue_depth = 4});
  constexpr int kOps = 200;
  std::vector<Bytes> data;
  for (uint64_t i = 0; i < kOps; ++i) data.push_back(Data(i * 4096, 4096));
  std::vector<Bytes> read(kOps, Bytes(4096));
  std::atomic<int> good = 0;
  std::latch done(kOps);
  for (uint64_t i = 0; i < kOps; ++i) {
    volume.AsyncWrite(i * 4096, data[i], kFua, [&, i](const Status& written) {
      EXPECT_TRUE(written.ok()) << written.ToString();
      volume.AsyncRead(i * 4096, read[i], [&](const Status& status) {
        good += status.ok() ? 1 : 0;
        done.count_down();
      });
    });
  }
  done.wait();
  EXPECT_EQ(good, kOps);
  EXPECT_EQ(read, data);
  EXPECT_EQ(server_.fua_count(), uint64_t{kOps});
  EXPECT_EQ(server_.connections(), 3u);
}

TEST_F(VolumeTest, ABlockingCallInACallbackIsRefusedInsteadOfWaitingForItself) {
  const Volume volume = Open();
  std::promise<StatusCode> code;
  volume.AsyncFlush([&](const Status&) { code.set_value(volume.Flush().code()); });
  EXPECT_EQ(code.get_future().get(), StatusCode::kFailedPrecondition);
}

TEST_F(VolumeTest, FuturesAndBuffersOfThePool) {
  const Volume volume = Open();
  Buffer buffer = volume.buffers().Allocate(65536);
  bench::FillPattern(1, 0, Raw(buffer.span()));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % BufferPool::kAlignment, 0u);
  ASSERT_TRUE(volume.WriteFuture(0, buffer.span()).get().ok());
  ASSERT_TRUE(volume.FlushFuture().get().ok());
  Buffer other = volume.buffers().Allocate(65536);
  ASSERT_TRUE(volume.ReadFuture(0, other.span()).get().ok());
  EXPECT_TRUE(bench::MatchesPattern(1, 0, Raw(other.span())));
}

TEST_F(VolumeTest, ManyThreadsShareAVolume) {
  const Volume volume = Open({.connections = 2, .queue_depth = 8});
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 50; ++i) {
        const uint64_t offset = (t * 50 + i) * 4096;
        const Bytes data = Data(offset, 4096, t);
        Bytes read(4096);
        const bool ok = volume.Write(offset, data).ok() && volume.Read(offset, read).ok();
        good += ok && read == data ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 200);
}

TEST_F(VolumeTest, ABatchIsOneAnswerAndItsFlushComesBehindItsWrites) {
  const Volume volume = Open({.connections = 4});
  const Bytes head = Data(0, 4096);
  const Bytes tail = Data(65536, 4096);
  Bytes read(4096);
  Batch batch(volume);
  batch.Write(0, head).Write(65536, tail).WriteZeroes(131072, 4096).Flush().Read(65536, read);
  ASSERT_TRUE(batch.SubmitAndWait().ok());
  EXPECT_EQ(read, tail);
  EXPECT_EQ(server_.Count(nbd::Command::kFlush), 1u);
  // Empty again.
  EXPECT_TRUE(batch.SubmitAndWait().ok());
  EXPECT_EQ(server_.Count(nbd::Command::kFlush), 1u);
}

TEST_F(VolumeTest, OverlappingWritesAreDoneInTheOrderTheyWereAskedFor) {
  const Volume volume = Open({.connections = 4});
  constexpr uint64_t kWrites = 100;
  std::vector<Bytes> data;
  std::latch done(kWrites);
  for (uint64_t i = 0; i < kWrites; ++i) data.push_back(Data(4096, 8192, i));
  for (uint64_t i = 0; i < kWrites; ++i) {
    volume.AsyncWrite(4096 + (i % 2) * 4096, data[i], 0, [&](const Status& status) {
      EXPECT_TRUE(status.ok());
      done.count_down();
    });
  }
  done.wait();
  Bytes read(8192);
  ASSERT_TRUE(volume.Read(8192, read).ok());
  EXPECT_EQ(read, data[kWrites - 1]);
}

class SmallServerTest : public VolumeTest {
 protected:
  SmallServerTest()
      : VolumeTest({.flags = nbd::kHasFlags | nbd::kSendFlush,
                    .block_size = {.min = 512, .preferred = 4096, .max_payload = 8192}}) {}
};

TEST_F(SmallServerTest, LongRequestsAreSplitIntoWhatTheServerTakes) {
  const Volume volume = Open();
  const Bytes data = Data(0, 100 * 1024);
  ASSERT_TRUE(volume.Write(0, data).ok());
  EXPECT_EQ(server_.Count(nbd::Command::kWrite), 13u);
  Bytes read(data.size());
  ASSERT_TRUE(volume.Read(0, read).ok());
  EXPECT_EQ(read, data);
}

TEST_F(SmallServerTest, WhatTheServerCannotDoIsToldBeforeItIsAsked) {
  const Volume volume = Open({.connections = 4});
  EXPECT_EQ(volume.info().connections, 1u);  // no promise about flushes over several
  EXPECT_EQ(volume.Discard(0, 4096).code(), StatusCode::kUnsupported);
  EXPECT_EQ(volume.WriteZeroes(0, 4096).code(), StatusCode::kUnsupported);
  EXPECT_EQ(volume.Write(256, Bytes(512)).code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(volume.Write(0, Bytes(100)).message(), HasSubstr("512"));
}

TEST_F(SmallServerTest, WithoutFuaAWriteIsFollowedByAFlush) {
  const Volume volume = Open();
  ASSERT_TRUE(volume.Write(0, Bytes(4096), kFua).ok());
  EXPECT_EQ(server_.fua_count(), 0u);
  EXPECT_EQ(server_.Count(nbd::Command::kFlush), 1u);
}

class ReadOnlyTest : public VolumeTest {
 protected:
  ReadOnlyTest() : VolumeTest({.flags = nbd::kHasFlags | nbd::kReadOnly}) {}
};

TEST_F(ReadOnlyTest, NothingChangesAndFlushHasNothingToDo) {
  const Volume volume = Open({.connections = 2});
  EXPECT_EQ(volume.info().connections, 2u);
  EXPECT_EQ(volume.Write(0, Bytes(4096)).code(), StatusCode::kReadOnly);
  EXPECT_EQ(volume.Discard(0, 4096).code(), StatusCode::kReadOnly);
  EXPECT_TRUE(volume.Flush().ok());
}

class FailingTest : public VolumeTest {
 protected:
  FailingTest()
      : VolumeTest({.error = [](const nbd::Request& request) {
          return request.offset >= 65536 ? nbd::Error::kNoSpc : nbd::Error::kNone;
        }}) {}
};

TEST_F(FailingTest, AnErrorIsItsRequestsOwnAndABatchStopsAtItsFlush) {
  const Volume volume = Open();
  EXPECT_EQ(volume.Write(65536, Bytes(4096)).code(), StatusCode::kNoSpace);
  EXPECT_EQ(volume.Write(65536, Bytes(4096)).ToErrno(), ENOSPC);
  EXPECT_TRUE(volume.Write(0, Bytes(4096)).ok());
  Batch batch(volume);
  const Bytes block(4096);
  batch.Write(0, block).Write(65536, block).Flush();
  EXPECT_EQ(batch.SubmitAndWait().code(), StatusCode::kNoSpace);
  EXPECT_EQ(server_.Count(nbd::Command::kFlush), 0u);
}

TEST(ClientTest, WrongWordsAreRefusedWithTheirCure) {
  auto client = Client::Create();
  EXPECT_EQ(client->Open("http://x").status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(client->Open("http://x").status().message(), HasSubstr("nbd://"));
  EXPECT_EQ(client->Open("nbd://h/", {.connections = 0}).status().code(),
            StatusCode::kInvalidArgument);
  const Status nobody = client->Open("nbd+unix:///?socket=/nonexistent/s").status();
  EXPECT_EQ(nobody.code(), StatusCode::kUnavailable);
  EXPECT_THAT(nobody.message(), HasSubstr("is the server up?"));
}

TEST(BufferPoolTest, MemoryIsKeptForTheNextAndOutlivesThePool) {
  Buffer kept;
  {
    BufferPool pool(1 << 20);
    { const Buffer first = pool.Allocate(5000); }
    EXPECT_EQ(pool.kept_bytes(), 8192u);
    kept = pool.Allocate(8192);
    EXPECT_EQ(pool.kept_bytes(), 0u);
    const Buffer slice = kept.Slice(4096, 100);
    EXPECT_EQ(slice.data(), kept.data() + 4096);
    { const Buffer large = pool.Allocate(2 << 20); }
    EXPECT_EQ(pool.kept_bytes(), 0u);  // more than it may keep
    EXPECT_TRUE(pool.Allocate(0).empty());
  }
  std::fill_n(kept.data(), kept.size(), std::byte{7});
  EXPECT_EQ(kept.span().back(), std::byte{7});
}

}  // namespace
}  // namespace sluice
