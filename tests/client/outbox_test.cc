// SPDX-License-Identifier: Apache-2.0
#include "client/nbd/outbox.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

namespace sluice::bench {
namespace {

class OutboxTest : public ::testing::Test {
 protected:
  OutboxTest() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds_), 0); }
  ~OutboxTest() override {
    close(fds_[0]);
    close(fds_[1]);
  }

  void ReceiveWhatIsThere() {
    std::vector<uint8_t> room(65536);
    for (ssize_t got; (got = recv(fds_[1], room.data(), room.size(), 0)) > 0;) {
      received_.insert(received_.end(), room.begin(), room.begin() + got);
    }
  }

  int fds_[2];
  std::vector<uint8_t> received_;
};

TEST_F(OutboxTest, WhatTheSocketDoesNotTakeIsSentLaterAndInOrder) {
  constexpr uint32_t kDepth = 700;  // more vectors than one call may have
  const std::vector<uint8_t> payload(3000, 7);
  Outbox outbox(kDepth);
  for (uint32_t i = 0; i < kDepth; ++i) {
    ASSERT_FALSE(outbox.full());
    const bool write = i % 3 != 0;
    outbox.Push({.command = write ? nbd::Command::kWrite : nbd::Command::kRead,
                 .cookie = i,
                 .length = static_cast<uint32_t>(payload.size())},
                write ? ConstByteSpan(payload) : ConstByteSpan());
  }
  EXPECT_TRUE(outbox.full());
  size_t sends = 0;
  while (!outbox.empty()) {
    ASSERT_TRUE(outbox.Send(fds_[0]).ok());
    ReceiveWhatIsThere();
    ASSERT_LT(++sends, 10000u);
  }
  EXPECT_GT(sends, 1u);  // it did not fit at once
  ConstByteSpan rest = received_;
  for (uint32_t i = 0; i < kDepth; ++i) {
    ASSERT_GE(rest.size(), nbd::kRequestBytes);
    const auto request = nbd::DecodeRequest(rest.first(nbd::kRequestBytes));
    ASSERT_TRUE(request.has_value()) << i;
    EXPECT_EQ(request->cookie, i);
    rest = rest.subspan(nbd::kRequestBytes);
    if (request->command != nbd::Command::kWrite) continue;
    ASSERT_GE(rest.size(), payload.size());
    EXPECT_TRUE(std::equal(payload.begin(), payload.end(), rest.begin()));
    rest = rest.subspan(payload.size());
  }
  EXPECT_TRUE(rest.empty());
  EXPECT_FALSE(outbox.full());
}

TEST_F(OutboxTest, APeerThatHasGoneIsALostConnection) {
  close(fds_[1]);
  fds_[1] = -1;
  Outbox outbox(1);
  outbox.Push({.command = nbd::Command::kRead}, {});
  EXPECT_EQ(outbox.Send(fds_[0]).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace sluice::bench
