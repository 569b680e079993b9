// SPDX-License-Identifier: Apache-2.0
// What every strategy promises, built in or loaded: nothing is lost, nothing comes twice, a peek is
// what the next get gives, and nothing waits for ever.
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <set>

#include "core/units.h"
#include "tests/storage/allocations.h"
#include "tests/storage/bufq_support.h"

namespace sluice {
namespace {

constexpr uint64_t kDiskBlocks = 256;
const char* const kStrategies[] = {"fcfs",     "disksort", "readprio", "priocscan",
                                   "deadline", "fair",     "elevator"};

class BufqConformance : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    BufqRegistry::Get().SetModuleFolder(SLUICE_TEST_MODULES);
    queue_ = NewBufq(GetParam(), Options());
  }
  void TearDown() override {
    queue_.reset();
    BufqRegistry::Get().SetModuleFolder("");
    BufqRegistry::Get().Unregister("elevator").IgnoreError();
  }

  static BufqOptions Options() {
    BufqOptions options;
    options.flow_weights = {1, 3};
    return options;
  }

  std::string RandomText() {
    return std::to_string(random_() % 3) + (random_() % 2 == 0 ? "r" : "w") +
           std::to_string(random_() % kDiskBlocks) + "." + std::to_string(random_() % 5);
  }
  Bio& PutRandom(Bufq& queue) {
    Bio& bio = requests_.Make(RandomText());
    queue.Put(bio);
    return bio;
  }
  std::set<Bio*> Fill(Bufq& queue, size_t count) {
    std::set<Bio*> in;
    for (size_t i = 0; i < count; ++i) in.insert(&PutRandom(queue));
    return in;
  }
  uint64_t now() { return requests_.clock.NowNs(); }

  Requests requests_;
  std::unique_ptr<Bufq> queue_;
  std::mt19937_64 random_{20240607};
};

TEST_P(BufqConformance, AnEmptyQueueGivesNothing) {
  EXPECT_TRUE(queue_->empty());
  EXPECT_EQ(queue_->Peek(now()), nullptr);
  EXPECT_EQ(queue_->Get(now()), nullptr);
  Bio& bio = PutRandom(*queue_);
  EXPECT_EQ(queue_->size(), 1);
  EXPECT_EQ(queue_->Get(now()), &bio);
  EXPECT_EQ(queue_->Get(now()), nullptr);
  EXPECT_TRUE(queue_->empty());
}

TEST_P(BufqConformance, WhereTellsThatABioWaitsHere) {
  Bio& bio = PutRandom(*queue_);
  EXPECT_EQ(bio.where, Where::kBufq);
  queue_->Get(now());
  EXPECT_EQ(bio.where, Where::kSubmitter);
  queue_->Put(bio);
  EXPECT_EQ(bio.where, Where::kBufq);
  queue_->Cancel(bio);
  EXPECT_EQ(bio.where, Where::kSubmitter);
  EXPECT_TRUE(queue_->empty());
}

TEST_P(BufqConformance, WhatIsPutIsGotOnce) {
  std::set<Bio*> in = Fill(*queue_, 1000);
  EXPECT_EQ(queue_->size(), 1000);
  while (Bio* bio = queue_->Get(now())) EXPECT_EQ(in.erase(bio), 1) << requests_.NameOf(*bio);
  EXPECT_TRUE(in.empty());
}

TEST_P(BufqConformance, APeekIsTheNextGetHoweverTheClockMoves) {
  Fill(*queue_, 300);
  while (!queue_->empty()) {
    Bio* peeked = queue_->Peek(now());
    for (const uint64_t step : {uint64_t{1}, 400 * kMillisecond, 4 * kSecond, 100 * kSecond}) {
      requests_.clock.Advance(random_() % step);
      ASSERT_EQ(queue_->Peek(now()), peeked);
    }
    ASSERT_EQ(queue_->Get(now()), peeked);
    if (random_() % 3 == 0 && queue_->size() < 250) PutRandom(*queue_);
    if (random_() % 2 == 0) queue_->Get(now());
  }
}

TEST_P(BufqConformance, PeekingDoesNotChangeTheOrder) {
  const auto other = NewBufq(GetParam(), Options());
  for (int i = 0; i < 300; ++i) {
    const std::string text = RandomText();
    queue_->Put(requests_.Make(text));
    other->Put(requests_.Make(text));
    queue_->Peek(now());
    requests_.clock.Advance(random_() % kMillisecond);
    if (random_() % 3 == 0) {
      ASSERT_EQ(requests_.Get(*queue_, 1), requests_.Get(*other, 1));
    }
  }
  EXPECT_EQ(requests_.GetAll(*queue_), requests_.GetAll(*other));
}

TEST_P(BufqConformance, AnyOneCanBeCancelledAtAnyPlace) {
  constexpr size_t kCount = 40;
  for (size_t place = 0; place < kCount; ++place) {
    std::vector<Bio*> in;
    for (size_t i = 0; i < kCount; ++i) in.push_back(&PutRandom(*queue_));
    queue_->Get(now())->prio = 1;  // not at the start of things
    std::set<Bio*> waiting;
    for (Bio* bio : in) {
      if (bio->where == Where::kBufq) waiting.insert(bio);
    }
    Bio* victim = in[place]->where == Where::kBufq ? in[place] : *waiting.begin();
    if (place % 2 == 0) queue_->Peek(now());
    queue_->Cancel(*victim);
    waiting.erase(victim);
    EXPECT_EQ(queue_->size(), waiting.size());
    while (Bio* bio = queue_->Get(now())) ASSERT_EQ(waiting.erase(bio), 1);
    EXPECT_TRUE(waiting.empty());
  }
}

TEST_P(BufqConformance, CancellingWhatWasPeekedGivesAnother) {
  Fill(*queue_, 100);
  while (!queue_->empty()) {
    Bio* peeked = queue_->Peek(now());
    queue_->Cancel(*peeked);
    EXPECT_NE(queue_->Peek(now()), peeked);
  }
}

TEST_P(BufqConformance, DrainEmptiesInTheQueuesOrder) {
  const auto other = NewBufq(GetParam(), Options());
  for (int i = 0; i < 200; ++i) {
    const std::string text = RandomText();
    queue_->Put(requests_.Make(text));
    other->Put(requests_.Make(text));
  }
  std::string drained;
  queue_->Drain(now(), [&](Bio& bio) {
    EXPECT_EQ(bio.where, Where::kSubmitter);
    drained += (drained.empty() ? "" : " ") + requests_.NameOf(bio);
  });
  EXPECT_TRUE(queue_->empty());
  EXPECT_EQ(drained, requests_.GetAll(*other));
}

TEST_P(BufqConformance, MoveHandsAllToAnyOtherStrategyInOrder) {
  for (const char* name : kStrategies) {
    const auto other = NewBufq(name, Options());
    const auto twin = NewBufq(GetParam(), Options());
    const auto expected = NewBufq(name, Options());
    for (int i = 0; i < 200; ++i) {
      const std::string text = RandomText();
      queue_->Put(requests_.Make(text));
      twin->Put(requests_.Make(text));
    }
    while (Bio* bio = twin->Get(now())) expected->Put(*bio);

    Bufq::Move(*queue_, *other, now());
    EXPECT_TRUE(queue_->empty());
    EXPECT_EQ(other->size(), 200);
    EXPECT_EQ(requests_.GetAll(*other), requests_.GetAll(*expected)) << name;
    queue_ = NewBufq(GetParam(), Options());
  }
}

// A disk that changes its strategy again and again while requests come and go.
TEST_P(BufqConformance, ALiveSwapLosesNothing) {
  std::set<Bio*> in;
  for (int step = 0; step < 5000; ++step) {
    requests_.clock.Advance(random_() % (10 * kMillisecond));
    in.insert(&PutRandom(*queue_));
    if (queue_->size() > 32) {
      ASSERT_EQ(in.erase(queue_->Get(now())), 1);
    }
    if (step % 50 == 0) {
      const char* name =
          step % 100 == 0 ? kStrategies[random_() % std::size(kStrategies)] : GetParam();
      auto next = NewBufq(name, Options());
      Bufq::Move(*queue_, *next, now());
      queue_ = std::move(next);
    }
    ASSERT_EQ(queue_->size(), in.size());
  }
  while (Bio* bio = queue_->Get(now())) ASSERT_EQ(in.erase(bio), 1);
  EXPECT_TRUE(in.empty());
}

TEST_P(BufqConformance, RandomOperationsMatchASet) {
  std::set<Bio*> in;
  std::vector<Bio*> idle;
  const auto any = [&] { return *std::next(in.begin(), static_cast<long>(random_() % in.size())); };
  for (int step = 0; step < 30000; ++step) {
    requests_.clock.Advance(random_() % (20 * kMillisecond));
    const uint64_t what = random_() % 100;
    const bool growing = step / 1000 % 2 == 0;
    if (in.empty() || what < (growing ? 55u : 25u)) {
      if (idle.empty()) idle.push_back(&requests_.Make(RandomText()));
      Bio* bio = idle.back();
      idle.pop_back();
      bio->born_ns = now();
      queue_->Put(*bio);
      ASSERT_TRUE(in.insert(bio).second);
    } else if (what < 75) {
      Bio* peeked = what % 2 == 0 ? queue_->Peek(now()) : nullptr;
      Bio* bio = queue_->Get(now());
      ASSERT_EQ(in.erase(bio), 1) << "step " << step;
      if (peeked != nullptr) {
        ASSERT_EQ(bio, peeked);
      }
      idle.push_back(bio);
    } else if (what < 85) {
      Bio* bio = any();
      queue_->Cancel(*bio);
      in.erase(bio);
      idle.push_back(bio);
    } else if (what < 95) {
      ASSERT_EQ(in.count(queue_->Peek(now())), 1);
    } else {
      any()->length += kBlock;  // as a back merge into a waiting carrier
    }
    ASSERT_EQ(queue_->size(), in.size());
  }
  while (Bio* bio = queue_->Get(now())) ASSERT_EQ(in.erase(bio), 1);
  EXPECT_TRUE(in.empty());
}

// Ten others wait when the victim arrives, and whenever one is got another arrives.
TEST_P(BufqConformance, NothingStarvesUnderContinuousArrivals) {
  constexpr int kPatience = 20000;  // requests, one a millisecond
  using Stream = std::function<std::string(int)>;
  const auto block = [](int n) { return std::to_string(n % static_cast<int>(kDiskBlocks)); };
  const std::pair<const char*, Stream> streams[] = {
      {"urgent reads upwards", [&](int i) { return "0r" + block(i); }},
      {"urgent reads of one block", [](int) { return std::string("0r128"); }},
      {"urgent reads downwards", [&](int i) { return "0r" + block((1 << 20) - i); }},
      {"urgent writes upwards", [&](int i) { return "0w" + block(i); }},
      {"urgent writes of one block", [](int) { return std::string("0w128"); }},
      {"a heavier flow", [&](int i) { return "0r" + block(i * 7) + ".1"; }},
      {"many flows", [&](int i) { return "0r" + block(i) + "." + std::to_string(10 + i % 50); }},
      {"anything", [&](int) { return RandomText(); }}};
  for (const auto& [name, stream] : streams) {
    for (const char* text :
         {"2r0", "2w0", "2r255", "2w255", "2r127.4", "2w129.4", "2w128", "2r128"}) {
      for (const BufqSort sort : {BufqSort::kRawBlock, BufqSort::kCylinder}) {
        BufqOptions options = Options();
        options.sort = sort;
        options.cylinder_bytes = 64 * kBlock;
        queue_ = NewBufq(GetParam(), options);
        int arrival = 0;
        for (; arrival < 10; ++arrival) requests_.Put(*queue_, stream(arrival));
        Bio& victim = requests_.Make(text);
        queue_->Put(victim);
        int steps = 0;
        for (; victim.where == Where::kBufq && steps < kPatience; ++steps) {
          requests_.clock.Advance(kMillisecond);
          requests_.Put(*queue_, stream(arrival++));
          queue_->Get(now());
        }
        EXPECT_LT(steps, kPatience) << text << " starved by " << name;
        while (queue_->Get(now()) != nullptr) {
        }
      }
    }
  }
}

TEST_P(BufqConformance, NoOperationAllocates) {
  std::vector<Bio*> bios;
  for (int i = 0; i < 1000; ++i) bios.push_back(&requests_.Make(RandomText()));
  const uint64_t before = Allocations();
  for (Bio* bio : bios) queue_->Put(*bio);
  for (size_t i = 0; i < bios.size(); i += 3) queue_->Cancel(*bios[i]);
  while (queue_->Peek(now()) != nullptr) queue_->Get(now());
  EXPECT_EQ(Allocations(), before);
  NewBufq("fcfs");
  EXPECT_GT(Allocations(), before);
}

TEST_P(BufqConformance, MisuseIsCaught) {
  Bio& in = PutRandom(*queue_);
  Bio& out = requests_.Make("r1");
  EXPECT_DEATH(queue_->Put(in), "check failed");
  EXPECT_DEATH(queue_->Cancel(out), "check failed");
  EXPECT_DEATH(queue_.reset(), "check failed: empty");
  EXPECT_DEATH(Bufq::Move(*queue_, *queue_, now()), "check failed");
  queue_->Get(now());
}

INSTANTIATE_TEST_SUITE_P(, BufqConformance, testing::ValuesIn(kStrategies),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace sluice
