// SPDX-License-Identifier: Apache-2.0
// Looking for work before sleeping: when, how long, and when not at all.
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "core/reactor.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr uint64_t kBudgetNs = 50 * kMicrosecond;

// Each reading takes a microsecond.
class TickingClock final : public Clock {
 public:
  uint64_t NowNs() noexcept override {
    Work(kMicrosecond);
    return now_ns;
  }
  uint64_t ThreadCpuNs() noexcept override { return cpu_ns; }
  void Yield() noexcept override { now_ns += others_take_ns; }
  void Work(uint64_t ns) {
    now_ns += ns;
    cpu_ns += ns;
  }
  uint64_t now_ns = kSecond;
  uint64_t cpu_ns = 0;
  uint64_t others_take_ns = 0;  // each time
};

// The next request comes at a set time; whoever sleeps is woken by it.
class ScriptedPoller final : public Poller {
 public:
  explicit ScriptedPoller(TickingClock& clock) : clock_(clock) {
    request_.done = [](RingOp&) noexcept {};
  }

  void Start() noexcept override {}
  void Wake() noexcept override {}
  void Poll(uint64_t timeout_ns, ReadyList& ready) noexcept override {
    if (timeout_ns == 0) {
      ++looks;
    } else {
      ++sleeps;
      clock_.now_ns = std::max(clock_.now_ns, arrives_ns);
    }
    if (arrives_ns == 0 || clock_.now_ns < arrives_ns) return;
    arrives_ns = 0;
    ready.push_back(request_);
  }

  uint64_t arrives_ns = 0;
  int looks = 0;
  int sleeps = 0;

 private:
  TickingClock& clock_;
  RingOp request_;
};

struct Count {
  int looks;
  int sleeps;
};

class Spinning : public ::testing::Test {
 protected:
  void Start(uint64_t budget_ns) {
    ReactorOptions options;
    options.credits = 16;
    options.buffer_bytes = kMiB;
    options.poll_budget_ns = budget_ns;
    auto poller = std::make_unique<ScriptedPoller>(clock_);
    poller_ = poller.get();
    std::vector<std::unique_ptr<Poller>> pollers;
    pollers.push_back(std::move(poller));
    set_ = std::make_unique<ReactorSet>(std::move(pollers), clock_, options);
    RequestAfter(kMicrosecond);  // traffic has begun
  }

  // Serves what has come, then waits for a request that comes so long after that.
  Count RequestAfter(uint64_t wait_ns) {
    clock_.Work(serving_takes_ns_);
    poller_->looks = poller_->sleeps = 0;
    poller_->arrives_ns = clock_.now_ns + wait_ns;
    set_->at(0).Turn(true);
    return {poller_->looks, poller_->sleeps};
  }

  TickingClock clock_;
  uint64_t serving_takes_ns_ = 0;
  ScriptedPoller* poller_ = nullptr;
  std::unique_ptr<ReactorSet> set_;
};

TEST_F(Spinning, ARequestWithinTheBudgetIsFoundWithoutSleeping) {
  Start(kBudgetNs);
  for (int i = 0; i < 100; ++i) {
    const Count count = RequestAfter(20 * kMicrosecond);
    EXPECT_GT(count.looks, 0);
    EXPECT_EQ(count.sleeps, 0);
  }
}

TEST_F(Spinning, NothingIsLookedForWhenItIsOff) {
  Start(0);
  for (int i = 0; i < 100; ++i) {
    const Count count = RequestAfter(20 * kMicrosecond);
    EXPECT_EQ(count.looks, 0);
    EXPECT_EQ(count.sleeps, 1);
  }
}

TEST_F(Spinning, ALookIsNoLongerThanTheBudget) {
  Start(kBudgetNs);
  const Count count = RequestAfter(10 * kMillisecond);
  EXPECT_GT(count.looks, 10);
  EXPECT_LE(count.looks, 51) << "one a microsecond";
  EXPECT_EQ(count.sleeps, 1);
}

TEST_F(Spinning, FruitlessLooksHalveUntilThereAreNone) {
  Start(kBudgetNs);
  int before = RequestAfter(10 * kMillisecond).looks;
  for (int i = 0; i < 5; ++i) {
    const int looks = RequestAfter(10 * kMillisecond).looks;
    EXPECT_LE(looks, before / 2 + 2);
    before = looks;
  }
  EXPECT_EQ(before, 0);
}

TEST_F(Spinning, ShortWaitsBringThemBack) {
  Start(kBudgetNs);
  for (int i = 0; i < 10; ++i) RequestAfter(10 * kMillisecond);
  for (int i = 0; i < 10; ++i) RequestAfter(20 * kMicrosecond);
  EXPECT_EQ(RequestAfter(20 * kMicrosecond).sleeps, 0);
}

TEST_F(Spinning, ASleepIsNotBlamedForItsWake) {
  Start(kBudgetNs);
  for (int i = 0; i < 10; ++i) RequestAfter(10 * kMillisecond);
  for (int i = 0; i < 10; ++i) RequestAfter(60 * kMicrosecond);  // 40 of the drive, 20 of the wake
  EXPECT_EQ(RequestAfter(40 * kMicrosecond).sleeps, 0);
}

TEST_F(Spinning, NothingIsLookedForAMillisecondAfterTheLastWork) {
  Start(kBudgetNs);
  RequestAfter(20 * kMicrosecond);
  set_->at(0).Turn();  // serves it, and does not wait
  clock_.now_ns += kMillisecond;
  const Count count = RequestAfter(20 * kMicrosecond);
  EXPECT_EQ(count.looks, 0);
  EXPECT_EQ(count.sleeps, 1);
}

TEST_F(Spinning, WhoeverWantsTheCpuForAMomentGoesFirst) {
  Start(kBudgetNs);
  clock_.others_take_ns = 15 * kMicrosecond;  // then sends its request
  for (int i = 0; i < 100; ++i) EXPECT_EQ(RequestAfter(20 * kMicrosecond).sleeps, 0);
}

TEST_F(Spinning, LoadIsTheWorkAndNeitherLooksNorOthersTurns) {
  for (const uint64_t others_ns : {uint64_t{0}, 15 * kMicrosecond}) {
    Start(kBudgetNs);
    clock_.others_take_ns = others_ns;
    serving_takes_ns_ = 40 * kMicrosecond;
    const uint64_t begin_ns = clock_.now_ns;
    constexpr int kRequests = 10'000;
    for (int i = 0; i < kRequests; ++i) RequestAfter(40 * kMicrosecond);
    const uint64_t worked_ns = kRequests * serving_takes_ns_;
    const uint64_t share = worked_ns * 100 / (clock_.now_ns - begin_ns);
    EXPECT_NEAR(set_->at(0).load_percent(), static_cast<double>(share), 10) << others_ns;
  }
}

TEST_F(Spinning, WhoeverKeepsTheCpuEndsItForAWhile) {
  Start(kBudgetNs);
  for (int i = 0; i < 10; ++i) RequestAfter(20 * kMicrosecond);
  clock_.others_take_ns = 300 * kMicrosecond;
  RequestAfter(20 * kMicrosecond);
  clock_.others_take_ns = 0;
  EXPECT_EQ(RequestAfter(20 * kMicrosecond).looks, 0);
  clock_.now_ns += kMillisecond;
  for (int i = 0; i < 10; ++i) RequestAfter(20 * kMicrosecond);
  EXPECT_EQ(RequestAfter(20 * kMicrosecond).sleeps, 0) << "and it comes back";
}

}  // namespace
}  // namespace sluice
