// SPDX-License-Identifier: Apache-2.0
// The SDK's faces over the gRPC door of a real server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <coroutine>
#include <latch>
#include <thread>
#include <vector>

#include "client/crc32c.h"
#include "sluice/awaitable.h"
#include "sluice/batch.h"
#include "sluice/client.h"
#include "sluice/sluice.h"
#include "tests/client/bytes.h"
#include "tests/client/real_server.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
class GrpcVolumeTest : public ::testing::Test {
 protected:
  Volume Open(const Options& options = {}) {
    auto volume = client_->Open(server_.uri(), options);
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }

  RealServer server_;
  Result<Client> client_ = Client::Create();
};

TEST_F(GrpcVolumeTest, WhatIsWrittenIsRead) {
  const Volume volume = Open();
  EXPECT_EQ(volume.info().size_bytes, 16u << 20);
  EXPECT_EQ(volume.size_bytes(), 16u << 20);
  const Bytes data = Data(8192, 3'000'320);  // three messages and more
  ASSERT_TRUE(volume.Write(8192, data).ok());
  Bytes read(data.size());
  ASSERT_TRUE(volume.Read(8192, read).ok());
  EXPECT_EQ(read, data);
  ASSERT_TRUE(volume.WriteZeroes(8192, 4096).ok());
  ASSERT_TRUE(volume.Read(8192, std::span(read).first(4096)).ok());
  EXPECT_EQ(Bytes(read.begin(), read.begin() + 4096), Bytes(4096));
  EXPECT_TRUE(volume.Discard(0, 4096).ok());
  EXPECT_TRUE(volume.Flush().ok());
  EXPECT_TRUE(volume.Read(0, {}).ok());
}

TEST_F(GrpcVolumeTest, ExtentsTellTheWholeRange) {
  const Volume volume = Open();
  ASSERT_TRUE(volume.WriteZeroes(0, 16 << 20).ok());
  ASSERT_TRUE(volume.Write(65536, Data(0, 65536)).ok());
  const auto extents = volume.Extents(0, 16 << 20);
  ASSERT_TRUE(extents.ok()) << extents.status().ToString();
  uint64_t at = 0;
  for (const Extent& extent : *extents) {
    EXPECT_EQ(extent.offset, at);
    at += extent.length;
    if (extent.offset <= 65536 && 65536 < extent.offset + extent.length) {
      EXPECT_FALSE(extent.zero);
    }
  }
  EXPECT_EQ(at, 16u << 20);
}

TEST_F(GrpcVolumeTest, ChecksumsAreOfWhatIsThere) {
  const Volume writer = Open();
  const Volume volume = Open({.access = Access::kReadOnly});
  constexpr uint64_t kAt = 512;
  constexpr size_t kLength = (5 << 20) + 1024;  // several messages, and a chunk that is cut
  const Bytes data = Data(kAt, kLength);
  ASSERT_TRUE(writer.Write(kAt, data).ok());
  for (const uint32_t chunk : {512u << 10, Volume::kChecksumChunkBytes, 8192u}) {
    const auto sums = volume.Checksums(kAt, kLength, chunk);
    ASSERT_TRUE(sums.ok()) << sums.status().ToString();
    ASSERT_EQ(sums->size(), kLength / chunk + 1);
    uint64_t at = kAt;
    for (const Checksum& sum : *sums) {
      ASSERT_TRUE(sum.status.ok());
      ASSERT_EQ(sum.offset, at);
      ASSERT_EQ(sum.crc32c, client::Crc32c(&data[at - kAt], sum.length));
      at += sum.length;
    }
    EXPECT_EQ(at, kAt + kLength);
  }
}

TEST_F(GrpcVolumeTest, ChecksumsOfWhatIsNotThereAreRefusedHere) {
  const Volume volume = Open();
  for (const uint32_t chunk : {0u, 256u, 3u << 10, 2u << 20}) {
    EXPECT_EQ(volume.Checksums(0, 4096, chunk).status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(volume.Checksums(0, 17 << 20).status().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(volume.Checksums(0, 0)->size(), 0u);
}

TEST_F(GrpcVolumeTest, CallbacksRunOnceEachOverSeveralStreams) {
  const Volume volume = Open({.connections = 3, .queue_depth = 4});
  EXPECT_EQ(volume.info().connections, 3u);
  constexpr int kOps = 300;
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
}

TEST_F(GrpcVolumeTest, MoreThanTheLimitsAllowWaitsItsTurn) {
  const Volume volume = Open({.queue_depth = 4096});
  constexpr uint64_t kOps = 48;  // of a MiB each, three times what may be in flight
  const Bytes data = Data(0, 1 << 20);
  std::latch done(kOps);
  std::atomic<int> good = 0;
  for (uint64_t i = 0; i < kOps; ++i) {
    volume.AsyncWrite((i % 16) << 20, data, 0, [&](const Status& status) {
      good += status.ok() ? 1 : 0;
      done.count_down();
    });
  }
  done.wait();
  EXPECT_EQ(good, static_cast<int>(kOps));
  std::vector<std::future<Status>> reads;
  std::vector<Bytes> read(40, Bytes(1 << 20));
  for (Bytes& into : read) reads.push_back(volume.ReadFuture(15 << 20, into));
  for (auto& one : reads) EXPECT_TRUE(one.get().ok());
  for (const Bytes& into : read) EXPECT_EQ(into, data);
}

struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached RoundTrip(const Volume& volume, std::promise<bool>& good) {
  const Bytes data = Data(0, 8192);
  Bytes read(8192);
  Status status = co_await Await(volume).Write(0, data);
  if (status.ok()) status = co_await Await(volume).Flush();
  if (status.ok()) status = co_await Await(volume).Read(0, read);
  good.set_value(status.ok() && read == data);
}

TEST_F(GrpcVolumeTest, CoroutinesBatchesAndC) {
  const Volume volume = Open({.access = Access::kShared});
  std::promise<bool> good;
  RoundTrip(volume, good);
  EXPECT_TRUE(good.get_future().get());
  const Bytes head = Data(0, 4096);
  Bytes read(4096);
  Batch batch(volume);
  batch.Write(0, head).WriteZeroes(131072, 4096).Flush().Read(0, read);
  ASSERT_TRUE(batch.SubmitAndWait().ok());
  EXPECT_EQ(read, head);
}

TEST_F(GrpcVolumeTest, TheCShimOpensBothDoors) {
  for (const std::string& uri : {server_.uri(), server_.nbd_uri()}) {
    sluice_volume* volume = nullptr;
    ASSERT_EQ(sluice_open(uri.c_str(), 1, &volume), 0) << sluice_error();
    const Bytes data = Data(0, 4096);
    Bytes read(4096);
    EXPECT_EQ(sluice_write(volume, data.data(), data.size(), 0, SLUICE_FUA), 0);
    EXPECT_EQ(sluice_read(volume, read.data(), read.size(), 0), 0);
    EXPECT_EQ(read, data);
    sluice_close(volume);  // and with it its hold on the export, which the next one needs
  }
}

TEST_F(GrpcVolumeTest, TheCShimTakesOptions) {
  sluice_options writing{};
  writing.connections = 2;
  writing.client_id = "c";
  sluice_options reading{};
  reading.access = SLUICE_READ_ONLY;
  sluice_options wrong{};
  wrong.access = static_cast<sluice_access>(3);
  sluice_volume* writer = nullptr;
  sluice_volume* reader = nullptr;
  ASSERT_EQ(sluice_open_with(server_.uri().c_str(), &writing, &writer), 0) << sluice_error();
  EXPECT_EQ(sluice_open_with(server_.uri().c_str(), &wrong, &reader), -EINVAL);
  EXPECT_EQ(sluice_open(server_.uri().c_str(), 1, &reader), -EBUSY);
  EXPECT_THAT(sluice_error(), HasSubstr("\"c\""));
  ASSERT_EQ(sluice_open_with(server_.uri().c_str(), &reading, &reader), 0) << sluice_error();
  char block[512] = {};
  EXPECT_EQ(sluice_write(writer, block, sizeof(block), 0, 0), 0);
  EXPECT_EQ(sluice_write(reader, block, sizeof(block), 0, 0), -EROFS);
  EXPECT_EQ(sluice_size(reader), 16u << 20);
  sluice_close(reader);
  sluice_close(writer);
}

TEST_F(GrpcVolumeTest, WhatCannotBeOpenedSaysWhy) {
  const auto message = [&](const std::string& uri, const Options& options = {}) {
    const auto volume = client_->Open(uri, options);
    return volume.ok() ? "opened" : volume.status().ToString();
  };
  EXPECT_THAT(message("sluice+unix:///other?socket=" + server_.grpc_path()),
              HasSubstr("NOT_FOUND: there is no such export"));
  EXPECT_THAT(message("sluice+unix:///disk?socket=/nonexistent/s"), HasSubstr("UNAVAILABLE"));
  EXPECT_THAT(message("sluice+unix:///disk"), HasSubstr("INVALID_ARGUMENT"));
  EXPECT_THAT(message(server_.uri(), {.tls = {.cert_file = "a"}}), HasSubstr("key_file"));
  const Volume held = Open({.client_id = "the holder"});
  EXPECT_THAT(message(server_.uri()), HasSubstr("FAILED_PRECONDITION: held read-write by "
                                                "\"the holder\""));
  EXPECT_EQ(message(server_.uri(), {.access = Access::kReadOnly}), "opened");
}

TEST_F(GrpcVolumeTest, AReaderReadsAndDoesNotWrite) {
  const Volume writer = Open();
  const Volume reader = Open({.access = Access::kReadOnly});
  ASSERT_TRUE(writer.Write(0, Data(0, 4096)).ok());
  Bytes read(4096);
  ASSERT_TRUE(reader.Read(0, read).ok());
  EXPECT_EQ(read, Data(0, 4096));
  EXPECT_EQ(reader.Write(0, read).code(), StatusCode::kReadOnly);
}

TEST_F(GrpcVolumeTest, OverlappingWritesAreDoneInTheOrderTheyWereAskedFor) {
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

TEST_F(GrpcVolumeTest, ManyThreadsShareAVolume) {
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

}  // namespace
}  // namespace sluice
