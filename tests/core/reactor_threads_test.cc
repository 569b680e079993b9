// SPDX-License-Identifier: Apache-2.0
// Real reactors on real rings and threads: no wake is lost, posts keep their order, an idle reactor
// does nothing, and a request costs as few enters as we say.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "core/ring.h"
#include "core/units.h"
#include "tests/core/fakes.h"

namespace sluice {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Something that another thread waits for, not for ever.
class Event {
 public:
  void Set() {
    const std::lock_guard<std::mutex> lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool Wait(seconds limit = seconds(120)) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

class RingReactors {
 public:
  RingReactors(uint16_t count, uint64_t poll_budget_ns) {
    std::vector<std::unique_ptr<Poller>> pollers;
    for (uint16_t i = 0; i < count; ++i) {
      auto ring = RingPoller::Create();
      EXPECT_TRUE(ring.ok()) << ring.status();
      pollers.push_back(*std::move(ring));
    }
    ReactorOptions options = SmallOptions();
    options.poll_budget_ns = poll_budget_ns;
    set_ = std::make_unique<ReactorSet>(std::move(pollers), clock_, options);
    for (uint16_t i = 0; i < count; ++i) threads_.emplace_back([this, i] { set_->at(i).Run(); });
  }
  ~RingReactors() {
    for (uint16_t i = 0; i < set_->size(); ++i) set_->at(i).Stop();
    for (std::thread& thread : threads_) thread.join();
  }
  Reactor& at(uint16_t id) { return set_->at(id); }

  // Runs `work` on reactor `id` and waits for it.
  void On(uint16_t id, absl::AnyInvocable<void()> work) {
    Event ran;
    at(id).Post([&] { work(), ran.Set(); });
    ASSERT_TRUE(ran.Wait()) << "a post was lost";
  }

 private:
  SystemClock clock_;
  std::unique_ptr<ReactorSet> set_;
  std::vector<std::thread> threads_;
};

// --- wakes ---

// Sends bios from its reactor to a target on the other one until each of `chains` has made
// `rounds`; pauses at random, so that either side falls asleep in every possible moment.
class Pinger {
 public:
  Pinger(InstantTarget& target, int chains, int rounds, uint32_t seed)
      : target_(target), left_(chains), rounds_(rounds), random_(seed), chains_(chains) {
    for (Chain& chain : chains_) chain.pinger = this;
  }
  void Start() {
    for (Chain& chain : chains_) chain.Send();
  }
  Event over;

 private:
  struct Chain {
    void Send() {
      bio = {};
      bio.target = &pinger->target_;
      bio.length = 4096;
      callback = {[](Bio& done, void* of) noexcept {
                    auto& self = *static_cast<Chain*>(of);
                    EXPECT_EQ(done.error, 0);
                    EXPECT_EQ(done.resid, 0u);
                    ++self.rounds;
                  },
                  this};
      PushCallback(bio, callback);
      bio.release = [](Bio& done) noexcept {
        // The bio is the chain's first member.
        reinterpret_cast<Chain&>(done).pinger->Again(reinterpret_cast<Chain&>(done));
      };
      Submit(bio);
    }
    Bio bio;
    Callback callback;
    Pinger* pinger = nullptr;
    int rounds = 0;
  };

  void Again(Chain& chain) {
    if (random_() % 256 == 0) std::this_thread::sleep_for(microseconds(random_() % 100));
    if (chain.rounds < rounds_) return chain.Send();
    if (--left_ == 0) over.Set();
  }

  InstantTarget& target_;
  int left_;
  int rounds_;
  std::minstd_rand random_;
  std::vector<Chain> chains_;
};

struct Traffic {
  const char* name;
  int chains;
  int rounds;
  uint64_t poll_budget_ns;
};

class Wakes : public ::testing::TestWithParam<Traffic> {};

TEST_P(Wakes, NoneIsLostBetweenTwoReactorsThatKeepFallingAsleep) {
  const Traffic& traffic = GetParam();
  RingReactors reactors(2, traffic.poll_budget_ns);
  InstantTarget target0(0);
  InstantTarget target1(1);
  Pinger a(target1, traffic.chains, traffic.rounds, 1);
  Pinger b(target0, traffic.chains, traffic.rounds, 2);
  reactors.at(0).Post([&] { a.Start(); });
  reactors.at(1).Post([&] { b.Start(); });
  EXPECT_TRUE(a.over.Wait()) << "somebody sleeps and has mail";
  EXPECT_TRUE(b.over.Wait()) << "somebody sleeps and has mail";
}

// 200,000 round trips in all.
INSTANTIATE_TEST_SUITE_P(Traffic, Wakes,
                         ::testing::Values(Traffic{"OneAtATimeSleeping", 1, 40'000, 0},
                                           Traffic{"OneAtATimeSpinning", 1, 30'000, 50'000},
                                           Traffic{"EightAtATimeSleeping", 8, 3750, 0}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(Posts, FromManyThreadsAllRunInEachThreadsOrder) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 5000;
  RingReactors reactors(1, 20'000);
  int next[kThreads] = {};  // touched by the reactor alone
  Event over;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::minstd_rand random(static_cast<uint32_t>(thread + 1));
      for (int i = 0; i < kPosts; ++i) {
        reactors.at(0).Post([&, thread, i] {
          EXPECT_EQ(next[thread], i);
          ++next[thread];
          int sum = 0;
          for (const int n : next) sum += n;
          if (sum == kThreads * kPosts) over.Set();
        });
        if (random() % 64 == 0) std::this_thread::sleep_for(microseconds(random() % 200));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(over.Wait());
}

TEST(Timers, OfASleepingReactorRunOnTime) {
  RingReactors reactors(1, 50'000);
  struct Alarm : Timer {
    Event rang;
    uint64_t late_ns = 0;
  } alarm;
  alarm.run = [](Timer& timer) noexcept {
    auto& self = static_cast<Alarm&>(timer);
    self.late_ns = Reactor::Current()->now_ns() - timer.deadline_ns;
    self.rang.Set();
  };
  reactors.On(0, [&] {
    Reactor& reactor = *Reactor::Current();
    reactor.Arm(alarm, reactor.now_ns() + 50 * kMillisecond);
  });
  ASSERT_TRUE(alarm.rang.Wait());
  EXPECT_LT(alarm.late_ns, 40 * kMillisecond);
}

// --- what it costs ---

struct Used {
  uint64_t enters = 0;
  uint64_t cpu_ns = 0;
};

Used UsedBy(RingReactors& reactors) {
  Used used;
  reactors.On(0, [&] {
    Reactor& reactor = *Reactor::Current();
    used.enters = static_cast<RingPoller&>(reactor.poller()).enters();
    used.cpu_ns = reactor.clock().ThreadCpuNs();
  });
  return used;
}

// Answers each message with the same bytes, one at a time.
class Echo {
 public:
  explicit Echo(int fd) : fd_(fd) {
    receive_.echo = send_.echo = this;
    receive_.done = [](RingOp& op) noexcept {
      if (op.result > 0) static_cast<Input&>(op).echo->Answer(static_cast<size_t>(op.result));
    };
    send_.done = [](RingOp& op) noexcept { EXPECT_GT(op.result, 0); };
    answer_.msg_iov = &answer_segment_;
    answer_.msg_iovlen = 1;
  }
  void Receive() {
    segment_ = {bytes_, sizeof(bytes_)};
    Ring().Receive(receive_, fd_, &segment_, 1);
  }

 private:
  struct Input : ReceiveOp {
    Echo* echo = nullptr;
  };
  struct Output : RingOp {
    Echo* echo = nullptr;
  };
  static RingPoller& Ring() { return static_cast<RingPoller&>(Reactor::Current()->poller()); }
  void Answer(size_t size) {
    std::memcpy(answer_bytes_, bytes_, size);
    answer_segment_ = {answer_bytes_, size};
    Ring().Sendmsg(send_, fd_, &answer_, MSG_NOSIGNAL);
    Receive();
  }
  int fd_;
  Input receive_;
  Output send_;
  Segment segment_{};
  Segment answer_segment_{};
  msghdr answer_{};
  char bytes_[64];
  char answer_bytes_[64];
};

class Costs : public ::testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_), 0);
    echo_ = std::make_unique<Echo>(fds_[0]);
    reactors_.On(0, [&] { echo_->Receive(); });
  }
  void TearDown() override { close(fds_[1]); }
  void Ping(int count) {
    char byte = 'p';
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(write(fds_[1], &byte, 1), 1);
      ASSERT_EQ(read(fds_[1], &byte, 1), 1);
    }
  }

  int fds_[2];
  std::unique_ptr<Echo> echo_;
  RingReactors reactors_{1, GetParam()};
};

TEST_P(Costs, APingAtDepthOneIsTwoEnters) {
  constexpr int kPings = 2000;
  Ping(100);
  const Used before = UsedBy(reactors_);
  Ping(kPings);
  const Used after = UsedBy(reactors_);
  const double enters = static_cast<double>(after.enters - before.enters) / kPings;
  RecordProperty("enters_per_ping", std::to_string(enters));
  EXPECT_LE(enters, 2.02);
}

TEST_P(Costs, AnIdleReactorSleepsWithinAMillisecondOfItsLastTraffic) {
  Ping(500);
  std::this_thread::sleep_for(milliseconds(2));
  const Used before = UsedBy(reactors_);
  std::this_thread::sleep_for(milliseconds(300));
  const Used after = UsedBy(reactors_);
  // The turn that took `before` ends with a look and a sleep; the post that takes `after` ends it.
  EXPECT_LE(after.enters - before.enters, 4u);
  EXPECT_LT(after.cpu_ns - before.cpu_ns, kMillisecond);
  EXPECT_LE(reactors_.at(0).load_percent(), 5u);
}

INSTANTIATE_TEST_SUITE_P(Budgets, Costs, ::testing::Values(0, 50'000));

TEST(Load, IsTheCpuTimeThatWorkTook) {
  RingReactors reactors(1, 50'000);
  std::atomic<bool> goes_on{true};
  struct Busy : TurnTask {
    std::atomic<bool>* goes_on = nullptr;
  } busy;
  busy.goes_on = &goes_on;
  busy.run = [](TurnTask& task) noexcept {
    if (*static_cast<Busy&>(task).goes_on) Reactor::Current()->AtDispatch(task);
  };
  reactors.On(0, [&] { Reactor::Current()->AtDispatch(busy); });
  uint32_t highest = 0;
  for (int i = 0; i < 100 && highest < 10; ++i) {
    std::this_thread::sleep_for(milliseconds(20));
    highest = std::max(highest, reactors.at(0).load_percent());
  }
  EXPECT_GE(highest, 10u) << "a core of its own would show 100";
  goes_on = false;
  reactors.On(0, [&] { busy.hook.unlink(); });  // nobody touches the task any more
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_EQ(reactors.at(0).load_percent(), 0u);
}

}  // namespace
}  // namespace sluice
