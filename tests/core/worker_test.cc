// SPDX-License-Identifier: Apache-2.0
#include "core/worker.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace sluice {
namespace {

TEST(Worker, RunsAllJobsInOrderOnOneThreadOfItsOwnBeforeItDies) {
  std::vector<int> ran;
  std::vector<std::thread::id> on;
  {
    Worker worker;
    for (int i = 0; i < 1000; ++i) {
      worker.Run([&, i] {
        ran.push_back(i);
        on.push_back(std::this_thread::get_id());
      });
    }
  }
  ASSERT_EQ(ran.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ran[static_cast<size_t>(i)], i);
  EXPECT_NE(on.front(), std::this_thread::get_id());
  EXPECT_EQ(on.front(), on.back());
}

TEST(Worker, AJobMayAskForAnother) {
  int depth = 0;
  {
    Worker worker;
    worker.Run([&] {
      ++depth;
      worker.Run([&] { ++depth; });
    });
  }
  EXPECT_EQ(depth, 2);
}

}  // namespace
}  // namespace sluice
