// SPDX-License-Identifier: Apache-2.0
// Abandon() and Expire(), in each state of a bio and in every order of messages.
#include <string>

#include "core/bio.h"
#include "tests/core/fakes.h"

namespace sluice {
namespace {

TEST(Abandon, WhatIsQueuedIsCancelledAndItsCallbacksNeverRun) {
  ManualReactors reactors(1);
  HoldingTarget target(0);
  Fate fate;
  auto* bio = new Request(fate, target);
  reactors.On(0, [&] { Submit(*bio); });
  reactors.On(0, [&] { Abandon(*bio); });
  EXPECT_EQ(target.cancels, 1);
  EXPECT_EQ(fate.callbacks, 0);
  EXPECT_EQ(fate.released, 1);
}

TEST(Abandon, WhatIsAtTheDeviceIsReleasedOnlyWhenTheDeviceIsDone) {
  ManualReactors reactors(1);
  HoldingTarget target(0, false);
  Fate fate;
  auto* bio = new Request(fate, target);
  reactors.On(0, [&] { Submit(*bio); });
  reactors.On(0, [&] { Abandon(*bio); });
  reactors.Settle();
  EXPECT_EQ(fate.released, 0);
  reactors.On(0, [&] { target.Complete(*bio); });
  EXPECT_EQ(fate.callbacks, 0);
  EXPECT_EQ(fate.released, 1);
}

// A callback that abandons a bio: its own or another.
struct Abandoner {
  explicit Abandoner(Bio& which) : bio(which) {}
  Bio& bio;
  Callback callback{[](Bio&, void* self) noexcept { Abandon(static_cast<Abandoner*>(self)->bio); },
                    this};
};

TEST(Abandon, InsideACallbackOfABioThatCameHomeInTheSameTurn) {
  for (const uint16_t home : {uint16_t{0}, uint16_t{1}}) {
    ManualReactors reactors(2);
    HoldingTarget target(home);
    Fate first_fate;
    Fate second_fate;
    auto* first = new Request(first_fate, target);
    auto* second = new Request(second_fate, target);
    Abandoner abandoner(*second);
    PushCallback(*first, abandoner.callback);
    reactors.On(0, [&] { Submit(*first), Submit(*second); });
    reactors.Settle();
    reactors.On(home, [&] { target.Complete(*first), target.Complete(*second); });
    reactors.Settle();
    EXPECT_EQ(first_fate.callbacks, 1);
    EXPECT_EQ(second_fate.callbacks, 0) << "already listed as done, but not finished";
    EXPECT_EQ(first_fate.released, 1);
    EXPECT_EQ(second_fate.released, 1);
    EXPECT_EQ(target.cancels, 0);
  }
}

TEST(Abandon, InsideTheBiosOwnCallbackDropsThoseThatHaveNotRun) {
  for (const uint16_t home : {uint16_t{0}, uint16_t{1}}) {
    ManualReactors reactors(2);
    HoldingTarget target(home);
    Fate fate;
    auto* bio = new Request(fate, target);
    Abandoner abandoner(*bio);
    PushCallback(*bio, abandoner.callback);
    reactors.On(0, [&] { Submit(*bio); });
    reactors.Settle();
    reactors.On(home, [&] { target.Complete(*bio); });
    reactors.Settle();
    EXPECT_EQ(fate.callbacks, 0);
    EXPECT_EQ(fate.released, 1);
  }
}

TEST(Expire, AnswersTheRequestNowAndReleasesItWhenTheDeviceGivesItBack) {
  for (const uint16_t home : {uint16_t{0}, uint16_t{1}}) {
    ManualReactors reactors(2);
    HoldingTarget target(home);
    Fate fate;
    auto* bio = new Request(fate, target);
    reactors.On(0, [&] { Submit(*bio); });
    reactors.Settle();
    reactors.On(home, [&] {
      Expire(*bio, ETIMEDOUT);
      EXPECT_EQ(fate.callbacks, 0);
    });
    reactors.Settle();
    EXPECT_EQ(fate.callbacks, 1);
    EXPECT_EQ(fate.error, ETIMEDOUT);
    EXPECT_EQ(fate.released, 0);
    reactors.On(home, [&] { target.Complete(*bio); });
    reactors.Settle();
    EXPECT_EQ(fate.callbacks, 1);
    EXPECT_EQ(fate.released, 1);
  }
}

TEST(Expire, OfABioThatIsDoneInTheSameTurnComesBeforeItsRelease) {
  ManualReactors reactors(1);
  HoldingTarget target(0);
  Fate fate;
  auto* bio = new Request(fate, target);
  reactors.On(0, [&] { Submit(*bio); });
  reactors.On(0, [&] {
    Expire(*bio, EIO);
    target.Complete(*bio);
  });
  reactors.Settle();
  EXPECT_EQ(fate.callbacks, 1);
  EXPECT_EQ(fate.error, EIO);
  EXPECT_EQ(fate.released, 1);
}

// Root on reactor 0, its volume on 1, the disk of its grandchildren on `disk_home`.
TEST(Expire, ClimbsFromADeepChildToTheRootAcrossReactors) {
  for (const uint16_t disk_home : {uint16_t{0}, uint16_t{1}, uint16_t{2}}) {
    ManualReactors reactors(3);
    HoldingTarget volume(1);
    HoldingTarget disk(disk_home, false);
    Fate fate;
    Fate middle_fate;
    Fate child_fate;
    auto* root = new Request(fate, volume);
    auto* middle = new Request(middle_fate, volume);
    std::vector<Request*> children;
    reactors.On(0, [&] { Submit(*root); });
    reactors.Settle();
    reactors.On(1, [&] {
      Nest(*root, *middle);
      for (int i = 0; i < 2; ++i) {
        children.push_back(new Request(child_fate, disk));
        Nest(*middle, *children[i]);
      }
      for (Request* child : children) Submit(*child);
      Done(*middle, 0);
      volume.Complete(*root);
    });
    reactors.Settle();
    ASSERT_EQ(disk.held.size(), 2u);
    reactors.On(disk_home, [&] {
      for (Request* child : children) Expire(*child, EIO);
      disk.Complete(*children[0]);
    });
    reactors.Settle();
    EXPECT_EQ(fate.callbacks, 1);
    EXPECT_EQ(fate.error, EIO);
    EXPECT_EQ(fate.released + middle_fate.released, 0);
    EXPECT_EQ(child_fate.released, 1);
    reactors.On(disk_home, [&] { disk.Complete(*children[1]); });
    reactors.Settle();
    EXPECT_EQ(fate.callbacks, 1);
    EXPECT_EQ(fate.released, 1);
    EXPECT_EQ(middle_fate.released, 1);
    EXPECT_EQ(child_fate.released, 2);
  }
}

// Every order of what can happen to one bio whose target lives on another reactor: each letter is
// one turn of its reactor, plain or with something done in it.
class Orders : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr char kEvents[] = {'0', '1', 'c', 'a', 'e'};

  void Play(const std::string& order) {
    target_.held.clear();
    target_.cancels = 0;
    Fate fate;
    bio_ = new Request(fate, target_);
    abandoned_ = expired_ = false;
    reactors_.On(0, [&] { Submit(*bio_); });
    for (const char event : order) Happen(event, fate);
    reactors_.Settle();
    if (target_.Holds(*bio_)) reactors_.On(1, [&] { target_.Complete(*bio_); });
    reactors_.Settle();
    ASSERT_EQ(fate.released, 1);
    ASSERT_FALSE(fate.released_while_held);
    ASSERT_EQ(fate.callbacks, abandoned_ ? callbacks_at_abandon_ : 1);
    ASSERT_TRUE(target_.held.empty());
  }

  void Happen(char event, Fate& fate) {
    switch (event) {
      case 'c':
        return reactors_.On(1, [&] {
          if (target_.Holds(*bio_)) target_.Complete(*bio_);
        });
      case 'e':
        return reactors_.On(1, [&] {
          if (target_.Holds(*bio_) && !expired_) Expire(*bio_, EIO), expired_ = true;
        });
      case 'a':
        return reactors_.On(0, [&] {
          if (abandoned_ || fate.released > 0) return;
          abandoned_ = true;
          callbacks_at_abandon_ = fate.callbacks;
          Abandon(*bio_);
        });
      default:
        reactors_.at(static_cast<uint16_t>(event - '0')).Turn();
    }
  }

  ManualReactors reactors_{2};
  HoldingTarget target_{1, GetParam()};
  Request* bio_ = nullptr;
  bool abandoned_ = false;
  bool expired_ = false;
  int callbacks_at_abandon_ = 0;
};

TEST_P(Orders, ABioAbandonedCompletedAndExpiredInAnyOrderIsReleasedOnce) {
  constexpr int kLength = 7;
  int orders = 1;
  for (int i = 0; i < kLength; ++i) orders *= static_cast<int>(std::size(kEvents));
  for (int n = 0; n < orders; ++n) {
    std::string order;
    for (int i = 0, rest = n; i < kLength; ++i, rest /= static_cast<int>(std::size(kEvents))) {
      order += kEvents[rest % static_cast<int>(std::size(kEvents))];
    }
    Play(order);
    if (HasFatalFailure()) FAIL() << "in the order " << order;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Orders, ::testing::Bool(), [](const auto& param) {
  return std::string(param.param ? "CancelsWhatIsQueued" : "CancelsNothing");
});

}  // namespace
}  // namespace sluice
