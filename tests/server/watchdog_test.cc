// SPDX-License-Identifier: Apache-2.0
// The sign of life, on reactors that are turned by hand: who is not turned is stuck.
#include "server/watchdog.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/clock.h"
#include "core/poller.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr uint64_t kTimeoutNs = 4 * kSecond;
constexpr uint64_t kRoundNs = kTimeoutNs / 4;

class WatchdogTest : public testing::Test {
 protected:
  WatchdogTest() {
    reactors_.at(0).Post([this] { watchdog_.Start(); });
    Turn({0, 1, 2});
  }
  ~WatchdogTest() override { watchdog_.Stop(); }

  void Turn(std::vector<uint16_t> who) {
    for (int i = 0; i < 3; ++i) {
      for (uint16_t id : who) reactors_.at(id).Turn();
    }
  }
  // Lets a round go by in which only `who` turns; the signs of life that came of it.
  int SignsInARound(const std::vector<uint16_t>& who) {
    const int before = signs_;
    clock_.Advance(kRoundNs);
    Turn(who);
    return signs_ - before;
  }

  ManualClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         for (int i = 0; i < 3; ++i) {
                           pollers.push_back(std::make_unique<ManualPoller>());
                         }
                         return pollers;
                       }(),
                       clock_, ReactorOptions{.credits = 64, .buffer_bytes = 1 << 20}};
  int signs_ = 0;
  Watchdog watchdog_{reactors_, kTimeoutNs, [this] { ++signs_; }};
};

TEST_F(WatchdogTest, EveryRoundInWhichAllTurnGivesOneSignOfLife) {
  EXPECT_EQ(signs_, 0) << "nothing is known before the first round is over";
  for (int round = 0; round < 8; ++round) EXPECT_EQ(SignsInARound({0, 1, 2}), 1);
}

TEST_F(WatchdogTest, OneStuckReactorSilencesIt) {
  EXPECT_EQ(SignsInARound({0, 1}), 1) << "in the round before it had turned";
  for (int round = 0; round < 8; ++round) EXPECT_EQ(SignsInARound({0, 1}), 0);
}

TEST_F(WatchdogTest, TheFirstReactorStuckSilencesIt) {
  for (int round = 0; round < 8; ++round) EXPECT_EQ(SignsInARound({1, 2}), 0);
}

TEST_F(WatchdogTest, OneThatWasSlowIsForgivenWhenItTurnsAgain) {
  SignsInARound({0, 1});
  EXPECT_EQ(SignsInARound({0, 1}), 0);
  Turn({2});
  EXPECT_EQ(SignsInARound({0, 1, 2}), 1);
}

TEST_F(WatchdogTest, StoppedItSaysNothing) {
  watchdog_.Stop();
  EXPECT_EQ(SignsInARound({0, 1, 2}), 0);
}

}  // namespace
}  // namespace sluice
