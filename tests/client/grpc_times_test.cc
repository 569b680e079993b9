// SPDX-License-Identifier: Apache-2.0
// What the SDK does as time passes: it takes a server for lost when answers are due and none come,
// and sends nothing once its lease may be over.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <thread>
#include <vector>

#include "sluice/client.h"
#include "tests/client/bytes.h"
#include "tests/client/fake_grpc_test.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;

class GrpcTimesTest : public FakeGrpcTest {
 protected:
  const Bytes block_ = Data(0, 4096);
};

TEST_F(GrpcTimesTest, AServerThatIsSilentThoughAnAnswerIsDueIsLeft) {
  std::atomic<bool> silent = true;
  FakeGrpcServer server({.answer = [&](v1::IoResponse& response) {
    if (silent.exchange(false)) response.clear_results();
  }});
  const Volume volume = Open(server, {.reply_timeout_ms = 200});
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(volume.Write(0, block_).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(200));
  EXPECT_EQ(Count(Event::kConnectionLost), 1);
  EXPECT_EQ(server.attaches(), 2u);
  EXPECT_EQ(server.ops(), 2u);  // the write came again
}

TEST_F(GrpcTimesTest, IdlenessIsNotSilence) {
  FakeGrpcServer server(
      {.answer = [](v1::IoResponse&) { std::this_thread::sleep_for(milliseconds(200)); }});
  const Volume volume = Open(server, {.reply_timeout_ms = 600});
  for (int i = 0; i < 2; ++i) {
    std::this_thread::sleep_for(milliseconds(700));  // then an answer that takes its time
    EXPECT_TRUE(volume.Write(0, block_).ok());
  }
  EXPECT_EQ(Count(Event::kConnectionLost), 0);
  EXPECT_EQ(server.attaches(), 1u);
}

TEST_F(GrpcTimesTest, AServerThatIsSlowIsNotSilentWhileItAnswers) {
  FakeGrpcServer server(
      {.open = [](v1::OpenVolumeResponse& to) { to.mutable_limits()->set_max_ops_per_message(1); },
       .answer = [](v1::IoResponse&) { std::this_thread::sleep_for(milliseconds(100)); }});
  const Volume volume = Open(server, {.reply_timeout_ms = 500});
  std::vector<std::future<Status>> writing;
  for (uint64_t i = 0; i < 8; ++i) writing.push_back(volume.WriteFuture(i * 4096, block_));
  for (auto& one : writing) EXPECT_TRUE(one.get().ok());
  EXPECT_EQ(Count(Event::kConnectionLost), 0);
}

TEST_F(GrpcTimesTest, WithoutATimeoutAnAnswerIsAwaited) {
  FakeGrpcServer server(
      {.answer = [](v1::IoResponse&) { std::this_thread::sleep_for(milliseconds(300)); }});
  EXPECT_TRUE(Open(server, {.reply_timeout_ms = 0}).Write(0, block_).ok());
  EXPECT_EQ(server.attaches(), 1u);
}

// A process that was stopped, or a callback that blocked, wakes up with something to send: by then
// another client may have the volume.
TEST_F(GrpcTimesTest, WhatWaitsWhenTheLeaseRunsOutIsSentAfterTheNextAttach) {
  std::atomic<int> attaches = 0;
  std::atomic<int> arrived_first_in = 0;
  FakeGrpcServer server({.attach = [&](v1::IoAttached&) { ++attaches; },
                         .refuse =
                             [&](const v1::Op&) {
                               int none = 0;
                               arrived_first_in.compare_exchange_strong(none, attaches.load());
                               return v1::ERROR_REASON_UNSPECIFIED;
                             },
                         .lease_ms = 400});
  const Volume volume = Open(server);
  std::latch busy(1), posted(1);
  Bytes read(512);
  const uint64_t nowhere = uint64_t{1} << 40;  // ends at once
  volume.AsyncRead(nowhere, read, [&](const Status&) {
    busy.count_down();
    posted.wait();
  });
  busy.wait();  // so that the next two are begun in one turn
  std::future<Status> writing = volume.WriteFuture(0, block_);
  volume.AsyncRead(nowhere, read,
                   [](const Status&) { std::this_thread::sleep_for(milliseconds(500)); });
  posted.count_down();
  EXPECT_TRUE(writing.get().ok());
  EXPECT_GE(arrived_first_in, 2);
  EXPECT_GE(Count(Event::kLeaseLost), 1);
}

}  // namespace
}  // namespace sluice
