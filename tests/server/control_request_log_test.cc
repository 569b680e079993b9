// SPDX-License-Identifier: Apache-2.0
#include "server/control/request_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <semaphore>
#include <string>
#include <thread>

namespace sluice {
namespace {

using testing::HasSubstr;

class RequestLogTest : public testing::Test {
 protected:
  // A call that counts how often it is carried out, and answers with that.
  absl::StatusOr<std::string> Ask(const std::string& id, const std::string& what) {
    return requests_.Once<std::string>(id, what, [&]() -> absl::StatusOr<std::string> {
      ++carried_out_;
      if (fails_) return absl::UnavailableError("not now");
      return what + " " + std::to_string(carried_out_);
    });
  }

  ManualClock clock_;
  RequestLog requests_{clock_};
  int carried_out_ = 0;
  bool fails_ = false;
};

TEST_F(RequestLogTest, ARepeatedRequestIsAnsweredAndNotCarriedOutAgain) {
  EXPECT_EQ(*Ask("id", "add d0"), "add d0 1");
  EXPECT_EQ(*Ask("id", "add d0"), "add d0 1");
  EXPECT_EQ(carried_out_, 1);
}

TEST_F(RequestLogTest, WithoutAnIdEachRequestIsCarriedOut) {
  EXPECT_EQ(*Ask("", "add d0"), "add d0 1");
  EXPECT_EQ(*Ask("", "add d0"), "add d0 2");
  EXPECT_EQ(requests_.size(), 0u);
}

TEST_F(RequestLogTest, TheSameIdForSomethingElseIsRefused) {
  ASSERT_TRUE(Ask("id", "add d0").ok());
  const auto other = Ask("id", "add d1");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("another request"));
  EXPECT_EQ(carried_out_, 1);
}

TEST_F(RequestLogTest, AFailedRequestMayBeTriedAgain) {
  fails_ = true;
  EXPECT_EQ(Ask("id", "add d0").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(requests_.size(), 0u);
  fails_ = false;
  EXPECT_EQ(*Ask("id", "add d0"), "add d0 2");
}

TEST_F(RequestLogTest, AnIdThatCannotBeIsRefused) {
  EXPECT_TRUE(Ask(std::string(64, 'x'), "add d0").ok());
  for (const std::string& id : {std::string(65, 'x'), std::string("a\nb"), std::string("\xff")}) {
    EXPECT_EQ(Ask(id, "add d0").status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

TEST_F(RequestLogTest, AnAnswerIsKeptForTenMinutesAndNotForever) {
  ASSERT_TRUE(Ask("id", "add d0").ok());
  clock_.Advance(RequestLog::kKeptNs - 1);
  EXPECT_EQ(*Ask("id", "add d0"), "add d0 1");
  clock_.Advance(1);
  EXPECT_EQ(*Ask("id", "add d0"), "add d0 2");
}

TEST_F(RequestLogTest, MemoryIsBoundedWithoutForgettingTooSoon) {
  for (size_t i = 0; i < RequestLog::kKept; ++i) {
    ASSERT_TRUE(Ask("id" + std::to_string(i), "add").ok());
  }
  EXPECT_EQ(Ask("more", "add").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*Ask("id0", "add"), "add 1");
  EXPECT_TRUE(Ask("", "add").ok());
  clock_.Advance(RequestLog::kKeptNs);
  EXPECT_TRUE(Ask("more", "add").ok());
  EXPECT_EQ(requests_.size(), 1u);
}

TEST_F(RequestLogTest, WhatIsAskedForIsNotKept) {
  const size_t before = mallinfo2().uordblks;
  for (int i = 0; i < 64; ++i) {
    const std::string what(1 << 20, static_cast<char>('a' + i % 26));
    const auto done = requests_.Once<bool>(std::to_string(i), what, [] { return true; });
    EXPECT_TRUE(done.ok());
  }
  EXPECT_LT(mallinfo2().uordblks, before + (1 << 20));
}

TEST_F(RequestLogTest, ARequestThatIsBeingCarriedOutIsNotBegunAgain) {
  std::binary_semaphore began(0);
  std::binary_semaphore end(0);
  std::thread first([&] {
    const auto answer = requests_.Once<int>("id", "slow", [&]() -> absl::StatusOr<int> {
      began.release();
      end.acquire();
      return 7;
    });
    EXPECT_EQ(*answer, 7);
  });
  began.acquire();
  const auto call = [&]() -> absl::StatusOr<int> { return 8; };
  EXPECT_EQ(requests_.Once<int>("id", "slow", call).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(*requests_.Once<int>("other", "slow", call), 8);  // nobody waits for another one's
  end.release();
  first.join();
  EXPECT_EQ(*requests_.Once<int>("id", "slow", call), 7);
}

}  // namespace
}  // namespace sluice
