// SPDX-License-Identifier: Apache-2.0
// Who shares a flush, and what a failed one means.
#include "storage/flusher.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "core/reactor.h"
#include "core/units.h"
#include "tests/sim/faulty_medium.h"
#include "tests/storage/fake_target.h"

namespace sluice {
namespace {

class FlusherTest : public testing::Test {
 protected:
  void Make(const sim::FaultyOptions& options = {}) {
    auto poller = std::make_unique<ManualPoller>();
    poller_ = poller.get();
    std::vector<std::unique_ptr<Poller>> pollers;
    pollers.push_back(std::move(poller));
    set_ = std::make_unique<ReactorSet>(
        std::move(pollers), clock_,
        ReactorOptions{.credits = 64, .buffer_bytes = kMiB, .poll_budget_ns = 0});
    medium_ = std::make_unique<sim::FaultyMedium>(*poller_, options);
    flusher_ = std::make_unique<Flusher>(
        *medium_, flushes_,
        [](Bio& bio, int error, void* test) noexcept {
          static_cast<FlusherTest*>(test)->ended_.push_back({&bio, error});
        },
        this);
  }
  void On(absl::AnyInvocable<void()> work) {
    set_->at(0).Post(std::move(work));
    for (int i = 0; i < 3; ++i) set_->at(0).Turn();
  }
  // One more that waits for stable storage.
  Bio& Add() {
    Bio& bio = bios_.emplace_back();
    bio.op = Op::kFlush;
    flusher_->Add(bio);
    return bio;
  }
  void Run() {
    On([this] { flusher_->Run(); });
  }
  void Tick() {
    medium_->Pump();
    for (int i = 0; i < 3; ++i) set_->at(0).Turn();
  }
  // How many ended since the last call, all of them with `error`.
  size_t Ended(int error = 0) {
    for (const auto& [bio, with] : ended_) EXPECT_EQ(with, error);
    return std::exchange(ended_, {}).size();
  }

  ManualClock clock_;
  ManualPoller* poller_ = nullptr;
  std::unique_ptr<ReactorSet> set_;
  std::unique_ptr<sim::FaultyMedium> medium_;
  Counter flushes_;
  std::unique_ptr<Flusher> flusher_;
  std::deque<Bio> bios_;
  std::vector<std::pair<Bio*, int>> ended_;
};

TEST_F(FlusherTest, ThoseThatWaitShareOneFlush) {
  Make();
  for (int i = 0; i < 5; ++i) Add();
  Run();
  EXPECT_EQ(medium_->under_way(), 1u);
  EXPECT_EQ(Ended(), 0u);
  Tick();
  EXPECT_EQ(Ended(), 5u);
  EXPECT_EQ(flushes_.value(), 1u);
  EXPECT_TRUE(flusher_->idle());
}

TEST_F(FlusherTest, AFlushThatWasSubmittedIsNotShared_R3) {
  Make();
  Add();
  Run();
  Add();
  Add();
  Run();
  EXPECT_EQ(medium_->under_way(), 1u) << "one at a time";
  Tick();
  EXPECT_EQ(Ended(), 1u);
  EXPECT_EQ(medium_->under_way(), 1u) << "the next one starts at once";
  Tick();
  EXPECT_EQ(Ended(), 2u);
  EXPECT_EQ(flushes_.value(), 2u);
}

TEST_F(FlusherTest, AFailedFlushFailsAllThatShareItAndAllThatCome_R6) {
  Make();
  medium_->AddFault({.times = 1});
  Add();
  Add();
  Run();
  Add();
  Tick();
  EXPECT_EQ(Ended(EIO), 3u);
  EXPECT_TRUE(flusher_->failed());
  Add();
  Run();
  EXPECT_EQ(Ended(EIO), 1u);
  EXPECT_EQ(medium_->Count(Op::kFlush), 1u) << "the drive was asked again";
}

TEST_F(FlusherTest, WhatWasMadeToFailFailsWithoutAFlush_Promise2) {
  Make();
  Add();
  On([this] { flusher_->Fail(); });
  Run();
  EXPECT_EQ(Ended(EIO), 1u);
  EXPECT_EQ(medium_->Count(Op::kFlush), 0u);
}

TEST_F(FlusherTest, AFlushUnderWayWhenTheDiskFailsFailsToo_Promise2) {
  Make();
  Add();
  Run();
  On([this] { flusher_->Fail(); });
  Tick();
  EXPECT_EQ(Ended(EIO), 1u);
}

TEST_F(FlusherTest, WithoutAVolatileCacheNothingIsAsked) {
  sim::FaultyOptions options;
  options.limits.volatile_cache = false;
  Make(options);
  Add();
  Run();
  EXPECT_EQ(Ended(), 1u);
  EXPECT_EQ(medium_->Count(Op::kFlush), 0u);
}

TEST_F(FlusherTest, AMediumThatIsFullIsAskedAgain) {
  Make({.full_at = 0});
  Add();
  Run();
  EXPECT_TRUE(flusher_->refused());
  EXPECT_EQ(Ended(), 0u);
  flusher_->FailWaiting();
  EXPECT_EQ(Ended(EIO), 1u);
  EXPECT_FALSE(flusher_->failed()) << "nothing was asked, so nothing was lost";
}

TEST_F(FlusherTest, AFlushThatEndsAtOnceIsNoOtherKind) {
  Make({.immediate_per_mille = 1000});
  Add();
  Run();
  EXPECT_EQ(Ended(), 1u);
  EXPECT_FALSE(flusher_->in_flight());
}

}  // namespace
}  // namespace sluice
