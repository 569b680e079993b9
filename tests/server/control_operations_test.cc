// SPDX-License-Identifier: Apache-2.0
#include "server/control/operations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace sluice {
namespace {

using State = Operation::State;
using testing::ElementsAre;

class OperationsTest : public testing::Test {
 protected:
  std::string Begin(const std::string& title) {
    return Begin(title, [] {});
  }
  std::string Begin(const std::string& title, absl::AnyInvocable<void()> cancel) {
    auto begun = operations_.Begin(title, std::move(cancel));
    EXPECT_TRUE(begun.ok()) << begun.status();
    return begun->id;
  }

  ManualClock clock_;
  std::vector<State> changes_;
  Operations operations_{clock_, [this](const Operation& each) { changes_.push_back(each.state); }};
};

TEST_F(OperationsTest, GoesFromRunningToDoneAndTellsOfBoth) {
  const std::string id = Begin("drain disk \"d0\"");
  operations_.Progress(id, 3, 8);
  Operation now = *operations_.Get(id);
  EXPECT_EQ(now.title, "drain disk \"d0\"");
  EXPECT_EQ(now.state, State::kRunning);
  EXPECT_EQ(now.done, 3u);
  EXPECT_EQ(now.total, 8u);
  EXPECT_EQ(now.ended_unix_ns, 0);
  operations_.End(id, absl::OkStatus());
  now = *operations_.Get(id);
  EXPECT_EQ(now.state, State::kDone);
  EXPECT_GE(now.ended_unix_ns, now.began_unix_ns);
  EXPECT_THAT(changes_, ElementsAre(State::kRunning, State::kDone));
}

TEST_F(OperationsTest, AFailureSaysWhy) {
  const std::string id = Begin("x");
  operations_.End(id, absl::InternalError("the flush failed"));
  EXPECT_EQ(operations_.Get(id)->state, State::kFailed);
  EXPECT_EQ(operations_.Get(id)->error.message(), "the flush failed");
}

TEST_F(OperationsTest, CancelAsksOnceAndOnlyWhileItRuns) {
  int asked = 0;
  const std::string id = Begin("x", [&] { ++asked; });
  EXPECT_EQ(operations_.Cancel(id)->state, State::kRunning);
  EXPECT_TRUE(operations_.Cancel(id).ok());
  EXPECT_EQ(asked, 1);
  operations_.End(id, absl::CancelledError("as asked"));
  EXPECT_EQ(operations_.Cancel(id)->state, State::kCancelled);
  const std::string done = Begin("y", [&] { ++asked; });
  operations_.End(done, absl::OkStatus());
  EXPECT_EQ(operations_.Cancel(done)->state, State::kDone);
  EXPECT_EQ(asked, 1);
}

TEST_F(OperationsTest, NoSuchOperationIsNotFound) {
  Begin("x");
  for (const char* id : {"", "0", "2", "01", "1x", "-1"}) {
    EXPECT_TRUE(absl::IsNotFound(operations_.Get(id).status())) << id;
    EXPECT_TRUE(absl::IsNotFound(operations_.Wait(id, 0).status())) << id;
    EXPECT_TRUE(absl::IsNotFound(operations_.Cancel(id).status())) << id;
  }
}

TEST_F(OperationsTest, ListsTheNewestFirst) {
  const std::string one = Begin("one");
  const std::string two = Begin("two");
  std::vector<std::string> ids;
  for (const Operation& each : operations_.List()) ids.push_back(each.id);
  EXPECT_THAT(ids, ElementsAre(two, one));
}

TEST_F(OperationsTest, WaitersWakeAtTheEndOrWhenTheTimeIsOver) {
  const std::string id = Begin("x");
  EXPECT_EQ(operations_.Wait(id, 1)->state, State::kRunning);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] { EXPECT_EQ(operations_.Wait(id, 60'000)->state, State::kDone); });
  }
  operations_.End(id, absl::OkStatus());
  for (std::thread& waiter : waiters) waiter.join();
}

TEST_F(OperationsTest, MemoryIsBoundedAndOnlyWhatEndedLongAgoIsForgotten) {
  const std::string running = Begin("running");
  for (size_t i = 1; i < Operations::kKept; ++i) {
    operations_.End(Begin("ended"), absl::OkStatus());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(operations_.Begin("more", [] {}).status()));
  clock_.Advance(Operations::kKeptNs);
  Begin("more");
  EXPECT_EQ(operations_.List().size(), 2u);
  EXPECT_TRUE(operations_.Get(running).ok());
}

}  // namespace
}  // namespace sluice
