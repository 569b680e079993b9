// SPDX-License-Identifier: Apache-2.0
// What becomes of operations when connections are lost: the rules of sluice/volume.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "client/bench/pattern.h"
#include "sluice/client.h"
#include "tests/client/eventually.h"
#include "tests/client/fake_server.h"
#include "tests/client/fault_proxy.h"

namespace sluice {
namespace {

using Bytes = std::vector<std::byte>;
using ::testing::HasSubstr;

constexpr int64_t kWriteBytes = nbd::kRequestBytes + 4096;

Bytes Data(uint64_t seed) {
  Bytes bytes(4096);
  bench::FillPattern(seed, 0, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
  return bytes;
}

class ReconnectTest : public ::testing::Test {
 protected:
  Volume Open(Options options = {}) {
    options.on_event = [this](Event event, const std::string&) {
      if (event == Event::kConnectionLost) ++lost_;
      if (event == Event::kReconnected) ++reconnected_;
      if (event == Event::kGivenUp) ++given_up_;
    };
    auto volume = client_->Open(proxy_.uri(), options);
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }

  std::atomic<int> lost_ = 0, reconnected_ = 0, given_up_ = 0;
  FakeServer server_ = FakeServer({});
  FaultProxy proxy_ = FaultProxy(server_.path());
  Result<Client> client_ = Client::Create();
};

TEST_F(ReconnectTest, AReadIsSentAgainWhereverTheReplyIsCut) {
  const Volume volume = Open();
  ASSERT_TRUE(volume.Write(0, Data(1), kFua).ok());
  const int64_t cuts[] = {0, 1, nbd::kSimpleReplyBytes, nbd::kSimpleReplyBytes + 1000};
  int expected = 0;
  for (const int64_t cut : cuts) {
    proxy_.CutRepliesAfter(cut);
    Bytes read(4096);
    const Status status = volume.Read(0, read);
    ASSERT_TRUE(status.ok()) << cut << ": " << status.ToString();
    EXPECT_EQ(read, Data(1)) << cut;
    EXPECT_EQ(reconnected_, ++expected);
  }
}

TEST_F(ReconnectTest, AWriteWhoseReplyIsLostIsReportedAsUnknownAndNotSentAgain) {
  const Volume volume = Open();
  proxy_.CutRepliesAfter(0);
  const Status status = volume.Write(0, Data(1));
  EXPECT_EQ(status.code(), StatusCode::kUnknownOutcome) << status.ToString();
  EXPECT_EQ(server_.Count(nbd::Command::kWrite), 1u);
  Bytes read(4096);
  ASSERT_TRUE(volume.Read(0, read).ok());
  EXPECT_EQ(read, Data(1));  // here it was done
  EXPECT_EQ(server_.Count(nbd::Command::kWrite), 1u);
}

TEST_F(ReconnectTest, TheSameForZeroesAndDiscards) {
  const Volume volume = Open();
  proxy_.CutRepliesAfter(0);
  EXPECT_EQ(volume.WriteZeroes(0, 4096).code(), StatusCode::kUnknownOutcome);
  Eventually([&] { return reconnected_ == 1; });
  proxy_.CutRepliesAfter(0);
  EXPECT_EQ(volume.Discard(0, 4096).code(), StatusCode::kUnknownOutcome);
  EXPECT_EQ(server_.Count(nbd::Command::kTrim), 1u);
}

TEST_F(ReconnectTest, ResendWritesSendsItAgain) {
  const Volume volume = Open({.resend_writes = true});
  proxy_.CutRepliesAfter(0);
  EXPECT_TRUE(volume.Write(0, Data(1)).ok());
  EXPECT_EQ(server_.Count(nbd::Command::kWrite), 2u);
  proxy_.CutRequestsAfter(kWriteBytes / 2);
  EXPECT_TRUE(volume.Write(0, Data(2)).ok());
  EXPECT_EQ(server_.Count(nbd::Command::kWrite), 3u);
  EXPECT_TRUE(volume.Flush().ok());
  EXPECT_EQ(lost_, 2);
}

TEST_F(ReconnectTest, AnOverlappingWriteIsHeldUntilTheLostOnesConnectionIsBack) {
  const Volume volume = Open({.connections = 2});
  proxy_.CutRepliesAfter(0);
  proxy_.Refuse(true);
  EXPECT_EQ(volume.Write(0, Data(1)).code(), StatusCode::kUnknownOutcome);
  // The other connection is up: what does not overlap goes on.
  EXPECT_TRUE(volume.Write(65536, Data(2)).ok());
  const Bytes third = Data(3);
  std::future<Status> held = volume.WriteFuture(0, third);
  EXPECT_TRUE(volume.Write(131072, Data(2)).ok());
  EXPECT_EQ(held.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(server_.Count(nbd::Command::kWrite), 3u);
  proxy_.Refuse(false);
  EXPECT_TRUE(held.get().ok());
  EXPECT_EQ(reconnected_, 1);
}

TEST_F(ReconnectTest, ALaterOverlappingWriteIsNeverUndoneByAnEarlierOneSentAgain) {
  const Volume volume = Open({.connections = 4, .resend_writes = true});
  for (uint64_t round = 0; round < 20; ++round) {
    const Bytes older = Data(2 * round);
    const Bytes newer = Data(2 * round + 1);
    proxy_.CutRepliesAfter(static_cast<int64_t>(round % 17));
    std::future<Status> first = volume.WriteFuture(0, older);
    std::future<Status> second = volume.WriteFuture(0, newer);
    ASSERT_TRUE(first.get().ok());
    ASSERT_TRUE(second.get().ok());
    Bytes read(4096);
    ASSERT_TRUE(volume.Read(0, read).ok());
    ASSERT_EQ(read, newer) << round;
  }
  EXPECT_GT(lost_, 10);
}

TEST_F(ReconnectTest, TheFlushBehindALossTellsThatAnsweredWritesAreInDoubt) {
  const Volume volume = Open();
  ASSERT_TRUE(volume.Write(0, Data(1)).ok());
  proxy_.Reset();
  Eventually([&] { return reconnected_ == 1; });
  EXPECT_EQ(volume.Flush().code(), StatusCode::kUnknownOutcome);
  EXPECT_TRUE(volume.Flush().ok());
  // Nothing was written since: nothing is in doubt.
  proxy_.Reset();
  Eventually([&] { return reconnected_ == 2; });
  EXPECT_TRUE(volume.Flush().ok());
  // What was written with FUA neither.
  ASSERT_TRUE(volume.Write(0, Data(1), kFua).ok());
  proxy_.Reset();
  Eventually([&] { return reconnected_ == 3; });
  EXPECT_TRUE(volume.Flush().ok());
}

TEST_F(ReconnectTest, ADuplicatedReplyIsABrokenServerAndCostsItsConnectionAlone) {
  const Volume volume = Open();
  proxy_.DuplicateReplies();
  ASSERT_TRUE(volume.Write(0, Data(1), kFua).ok());
  Bytes read(4096);
  ASSERT_TRUE(volume.Read(0, read).ok());
  EXPECT_EQ(read, Data(1));
  EXPECT_EQ(lost_, 1);
}

TEST_F(ReconnectTest, DelaysCostTimeAndNothingElse) {
  const Volume volume = Open({.connections = 2});
  proxy_.DelayReplies(5);
  std::vector<std::future<Status>> writes;
  const Bytes data = Data(1);
  for (uint64_t i = 0; i < 50; ++i) writes.push_back(volume.WriteFuture(i * 4096, data));
  for (auto& write : writes) EXPECT_TRUE(write.get().ok());
  EXPECT_EQ(lost_, 0);
}

TEST_F(ReconnectTest, AServerThatFallsSilentIsLeft) {
  const Volume volume = Open({.reply_timeout_ms = 300});
  proxy_.HoldReplies(true);
  EXPECT_EQ(volume.Write(0, Data(1)).code(), StatusCode::kUnknownOutcome);
  proxy_.HoldReplies(false);
  Bytes read(4096);
  EXPECT_TRUE(volume.Read(0, read).ok());
}

TEST_F(ReconnectTest, WithoutReconnectingEverythingEnds) {
  const Volume volume = Open({.reconnect_ms = 0});
  proxy_.HoldReplies(true);
  Bytes read(4096);
  const Bytes data = Data(1);
  std::future<Status> reading = volume.ReadFuture(0, read);
  std::future<Status> writing = volume.WriteFuture(0, data);
  std::future<Status> behind = volume.WriteFuture(0, data);
  Eventually([&] { return server_.Count(nbd::Command::kWrite) == 1; });
  proxy_.Reset();
  EXPECT_EQ(reading.get().code(), StatusCode::kUnavailable);
  EXPECT_EQ(writing.get().code(), StatusCode::kUnknownOutcome);
  EXPECT_EQ(behind.get().code(), StatusCode::kUnavailable);
  EXPECT_EQ(volume.Flush().code(), StatusCode::kUnavailable);
  EXPECT_EQ(given_up_, 1);
}

TEST_F(ReconnectTest, AServerThatDoesNotComeBackIsGivenUp) {
  const Volume volume = Open({.reconnect_ms = 100});
  proxy_.Refuse(true);
  proxy_.Reset();
  Bytes read(4096);
  EXPECT_EQ(volume.Read(0, read).code(), StatusCode::kUnavailable);
  EXPECT_EQ(given_up_, 1);
}

TEST_F(ReconnectTest, ARequestThatBreaksEveryConnectionIsNotSentForever) {
  FakeServer breaking({.close_at = 0, .close_each = true});
  auto volume = client_->Open(breaking.uri());
  ASSERT_TRUE(volume.ok());
  Bytes read(4096);
  const Status status = volume->Read(0, read);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("5 times"));
}

TEST_F(ReconnectTest, ClosingAVolumeEndsWhatIsOutstanding) {
  std::future<Status> reading;
  std::future<Status> writing;
  Bytes read(4096);
  const Bytes data = Data(1);
  {
    const Volume volume = Open();
    proxy_.HoldReplies(true);
    reading = volume.ReadFuture(0, read);
    writing = volume.WriteFuture(0, data);
    Eventually([&] { return server_.Count(nbd::Command::kWrite) == 1; });
  }
  EXPECT_EQ(reading.get().code(), StatusCode::kCancelled);
  EXPECT_EQ(writing.get().code(), StatusCode::kUnknownOutcome);
}

}  // namespace
}  // namespace sluice
