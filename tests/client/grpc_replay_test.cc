// SPDX-License-Identifier: Apache-2.0
// The law of proto/sluice/v1/block.proto at the client's side: whatever happens to connections,
// leases and the server, an answered write is there and no block is reverted. A real server, and a
// proxy between that does what networks do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "sluice/client.h"
#include "tests/client/block_model.h"
#include "tests/client/eventually.h"
#include "tests/client/fault_proxy.h"
#include "tests/client/real_server.h"

namespace sluice {
namespace {

using Bytes = std::vector<std::byte>;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

Bytes Block(int value) { return Bytes(4096, std::byte(value)); }

// Counts what a volume tells.
struct Told {
  EventCallback callback() {
    return [this](Event event, const std::string&) { ++counts[static_cast<size_t>(event)]; };
  }
  int Count(Event event) const { return counts[static_cast<size_t>(event)]; }
  std::atomic<int> counts[8] = {};
};

class GrpcReplayTest : public ::testing::Test {
 protected:
  GrpcReplayTest() : GrpcReplayTest("memory:4MiB") {}
  explicit GrpcReplayTest(const char* target, const std::vector<std::string>& options = {})
      : server_(target, options), proxy_(server_.grpc_path()) {}

  Volume OpenAt(const std::string& uri, Options options = {}) {
    options.on_event = told_.callback();
    auto volume = client_->Open(uri, options);
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }
  Volume Open(Options options = {}) { return OpenAt(proxy_.grpc_uri(), std::move(options)); }

  Told told_;
  RealServer server_;
  FaultProxy proxy_;
  Result<Client> client_ = Client::Create();
};

TEST_F(GrpcReplayTest, AReadIsSentAgainWhereverTheReplyIsCut) {
  const Volume volume = Open();
  ASSERT_TRUE(volume.Write(0, Block(1)).ok());
  int expected = 0;
  for (const int64_t cut : {0, 1, 9, 30, 60, 1000, 4000}) {
    proxy_.CutRepliesAfter(cut);
    Bytes read(4096);
    const Status status = volume.Read(0, read);
    ASSERT_TRUE(status.ok()) << cut << ": " << status.ToString();
    EXPECT_EQ(read, Block(1)) << cut;
    EXPECT_EQ(told_.Count(Event::kReconnected), ++expected);
  }
}

TEST_F(GrpcReplayTest, AWriteIsDoneWhereverItOrItsReplyIsCut) {
  const Volume volume = Open();
  int value = 0;
  for (const int64_t cut : {0, 1, 9, 30, 60, 1000, 4000}) {
    proxy_.CutRequestsAfter(cut);
    ASSERT_TRUE(volume.Write(0, Block(++value)).ok()) << cut;
    proxy_.CutRepliesAfter(std::min<int64_t>(cut, 30));
    ASSERT_TRUE(volume.Write(0, Block(++value)).ok()) << cut;
    Bytes read(4096);
    ASSERT_TRUE(volume.Read(0, read).ok());
    EXPECT_EQ(read, Block(value)) << cut;
  }
  EXPECT_TRUE(volume.Flush().ok());  // the session was never lost
  EXPECT_EQ(told_.Count(Event::kAttached), 1);
}

TEST_F(GrpcReplayTest, NothingAnsweredIsLostOrRevertedWhateverConnectionsSuffer) {
  constexpr size_t kBlocks = 64;
  std::mt19937 random(7);
  const auto any = [&](size_t end) {
    return std::uniform_int_distribution<size_t>(0, end - 1)(random);
  };
  const Volume volume = Open({.connections = 3, .queue_depth = 32});
  BlockModel model(kBlocks);
  for (int round = 0; round < 60; ++round) {
    switch (any(6)) {
      case 0:
        proxy_.CutRequestsAfter(static_cast<int64_t>(any(100'000)));
        break;
      case 1:
        proxy_.CutRepliesAfter(static_cast<int64_t>(any(2000)));
        break;
      case 2:
        proxy_.Reset();
        break;
      case 3:
        proxy_.DelayReplies(static_cast<int>(any(3)));
        break;
      case 4:
        proxy_.HoldReplies(true);  // done, and not heard of
        break;
      default:
        break;
    }
    for (int i = 0; i < 40; ++i) {
      const size_t block = any(kBlocks);
      model.Write(volume, block, 1 + any(std::min<size_t>(4, kBlocks - block)));
    }
    std::this_thread::sleep_for(milliseconds(any(10)));
    proxy_.Reset();
    proxy_.HoldReplies(false);
    if (round % 8 == 7) {
      model.Await();
      ASSERT_NO_FATAL_FAILURE(model.Check(volume)) << round;
    }
  }
  model.Await();
  ASSERT_NO_FATAL_FAILURE(model.Check(volume));
  EXPECT_EQ(model.done(), 2400u) << model.last_error();
  EXPECT_GT(told_.Count(Event::kReconnected), 10);
  EXPECT_TRUE(volume.Flush().ok());
}

TEST_F(GrpcReplayTest, AServerThatFallsSilentIsLeftAndKnowsItsOpsAgain) {
  const Volume volume = Open({.reply_timeout_ms = 300});
  proxy_.HoldReplies(true);
  const Bytes data = Block(1);
  std::future<Status> writing = volume.WriteFuture(0, data);
  Eventually([&] { return told_.Count(Event::kConnectionLost) > 0; });
  proxy_.HoldReplies(false);
  EXPECT_TRUE(writing.get().ok());
}

TEST_F(GrpcReplayTest, AServerThatDoesNotComeBackIsGivenUp) {
  const Volume volume = Open({.reconnect_ms = 100});
  proxy_.HoldReplies(true);  // who connects is not answered either
  const Bytes data = Block(1);
  Bytes read(4096);
  std::future<Status> writing = volume.WriteFuture(0, data);
  std::future<Status> behind = volume.WriteFuture(0, data);
  std::this_thread::sleep_for(milliseconds(50));
  server_.Kill();
  proxy_.Reset();
  // Long before the attempt under way would end.
  ASSERT_EQ(writing.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(writing.get().code(), StatusCode::kUnknownOutcome);
  EXPECT_EQ(behind.get().code(), StatusCode::kUnavailable);
  EXPECT_EQ(volume.Read(0, read).code(), StatusCode::kUnavailable);
  EXPECT_EQ(told_.Count(Event::kGivenUp), 1);
}

TEST_F(GrpcReplayTest, ClosingAVolumeEndsWhatIsOutstandingAndGivesUpItsHold) {
  std::future<Status> reading;
  std::future<Status> writing;
  Bytes read(4096);
  const Bytes data = Block(1);
  {
    const Volume volume = Open();
    proxy_.HoldReplies(true);
    reading = volume.ReadFuture(0, read);
    writing = volume.WriteFuture(0, data);
    std::this_thread::sleep_for(milliseconds(50));
    proxy_.HoldReplies(false);
  }
  EXPECT_NE(reading.get().code(), StatusCode::kUnavailable);
  EXPECT_NE(writing.get().code(), StatusCode::kUnavailable);
  const Volume next = OpenAt(server_.uri());  // no lease to wait for
  EXPECT_TRUE(next.Write(0, Block(2)).ok());
}

TEST_F(GrpcReplayTest, ATakeoverFencesTheOldClientAndNothingOfItComesLater) {
  const Volume old = Open({.client_id = "old"});
  ASSERT_TRUE(old.Write(0, Block(1)).ok());
  proxy_.HoldReplies(true);
  const Bytes late = Block(2);
  std::future<Status> writing = old.WriteFuture(0, late);
  std::this_thread::sleep_for(milliseconds(50));
  const auto refused = client_->Open(server_.uri(), {.client_id = "new"});
  EXPECT_EQ(refused.status().code(), StatusCode::kFailedPrecondition);
  const auto taken = client_->Open(server_.uri(), {.client_id = "new", .force = true});
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  ASSERT_TRUE(taken->Write(0, Block(3)).ok());
  proxy_.HoldReplies(false);
  const Status outcome = writing.get();  // done before the takeover, or not known
  EXPECT_TRUE(outcome.ok() || outcome.code() == StatusCode::kUnknownOutcome) << outcome.ToString();
  Eventually([&] { return told_.Count(Event::kFenced) == 1; });
  EXPECT_EQ(old.Write(0, Block(4)).code(), StatusCode::kFenced);
  Bytes read(4096);
  EXPECT_EQ(old.Read(0, read).code(), StatusCode::kFenced);
  ASSERT_TRUE(taken->Read(0, read).ok());
  EXPECT_EQ(read, Block(3));
  EXPECT_EQ(told_.Count(Event::kGivenUp), 0);
}

TEST_F(GrpcReplayTest, AClientThatOpensAgainFencesItsOwnEarlierSession) {
  const Volume first = Open({.client_id = "me"});
  const Volume second = OpenAt(server_.uri(), {.client_id = "me"});
  EXPECT_TRUE(second.Write(0, Block(1)).ok());
  EXPECT_EQ(first.Write(0, Block(2)).code(), StatusCode::kFenced);
}

class GrpcRestartTest : public GrpcReplayTest {
 protected:
  GrpcRestartTest() : GrpcReplayTest("DIR/disk.img", {"--create", "4MiB"}) {}

  void Restart() {
    server_.Kill();
    std::this_thread::sleep_for(milliseconds(50));
    server_.Start();
  }
};

TEST_F(GrpcRestartTest, WhatAKilledServerLeftUnansweredIsDoneByTheNext) {
  constexpr size_t kBlocks = 128;
  std::mt19937 random(11);
  const auto any = [&](size_t end) {
    return std::uniform_int_distribution<size_t>(0, end - 1)(random);
  };
  const Volume volume = Open({.connections = 2});
  BlockModel model(kBlocks);
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 300; ++i) {
      const size_t block = any(kBlocks);
      model.Write(volume, block, 1 + any(std::min<size_t>(4, kBlocks - block)));
      if (i == 150) proxy_.HoldReplies(round % 2 == 1);
    }
    std::this_thread::sleep_for(milliseconds(any(20)));
    Restart();
    proxy_.HoldReplies(false);
    model.Await();
    ASSERT_NO_FATAL_FAILURE(model.Check(volume)) << round;
  }
  EXPECT_EQ(model.done(), 1800u) << model.last_error();
  EXPECT_EQ(told_.Count(Event::kAttached), 7);
}

TEST_F(GrpcRestartTest, TheFlushBehindARestartTellsThatAnsweredWritesAreInDoubt) {
  const Volume volume = Open();
  ASSERT_TRUE(volume.Write(0, Block(1)).ok());
  Restart();
  EXPECT_EQ(volume.Flush().code(), StatusCode::kUnknownOutcome);
  EXPECT_TRUE(volume.Flush().ok());
  Restart();
  EXPECT_TRUE(volume.Flush().ok());  // all was flushed
  ASSERT_TRUE(volume.Write(0, Block(2), kFua).ok());
  Restart();
  EXPECT_TRUE(volume.Flush().ok());
  const Volume trusting = Open({.resend_writes = true, .client_id = "t", .force = true});
  ASSERT_TRUE(trusting.Write(0, Block(3)).ok());
  Restart();
  EXPECT_TRUE(trusting.Flush().ok());
}

TEST_F(GrpcRestartTest, AServerThatDrainsIsAwaited) {
  const Volume volume = Open();
  BlockModel model(64);
  for (size_t i = 0; i < 200; ++i) model.Write(volume, i % 64, 1);
  server_.Terminate();
  for (size_t i = 0; i < 50; ++i) model.Write(volume, i, 1);
  server_.Start();
  model.Await();
  EXPECT_EQ(model.done(), 250u) << model.last_error();
  ASSERT_NO_FATAL_FAILURE(model.Check(volume));
}

TEST_F(GrpcRestartTest, AWriterAmongOthersIsToldWhatARestartLeftOpen) {
  const Volume volume = Open({.access = Access::kShared});
  proxy_.HoldReplies(true);
  const Bytes data = Block(1);
  std::future<Status> writing = volume.WriteFuture(0, data);
  std::this_thread::sleep_for(milliseconds(50));
  Restart();
  proxy_.Reset();
  proxy_.HoldReplies(false);
  EXPECT_EQ(writing.get().code(), StatusCode::kUnknownOutcome);
  EXPECT_TRUE(volume.Write(0, Block(2)).ok());
}

TEST_F(GrpcRestartTest, WhoeverCameFirstAfterARestartFencesTheOther) {
  const Volume old = Open({.client_id = "old"});
  proxy_.HoldReplies(true);
  const Bytes data = Block(1);
  std::future<Status> writing = old.WriteFuture(0, data);
  std::this_thread::sleep_for(milliseconds(50));
  server_.Kill();
  proxy_.Refuse(true);
  proxy_.Reset();
  server_.Start();
  {
    const Volume other = OpenAt(server_.uri(), {.client_id = "new"});
    ASSERT_TRUE(other.Write(0, Block(2)).ok());
  }  // and is gone again
  proxy_.HoldReplies(false);
  proxy_.Refuse(false);
  EXPECT_EQ(writing.get().code(), StatusCode::kUnknownOutcome);
  EXPECT_EQ(told_.Count(Event::kFenced), 1);
  const Volume reader = OpenAt(server_.uri(), {.access = Access::kReadOnly});
  Bytes read(4096);
  ASSERT_TRUE(reader.Read(0, read).ok());
  EXPECT_EQ(read, Block(2));
}

class GrpcLeaseTest : public ::testing::Test {
 protected:
  Volume Open(Options options = {}) {
    options.on_event = told_.callback();
    auto volume = client_->Open(proxy_.grpc_uri(), options);
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }

  Told told_;
  std::unique_ptr<RealServer> server_ = RealServer::WithConfig(R"(
      grpc { listen: "unix:DIR/grpc" lease_s: 1 }
      state_dir: "DIR/state"
      disk { name: "disk" memory_bytes: 4194304 }
      export { name: "disk" volume: "disk" })");
  FaultProxy proxy_ = FaultProxy(server_->grpc_path());
  Result<Client> client_ = Client::Create();
};

TEST_F(GrpcLeaseTest, AnIdleClientKeepsItsLease) {
  const Volume volume = Open({.client_id = "idle"});
  std::this_thread::sleep_for(milliseconds(2500));
  EXPECT_EQ(client_->Open(server_->uri()).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(volume.Write(0, Block(1)).ok());
  EXPECT_EQ(told_.Count(Event::kLeaseLost) + told_.Count(Event::kConnectionLost), 0);
}

TEST_F(GrpcLeaseTest, ASilentServerCostsTheLeaseAndNothingElse) {
  const Volume volume = Open();
  server_->Signal(SIGSTOP);
  const Bytes data = Block(1);
  std::future<Status> writing = volume.WriteFuture(0, data);
  Eventually([&] { return told_.Count(Event::kLeaseLost) > 0; });
  EXPECT_EQ(writing.wait_for(milliseconds(100)), std::future_status::timeout);
  server_->Signal(SIGCONT);
  EXPECT_TRUE(writing.get().ok());
  Bytes read(4096);
  ASSERT_TRUE(volume.Read(0, read).ok());
  EXPECT_EQ(read, data);
}

TEST_F(GrpcLeaseTest, WhoHasLostItsLeaseBelievesNoAnswerAndIsFencedByTheNext) {
  const Volume old = Open({.client_id = "old"});
  proxy_.HoldReplies(true);
  const Bytes data = Block(1);
  std::future<Status> writing = old.WriteFuture(0, data);
  Eventually([&] { return told_.Count(Event::kLeaseLost) > 0; });
  Result<Volume> next = Status(StatusCode::kUnavailable, "");
  Eventually([&] {
    next = client_->Open(server_->uri(), {.client_id = "new"});
    return next.ok();
  });
  ASSERT_TRUE(next->Write(0, Block(2)).ok());
  proxy_.HoldReplies(false);
  EXPECT_EQ(writing.get().code(), StatusCode::kUnknownOutcome);
  EXPECT_EQ(told_.Count(Event::kFenced), 1);
  Bytes read(4096);
  ASSERT_TRUE(next->Read(0, read).ok());
  EXPECT_EQ(read, Block(2));
}

}  // namespace
}  // namespace sluice
