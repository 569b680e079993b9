// SPDX-License-Identifier: Apache-2.0
// One reactor, turned by the test's own thread, and the shortest way to do one thing on a medium.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "core/units.h"
#include "storage/medium.h"
#include "tests/sim/medium_op.h"

namespace sluice::sim {

class MediumBench {
 public:
  enum class Loop { kManual, kRing };

  explicit MediumBench(Loop loop) : reactors_(Pollers(loop), clock_, Options()) {}

  void Attach(Medium& medium) {
    medium_ = &medium;
    In([&] { medium.Attach(0); });
  }
  // Runs `work` inside a turn.
  void In(std::function<void()> work) {
    bool ran = false;
    reactors_.at(0).Post([&] {
      work();
      ran = true;
    });
    Until([&] { return ran; });
  }
  // Turns until `reached`, at most 20 s.
  void Until(const std::function<bool()>& reached) {
    const uint64_t deadline_ns = clock_.NowNs() + 20 * kSecond;
    while (!reached()) {
      reactors_.at(0).Turn();
      ASSERT_LT(clock_.NowNs(), deadline_ns) << "it never ended";
    }
  }

  // Starts the operation; does not wait.
  Started Start(MediumOp& op) {
    Started started = Started::kFull;
    In([&] { started = op.StartOn(*medium_); });
    return started;
  }
  int64_t Run(MediumOp& op) {
    EXPECT_NE(Start(op), Started::kFull);
    Until([&] { return op.ended(); });
    EXPECT_EQ(op.times_ended(), 1);
    return op.result();
  }
  int64_t Write(uint64_t offset, const std::string& bytes, uint8_t flags = 0,
                uint32_t segments = 1) {
    auto op = MediumOp::Write(offset, bytes, flags, segments);
    return Run(op);
  }
  std::string Read(uint64_t offset, uint32_t length, uint32_t segments = 1) {
    MediumOp op(Op::kRead, offset, length, 0, segments);
    EXPECT_EQ(Run(op), length);
    return op.bytes();
  }
  int64_t Effect(Op what, uint64_t offset = 0, uint32_t length = 0, uint8_t flags = 0) {
    MediumOp op(what, offset, length, flags);
    return Run(op);
  }

  // Extents as text: "4096 data, 8192 hole", or "errno N".
  std::string Map(uint64_t offset, uint64_t length, uint32_t extents_max = 100) {
    bool answered = false;
    ExtentQuery query;
    query.offset = offset;
    query.length = length;
    query.extents_max = extents_max;
    query.context = &answered;
    query.done = [](ExtentQuery& done) noexcept { *static_cast<bool*>(done.context) = true; };
    In([&] {
      medium_->QueryExtents(query);
      EXPECT_FALSE(answered) << "never from inside";
    });
    Until([&] { return answered; });
    if (query.error != 0) return "errno " + std::to_string(query.error);
    std::string text;
    for (const Extent& extent : query.extents) {
      EXPECT_EQ(extent.hole, extent.zero);
      text += (text.empty() ? "" : ", ") + std::to_string(extent.length) +
              (extent.hole ? " hole" : " data");
    }
    return text;
  }

  Reactor& reactor() { return reactors_.at(0); }

 private:
  static std::vector<std::unique_ptr<Poller>> Pollers(Loop loop) {
    std::vector<std::unique_ptr<Poller>> pollers;
    if (loop == Loop::kManual) {
      pollers.push_back(std::make_unique<ManualPoller>());
    } else {
      auto ring = RingPoller::Create();
      SLUICE_CHECK(ring.ok());
      pollers.push_back(*std::move(ring));
    }
    return pollers;
  }
  static ReactorOptions Options() {
    ReactorOptions options;
    options.credits = 64;
    options.buffer_bytes = kMiB;
    return options;
  }

  SystemClock clock_;
  ReactorSet reactors_;
  Medium* medium_ = nullptr;
};

}  // namespace sluice::sim
