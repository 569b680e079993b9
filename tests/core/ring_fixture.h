// SPDX-License-Identifier: Apache-2.0
// A started ring, operations that count their ends, and descriptors that close themselves.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "core/ring.h"
#include "core/units.h"

namespace sluice {

template <typename Op>
struct Counted : Op {
  Counted() {
    Op::done = [](RingOp& op) noexcept { ++static_cast<Counted&>(op).ended; };
  }
  int ended = 0;
};
using TestOp = Counted<RingOp>;
using TestReceive = Counted<ReceiveOp>;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) { EXPECT_GE(fd, 0) << strerror(errno); }
  ~Fd() { close(fd_); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  operator int() const { return fd_; }
  operator RingFile() const { return fd_; }

 private:
  int fd_;
};

class Ring : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = RingPoller::Create();
    ASSERT_TRUE(made.ok()) << made.status();
    ring_ = *std::move(made);
    ring_->Start();
    Poll(0);  // the wake-up's own read is submitted
  }

  void Poll(uint64_t timeout_ns) {
    ReadyList ready;
    ring_->Poll(timeout_ns, ready);
    while (!ready.empty()) {
      RingOp& op = ready.front();
      ready.pop_front();
      op.done(op);
    }
  }

  // The result of `op`, awaited at most ten seconds.
  template <typename Op>
  int32_t Result(Counted<Op>& op) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (op.ended == 0 && std::chrono::steady_clock::now() < end) Poll(100 * kMillisecond);
    EXPECT_EQ(op.ended, 1);
    return op.result;
  }

  std::unique_ptr<RingPoller> ring_;
};

}  // namespace sluice
