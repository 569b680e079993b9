// SPDX-License-Identifier: Apache-2.0
// Tries to make the SDK revert a block: it holds an old write whose answer was lost, and a newer
// one is answered, its own or another client's. The server here keeps no law, so whatever the SDK
// sends again is done.
//
// Built twice: as it is, and with the fences cut out of the SDK (cut_sdk_fence.py). There each of
// these attempts must succeed, or it would prove nothing; nor would the model that the tests
// against a real server hold blocks against, if it did not see it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <latch>
#include <thread>
#include <vector>

#include "sluice/client.h"
#include "tests/client/block_model.h"
#include "tests/client/eventually.h"
#include "tests/client/fake_grpc_server.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;

#ifdef SLUICE_WITHOUT_FENCE
constexpr bool kFenced = false;
#else
constexpr bool kFenced = true;
#endif

constexpr size_t kBlock = BlockModel::kBlock;
const std::vector<std::byte> kOld(kBlock, std::byte{'o'});

class ClientReplay : public ::testing::Test {
 protected:
  Volume Open(Access access) {
    auto volume = client_->Open(server_.uri(), {.access = access});
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }

  // Which the server does, and whose answer is lost.
  std::future<Status> WriteOld(const Volume& volume) {
    lose_answer_ = true;
    std::future<Status> writing = volume.WriteFuture(0, kOld);
    Eventually([&] { return server_.ops() == 1; });
    return writing;
  }
  void AnotherWritesNew() { server_.Put(0, std::string(kBlock, 'n')); }
  void CutStreams() {
    lose_answer_ = false;
    server_.HangUp();
  }
  void Restart() {
    lose_answer_ = false;
    server_.Restart();
  }

  // The old write ends as it should where there is a fence, and the newer one is still there.
  void ExpectNew(std::future<Status>& writing, StatusCode wanted) {
    EXPECT_EQ(writing.get().code(), kFenced ? wanted : StatusCode::kOk);
    EXPECT_EQ(server_.Get(0, kBlock), std::string(kBlock, kFenced ? 'n' : 'o'));
  }

  std::atomic<bool> lose_answer_ = false;          // of the session's first op
  std::function<void(v1::IoAttached&)> reattach_;  // what a further attach is told
  FakeGrpcServer server_ =
      FakeGrpcServer({.attach =
                          [this](v1::IoAttached& attached) {
                            if (server_.attaches() > 1 && reattach_) reattach_(attached);
                          },
                      .answer =
                          [this](v1::IoResponse& response) {
                            auto& results = *response.mutable_results();
                            const auto lost = std::remove_if(
                                results.begin(), results.end(), [this](const v1::OpResult& to) {
                                  return lose_answer_ && to.op_id() == 1;
                                });
                            results.erase(lost, results.end());
                          },
                      .lease_ms = 400});
  Result<Client> client_ = Client::Create();
};

// Rule 7 of sending again: never what a later, overlapping, answered op proves finished.
TEST_F(ClientReplay, TheAnswerOfAnOlderWriteIsLostAndTheServerRestarts) {
  const Volume volume = Open(Access::kReadWrite);
  BlockModel model(1);
  lose_answer_ = true;
  model.Write(volume, 0, 1);
  Eventually([&] { return server_.ops() == 1; });
  model.Write(volume, 0, 1);
  if (!kFenced) Eventually([&] { return model.done() == 1; });  // it overtook the older one
  Restart();
  model.Await();
  EXPECT_EQ(model.done(), 2u) << model.last_error();
  EXPECT_EQ(model.Fault(volume), kFenced ? "" : "block 0 was reverted");
}

TEST_F(ClientReplay, AnAttachTellsAWriteAsDoneWhenAnotherHasWrittenSince) {
  const Volume volume = Open(Access::kShared);
  std::future<Status> writing = WriteOld(volume);
  AnotherWritesNew();
  reattach_ = [](v1::IoAttached& attached) { attached.add_completed()->set_op_id(1); };
  CutStreams();
  ExpectNew(writing, StatusCode::kOk);
}

TEST_F(ClientReplay, AnAttachTellsAWriteAsForgottenWhenAnotherHasWrittenSince) {
  const Volume volume = Open(Access::kShared);
  std::future<Status> writing = WriteOld(volume);
  AnotherWritesNew();
  reattach_ = [](v1::IoAttached& attached) { attached.set_completed_through(1); };
  CutStreams();
  ExpectNew(writing, StatusCode::kUnknownOutcome);
}

TEST_F(ClientReplay, TheServerRestartsAndOneOfSeveralWritersHasWrittenSince) {
  const Volume volume = Open(Access::kShared);
  std::future<Status> writing = WriteOld(volume);
  AnotherWritesNew();
  Restart();
  ExpectNew(writing, StatusCode::kUnknownOutcome);
}

TEST_F(ClientReplay, TheServerRestartsAndAnotherWriterWasThereFirst) {
  const Volume volume = Open(Access::kReadWrite);
  std::future<Status> writing = WriteOld(volume);
  server_.Admit();
  AnotherWritesNew();
  Restart();
  ExpectNew(writing, StatusCode::kUnknownOutcome);
}

// The I/O thread is kept busy until the lease is over, and then has the old write to send.
TEST_F(ClientReplay, TheLeaseRunsOutBeforeAWriteIsSentAndAnotherWriterComes) {
  const Volume volume = Open(Access::kReadWrite);
  std::latch busy(1), posted(1);
  std::vector<std::byte> read(kBlock);
  const uint64_t nowhere = uint64_t{1} << 40;  // ends at once
  volume.AsyncRead(nowhere, read, [&](const Status&) {
    busy.count_down();
    posted.wait();
  });
  busy.wait();  // so that the next two are begun in one turn
  std::future<Status> writing = volume.WriteFuture(0, kOld);
  volume.AsyncRead(nowhere, read, [&](const Status&) {
    std::this_thread::sleep_for(milliseconds(500));
    server_.Admit();
    AnotherWritesNew();
  });
  posted.count_down();
  ExpectNew(writing, StatusCode::kFenced);
}

}  // namespace
}  // namespace sluice
