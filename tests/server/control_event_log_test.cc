// SPDX-License-Identifier: Apache-2.0
#include "server/control/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <semaphore>
#include <thread>
#include <vector>

namespace sluice {
namespace {

using testing::ElementsAre;

std::vector<std::string> Subjects(const EventLog::Batch& batch) {
  std::vector<std::string> subjects;
  for (const Event& event : batch.events) subjects.push_back(event.subject);
  return subjects;
}

void Add(EventLog& log, const std::string& subject) { log.Add(EventKind::kDiskAdded, subject, ""); }

TEST(EventLog, TellsWhatCameAfterARevision) {
  EventLog log(1, 8);
  const uint64_t before = log.newest();
  const uint64_t first = log.Add(EventKind::kDiskAdded, "d0", "opened");
  Add(log, "d1");
  Add(log, "d2");
  const EventLog::Batch all = log.Since(before, 100);
  EXPECT_THAT(Subjects(all), ElementsAre("d0", "d1", "d2"));
  EXPECT_FALSE(all.gap);
  EXPECT_EQ(all.events[0].revision, first);
  EXPECT_EQ(all.events[0].kind, EventKind::kDiskAdded);
  EXPECT_EQ(all.events[0].text, "opened");
  EXPECT_GT(all.events[0].unix_ns, int64_t{1'500'000'000} * 1'000'000'000);
  EXPECT_THAT(Subjects(log.Since(first, 100)), ElementsAre("d1", "d2"));
  EXPECT_THAT(Subjects(log.Since(first, 1)), ElementsAre("d1"));
  EXPECT_TRUE(log.Since(log.newest(), 100).events.empty());
}

TEST(EventLog, TellsOfAGapWhenTheRevisionIsNoLongerKept) {
  EventLog log(1, 3);
  const uint64_t begin = log.newest();
  for (const char* name : {"a", "b", "c"}) Add(log, name);
  EXPECT_FALSE(log.Since(begin, 100).gap);
  Add(log, "d");
  const EventLog::Batch late = log.Since(begin, 100);
  EXPECT_TRUE(late.gap);
  EXPECT_THAT(Subjects(late), ElementsAre("b", "c", "d"));
  EXPECT_FALSE(log.Since(begin + 1, 100).gap);
}

TEST(EventLog, RevisionsRiseOverRestartsAndThoseOfAnotherStartAreAGap) {
  EventLog old(4, 8);
  Add(old, "old");
  EventLog now(5, 8);
  EXPECT_GT(now.newest(), old.newest());
  EXPECT_TRUE(now.Since(old.newest(), 100).gap);
  Add(now, "new");
  EXPECT_THAT(Subjects(now.Since(old.newest(), 100)), ElementsAre("new"));
  // A server that lost its state: the watcher is ahead of it.
  EXPECT_TRUE(old.Since(now.newest(), 100).gap);
  EXPECT_THAT(Subjects(old.Since(now.newest(), 100)), ElementsAre("old"));
}

TEST(EventLog, AnEndedSubscriptionIsNotCalled) {
  EventLog log(1, 8);
  int one = 0;
  int two = 0;
  auto first = log.Subscribe([&] { ++one; });
  const auto second = log.Subscribe([&] { ++two; });
  Add(log, "a");
  first.reset();
  Add(log, "b");
  EXPECT_EQ(one, 1);
  EXPECT_EQ(two, 2);
}

// Each of several watchers sees every event once, in order, while several threads add.
TEST(EventLog, WatchersMissNothing) {
  constexpr int kEach = 500;
  constexpr int kWriters = 3;
  EventLog log(1, kEach * kWriters);
  const uint64_t begin = log.newest();
  std::vector<std::vector<uint64_t>> seen(4);
  std::vector<std::thread> threads;
  std::counting_semaphore<> watching(0);
  for (auto& revisions : seen) {
    threads.emplace_back([&] {
      std::counting_semaphore<> woken(0);
      const auto subscription = log.Subscribe([&] { woken.release(); });
      watching.release();
      uint64_t at = begin;
      while (revisions.size() < kEach * kWriters) {
        for (const Event& event : log.Since(at, 7).events) {
          revisions.push_back(event.revision);
          at = event.revision;
        }
        if (at == log.newest() && revisions.size() < kEach * kWriters) woken.acquire();
      }
    });
  }
  for (size_t i = 0; i < seen.size(); ++i) watching.acquire();
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) Add(log, "x");
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& revisions : seen) {
    ASSERT_EQ(revisions.size(), size_t{kEach * kWriters});
    for (size_t i = 0; i < revisions.size(); ++i) ASSERT_EQ(revisions[i], begin + 1 + i);
  }
}

}  // namespace
}  // namespace sluice
