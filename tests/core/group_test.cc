// SPDX-License-Identifier: Apache-2.0
#include "core/group.h"

#include <array>
#include <exception>

#include "tests/core/fakes.h"

namespace sluice {
namespace {

// Runs until it first waits; its frame dies by itself at its end.
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

class BioGroups : public ::testing::Test {
 protected:
  static constexpr size_t kMembers = 3;

  // REQUIRES: inside a turn.
  void SubmitMember(BioGroup& group, size_t i) {
    members_[i] = new Request(fates_[i], target_);
    members_[i]->offset = 1000 * i;
    group.Add(*members_[i], callbacks_[i]);
    Submit(*members_[i]);
  }
  void SubmitAll(BioGroup& group) {
    for (size_t i = 0; i < kMembers; ++i) SubmitMember(group, i);
  }
  void Complete(size_t i, int error = 0) {
    reactors_.On(0, [&] { target_.Complete(*members_[i], error); });
  }
  static void Count(BioGroup&, void* counter) noexcept { ++*static_cast<int*>(counter); }

  ManualReactors reactors_{1};
  HoldingTarget target_{0};
  std::array<Request*, kMembers> members_{};
  std::array<Callback, kMembers> callbacks_;
  std::array<Fate, kMembers> fates_;
  int events_ = 0;
};

TEST_F(BioGroups, AnyComesWithTheNextMemberAndSaysWhich) {
  BioGroup group;
  reactors_.On(0, [&] { SubmitAll(group); });
  static const Bio* last;
  last = nullptr;
  const auto note = [](BioGroup& of, void*) noexcept { last = of.last(); };
  group.WhenAny(note, nullptr);
  Complete(1);
  EXPECT_EQ(last, members_[1]);
  EXPECT_EQ(group.finished(), 1u);
  group.WhenAny(note, nullptr);
  Complete(0, EIO);
  EXPECT_EQ(last, members_[0]);
  Complete(2);
  EXPECT_EQ(last, members_[0]) << "an event comes once";
  EXPECT_EQ(group.error(), EIO);
}

TEST_F(BioGroups, AllComesOnceWithTheLastMemberAndKeepsTheFirstError) {
  BioGroup group;
  reactors_.On(0, [&] { SubmitAll(group); });
  group.WhenAll(&Count, &events_);
  Complete(2);
  Complete(1, ENOSPC);
  EXPECT_EQ(events_, 0);
  Complete(0, EIO);
  EXPECT_EQ(events_, 1);
  EXPECT_EQ(group.error(), ENOSPC);
  EXPECT_EQ(group.error_offset(), 1000u);
  EXPECT_EQ(group.added(), 3u);
  EXPECT_EQ(group.finished(), 3u);
}

TEST_F(BioGroups, MembersAddedWhileSomebodyWaitsForAllCountToo) {
  BioGroup group;
  reactors_.On(0, [&] {
    SubmitMember(group, 0);
    group.WhenAll(&Count, &events_);
    SubmitMember(group, 1);
  });
  Complete(0);
  EXPECT_EQ(events_, 0);
  Complete(1);
  EXPECT_EQ(events_, 1);
}

TEST_F(BioGroups, WithNobodyLeftToWaitForBothComeAtOnce) {
  BioGroup group;
  group.WhenAll(&Count, &events_);
  group.WhenAny(&Count, &events_);
  EXPECT_EQ(events_, 2);
}

Task Await(BioGroup& group, int& first, int& all, int& steps) {
  ++steps;
  first = co_await group.Any();
  ++steps;
  all = co_await group.All();
  ++steps;
}

TEST_F(BioGroups, ACoroutineAwaitsAnyAndThenAll) {
  BioGroup group;
  int first = -1;
  int all = -1;
  int steps = 0;
  reactors_.On(0, [&] {
    SubmitAll(group);
    Await(group, first, all, steps);
  });
  EXPECT_EQ(steps, 1);
  Complete(1);
  EXPECT_EQ(steps, 2);
  EXPECT_EQ(first, 0);
  Complete(0, EIO);
  EXPECT_EQ(steps, 2);
  Complete(2, ENOSPC);
  EXPECT_EQ(steps, 3);
  EXPECT_EQ(all, EIO);
}

TEST_F(BioGroups, ACoroutineDoesNotWaitForWhatIsOver) {
  BioGroup group;
  int first = -1;
  int all = -1;
  int steps = 0;
  reactors_.On(0, [&] { SubmitMember(group, 0); });
  Complete(0, EIO);
  Await(group, first, all, steps);
  EXPECT_EQ(steps, 3);
  EXPECT_EQ(first, EIO);
  EXPECT_EQ(all, EIO);
}

// The group and the callbacks live in the frame, which is gone when the last member's callback
// returns: nothing may look at them then.
Task OwnGroup(HoldingTarget& target, std::array<Fate, 3>& fates, int& error) {
  BioGroup group;
  std::array<Callback, 3> callbacks;
  for (size_t i = 0; i < 3; ++i) {
    auto* bio = new Request(fates[i], target);
    group.Add(*bio, callbacks[i]);
    Submit(*bio);
  }
  error = co_await group.All();
}

TEST_F(BioGroups, AGroupInsideACoroutineDiesWithItsLastMember) {
  int error = -1;
  reactors_.On(0, [&] { OwnGroup(target_, fates_, error); });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(error, -1);
    reactors_.On(0, [&] { target_.Complete(*target_.held.back(), i == 2 ? EIO : 0); });
  }
  EXPECT_EQ(error, EIO);
  for (const Fate& fate : fates_) EXPECT_EQ(fate.released, 1);
}

}  // namespace
}  // namespace sluice
