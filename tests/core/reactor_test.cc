// SPDX-License-Identifier: Apache-2.0
// The turn, by hand: its order, its end, and who may vanish meanwhile.
#include "core/reactor.h"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>

#include "tests/core/fakes.h"

namespace sluice {
namespace {

// Whatever a reactor runs (RingOp, Timer, TurnTask, PoolWaiter): notes a letter, then does `then`.
template <typename Base>
struct Noted : Base {
  Noted(std::string& to, char as) : order(to), name(as) {
    const auto note = [](Base& of) noexcept {
      auto& self = static_cast<Noted&>(of);
      self.order += self.name;
      if (self.then) self.then();
    };
    if constexpr (std::is_same_v<Base, RingOp>) {
      this->done = note;
    } else {
      this->run = note;
    }
  }
  std::string& order;
  char name;
  std::function<void()> then;
};
using NotedTask = Noted<TurnTask>;
using NotedTimer = Noted<Timer>;

// Notes the arrival of a bio.
class NotingTarget : public HoldingTarget {
 public:
  NotingTarget(uint16_t home, std::string& to) : HoldingTarget(home), order_(to) {}
  void Strategy(Bio& bio) noexcept override {
    order_ += 'm';
    HoldingTarget::Strategy(bio);
  }

 private:
  std::string& order_;
};

class Turns : public ::testing::Test {
 protected:
  // A bio of reactor 0, held by `target_`, whose callback notes `name`.
  Request* HeldBio(char name, Callback& callback) {
    auto* bio = new Request(fate_, target_);
    callback.context = &names_.emplace_back(order_, name);
    callback.run = [](Bio&, void* of) noexcept {
      auto& [order, letter] = *static_cast<Name*>(of);
      order += letter;
    };
    PushCallback(*bio, callback);
    reactors_.On(0, [&] { Submit(*bio); });
    return bio;
  }

  using Name = std::pair<std::string&, char>;
  ManualReactors reactors_{2};
  Reactor& reactor_ = reactors_.at(0);
  HoldingTarget target_{0};
  Fate fate_;
  std::deque<Name> names_;
  std::string order_;
};

TEST_F(Turns, RunWhatIsReadyMailPostsTimersWhatCameHomeTheLineDispatchAndSendInThisOrder) {
  Callback notes_f;
  Callback notes_g;
  Request* f = HeldBio('f', notes_f);
  Request* g = HeldBio('g', notes_g);
  Noted<RingOp> ready(order_, 'r');
  reactors_.poller(0).Complete(ready, 7);
  reactor_.Turn();
  ASSERT_EQ(order_, "");

  NotingTarget mailed(0, order_);
  reactors_.On(1, [&] { Submit(*new Request(fate_, mailed)); });
  reactor_.Post([&] {
    order_ += 'p';
    target_.Complete(*f);
  });
  NotedTimer timer(order_, 't');
  reactor_.Arm(timer, reactors_.clock.NowNs());
  Noted<PoolWaiter> waiter(order_, 'l');
  reactor_.WaitForPool(waiter);
  reactor_.PoolsGave();
  NotedTask send(order_, 's');
  reactor_.AtSend(send);
  NotedTask dispatch(order_, 'd');
  dispatch.then = [&] { target_.Complete(*g); };
  reactor_.AtDispatch(dispatch);

  EXPECT_TRUE(reactor_.Turn());
  EXPECT_EQ(order_, "rmptfldgs");
  EXPECT_EQ(ready.result, 7);
  EXPECT_FALSE(reactor_.Turn());
  reactors_.On(0, [&] { mailed.Complete(*mailed.held[0]); });
  reactors_.Settle();
  EXPECT_EQ(fate_.released, 3);
}

TEST_F(Turns, ATaskListedTwiceRunsOnceAndOneThatListsItselfRunsInTheNextTurn) {
  NotedTask task(order_, 'x');
  task.then = [&] {
    if (order_.size() < 3) reactor_.AtDispatch(task);
  };
  reactor_.AtDispatch(task);
  reactor_.AtDispatch(task);
  reactor_.Turn();
  EXPECT_EQ(order_, "x");
  reactor_.Turn();
  EXPECT_EQ(order_, "xx");
  reactors_.Settle();
  EXPECT_EQ(order_, "xxx");
}

TEST_F(Turns, ATaskOfTheRunningBatchMayBeUnlistedOrDie) {
  NotedTask first(order_, '1');
  auto dies = std::make_unique<NotedTask>(order_, '2');
  NotedTask unlisted(order_, '3');
  NotedTask last(order_, '4');
  first.then = [&] {
    dies.reset();
    Reactor::Unlist(unlisted);
  };
  for (TurnTask* task : {static_cast<TurnTask*>(&first), static_cast<TurnTask*>(dies.get()),
                         static_cast<TurnTask*>(&unlisted), static_cast<TurnTask*>(&last)}) {
    reactor_.AtSend(*task);
  }
  reactors_.Settle();
  EXPECT_EQ(order_, "14");
  Reactor::Unlist(unlisted);
  EXPECT_FALSE(unlisted.hook.is_linked());
}

TEST_F(Turns, TimersRunInTheOrderOfTheirDeadlinesWhenTheirTimeHasCome) {
  NotedTimer a(order_, 'a');
  NotedTimer b(order_, 'b');
  NotedTimer c(order_, 'c');
  const uint64_t start_ns = reactors_.clock.NowNs();
  reactor_.Arm(a, start_ns + 30);
  reactor_.Arm(b, start_ns + 20);
  reactor_.Arm(c, start_ns + 10);
  reactor_.Arm(c, start_ns + 25);
  reactors_.clock.Advance(20);
  reactors_.Settle();
  EXPECT_EQ(order_, "b");
  reactors_.clock.Advance(10);
  reactors_.Settle();
  EXPECT_EQ(order_, "bca");
  EXPECT_FALSE(a.armed());
}

TEST_F(Turns, ATimerMayDisarmOneThatIsDueToo) {
  NotedTimer a(order_, 'a');
  NotedTimer b(order_, 'b');
  reactor_.Arm(a, 0);
  reactor_.Arm(b, 1);
  a.then = [&] { reactor_.Disarm(b); };
  reactors_.Settle();
  EXPECT_EQ(order_, "a");
  reactor_.Disarm(b);
}

TEST_F(Turns, ATimerThatArmsItselfForThePastRunsOnceATurn) {
  NotedTimer past(order_, 'x');
  NotedTimer other(order_, 'y');
  past.then = [&] { reactor_.Arm(past, 0); };
  reactor_.Arm(past, 0);
  reactor_.Arm(other, 1);
  reactor_.Turn();
  EXPECT_EQ(order_, "xy");
  reactor_.Turn();
  EXPECT_EQ(order_, "xy") << "the clock stands still";
  reactors_.clock.Advance(1);
  reactor_.Turn();
  reactor_.Turn();
  EXPECT_EQ(order_, "xyx");
  reactor_.Disarm(past);
}

TEST_F(Turns, PostsRunInOrderAndWhatTheyPostRunsInTheNextTurn) {
  reactor_.Post([&] {
    order_ += 'a';
    reactor_.Post([&] { order_ += 'c'; });
  });
  reactor_.Post([&] { order_ += 'b'; });
  reactor_.Turn();
  EXPECT_EQ(order_, "ab");
  reactor_.Turn();
  EXPECT_EQ(order_, "abc");
}

TEST_F(Turns, StopFromTheOwnThreadLetsTheTurnEnd) {
  NotedTask send(order_, 's');
  reactor_.Post([&] {
    reactor_.Stop();
    reactor_.AtSend(send);
  });
  reactor_.Run();
  EXPECT_EQ(order_, "s");
  reactor_.Run();
  EXPECT_EQ(order_, "s") << "what is stopped stays so";
}

TEST_F(Turns, CurrentIsTheReactorWhoseTurnItIs) {
  EXPECT_EQ(Reactor::Current(), nullptr);
  reactors_.On(0, [&] {
    EXPECT_EQ(Reactor::Current(), &reactor_);
    reactors_.On(1, [&] { EXPECT_EQ(Reactor::Current()->id(), 1); });
    EXPECT_EQ(Reactor::Current(), &reactor_);
  });
  EXPECT_EQ(Reactor::Current(), nullptr);
}

TEST(Reactors, MayDieWithTimersTasksAndWaitersListedAndPostsUnrun) {
  std::string order;
  NotedTimer timer(order, 't');
  NotedTask task(order, 'd');
  Noted<PoolWaiter> waiter(order, 'l');
  auto owned = std::make_shared<int>(1);
  {
    ManualReactors reactors(1);
    reactors.at(0).Arm(timer, 5);
    reactors.at(0).AtDispatch(task);
    reactors.at(0).WaitForPool(waiter);
    reactors.at(0).Stop();
    reactors.at(0).Post([owned, &order] { order += 'p'; });
    reactors.at(0).Run();
    EXPECT_EQ(owned.use_count(), 2);
  }
  EXPECT_EQ(order, "");
  EXPECT_EQ(owned.use_count(), 1);
  EXPECT_FALSE(timer.armed());
  EXPECT_FALSE(task.hook.is_linked());
}

TEST(ReactorsDeathTest, AReactorThatDiesBeforeItsBiosIsCaught) {
  EXPECT_DEATH(
      {
        ManualReactors reactors(1);
        reactors.at(0).bios().New();
      },
      "check failed");
}

}  // namespace
}  // namespace sluice
