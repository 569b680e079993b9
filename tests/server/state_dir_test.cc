// SPDX-License-Identifier: Apache-2.0
#include "server/state_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/server/traced_child.h"

namespace sluice {
namespace {

using testing::HasSubstr;

std::string Slurp(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class StateDirTest : public testing::Test {
 protected:
  StateDirTest() { std::filesystem::remove_all(root_); }
  ~StateDirTest() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<StateDir> Opened() {
    auto opened = StateDir::Open(path_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  void Write(const std::string& text) const {
    std::filesystem::create_directories(path_);
    std::ofstream(file_, std::ios::binary) << text;
  }
  // What a server that starts now finds, and that it can go on from there.
  std::string Found() {
    const auto state = Opened();
    const auto body = state->Load("control", 1);
    EXPECT_TRUE(body.ok()) << body.status();
    const std::string found = body->value_or("nothing");
    EXPECT_TRUE(state->Save("control", 1, found).ok());
    return found;
  }
  std::string Refusal(uint32_t version = 1) {
    return std::string(Opened()->Load("control", version).status().message());
  }

  const std::string root_ =
      testing::TempDir() + "state_dir_test." + std::to_string(static_cast<long>(getpid()));
  const std::string path_ = root_ + "/below/state";
  const std::string file_ = path_ + "/control";
};

TEST_F(StateDirTest, WhatWasSavedIsThereForTheNextServer) {
  {
    const auto state = Opened();
    EXPECT_FALSE(state->Load("control", 1)->has_value());
    EXPECT_FALSE(state->Load("epochs", 1)->has_value());
    ASSERT_TRUE(state->Save("control", 1, "one\0two\n").ok());
    ASSERT_TRUE(state->Save("control", 1, std::string("three\0four", 10)).ok());
    ASSERT_TRUE(state->Save("epochs", 7, "").ok());
  }
  const auto state = Opened();
  EXPECT_EQ(*state->Load("control", 1), std::string("three\0four", 10));
  EXPECT_EQ(*state->Load("epochs", 9), std::string());
}

TEST_F(StateDirTest, TheFolderIsMadeForItsOwnerAlone) {
  Opened();
  struct stat facts {};
  ASSERT_EQ(stat(path_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0700u);
}

TEST_F(StateDirTest, TwoServersCannotHaveOneFolder) {
  const auto first = Opened();
  const auto second = StateDir::Open(path_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(path_));
}

TEST_F(StateDirTest, AFolderThatCannotBeMadeIsNamed) {
  Write("");
  const auto opened = StateDir::Open(file_ + "/deeper");
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr(file_));
}

TEST_F(StateDirTest, CorruptStateIsRefusedAndLeftAsItIs) {
  {
    const auto state = Opened();
    ASSERT_TRUE(state->Load("control", 1).ok());
    ASSERT_TRUE(state->Save("control", 1, "disk { name: \"d0\" }").ok());
  }
  const std::string good = Slurp(file_);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    Write(bad);
    EXPECT_THAT(Refusal(), testing::AnyOf(HasSubstr("corrupt"), HasSubstr("newer"))) << i;
    EXPECT_EQ(Slurp(file_), bad);
    Write(good.substr(0, i));
    EXPECT_THAT(Refusal(), HasSubstr("corrupt")) << i;
  }
  Write(good + "x");
  EXPECT_THAT(Refusal(), HasSubstr("corrupt"));
  Write(good);
  EXPECT_EQ(Found(), "disk { name: \"d0\" }");
}

TEST_F(StateDirTest, AFileOfAnotherNameIsCorrupt) {
  {
    const auto state = Opened();
    ASSERT_TRUE(state->Load("epochs", 1).ok());
    ASSERT_TRUE(state->Save("epochs", 1, "1").ok());
  }
  std::filesystem::rename(path_ + "/epochs", file_);
  EXPECT_THAT(Refusal(), HasSubstr("corrupt"));
}

TEST_F(StateDirTest, NewerStateIsRefusedByItsNumberWhateverFollows) {
  Write("sluice-state 2 control with another sum\nand body");
  EXPECT_THAT(Refusal(), HasSubstr("newer"));
  EXPECT_EQ(Slurp(file_), "sluice-state 2 control with another sum\nand body");
}

TEST_F(StateDirTest, MoreThanIsReadBackIsRefusedAndTheOldOneStays) {
  const auto state = Opened();
  ASSERT_TRUE(state->Load("control", 1).ok());
  const std::string most(StateDir::kBytesMax, 'x');
  ASSERT_TRUE(state->Save("control", 1, most).ok());
  const absl::Status status = state->Save("control", 1, most + "x");
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/control: would have 16777217 bytes"));
  EXPECT_EQ(*state->Load("control", 1), most);
}

TEST_F(StateDirTest, ALinkInTheFilesPlaceIsNotFollowed) {
  Write("");
  std::filesystem::remove(file_);
  std::filesystem::create_symlink("/etc/passwd", file_);
  EXPECT_THAT(Refusal(), HasSubstr("open"));
}

TEST_F(StateDirTest, TheDefaultIsTheServiceManagersFolder) {
  setenv("STATE_DIRECTORY", "/run/one:/run/two", 1);
  EXPECT_EQ(StateDir::DefaultPath(), "/run/one");
  unsetenv("STATE_DIRECTORY");
  EXPECT_THAT(StateDir::DefaultPath(), testing::EndsWith("/sluice"));
}

// --- at every system call of Save() ---

class StateDirCrashTest : public StateDirTest {
 protected:
  StateDirCrashTest() {
    const auto state = Opened();
    EXPECT_TRUE(state->Load("control", 1).ok());
    EXPECT_TRUE(state->Save("control", 1, kOld).ok());
  }
  TracedChild SaveNew(TracedChild::At at = TracedChild::At::kNothing, int step = -1) {
    std::unique_ptr<StateDir> state;
    return TracedChild::Run(
        [&] {
          state = Opened();
          if (!state->Load("control", 1).ok()) abort();
        },
        [&] { return state->Save("control", 1, kNew).ok() ? 0 : 1; }, at, step);
  }
  void BackToOld() {
    const auto state = Opened();
    ASSERT_TRUE(state->Load("control", 1).ok());
    ASSERT_TRUE(state->Save("control", 1, kOld).ok());
  }

  static constexpr int kStepsMax = 200;
  const std::string kOld = "the old state";
  const std::string kNew = std::string(100'000, 'n');
};

TEST_F(StateDirCrashTest, KilledAtAnyCallItLeavesOldOrNew) {
  int olds = 0;
  int news = 0;
  bool reached = true;
  for (int step = 0; reached && step < kStepsMax; ++step) {
    const TracedChild child = SaveNew(TracedChild::At::kKill, step);
    reached = child.reached;
    const std::string found = Found();
    ASSERT_TRUE(found == kOld || found == kNew) << "killed at call " << step;
    if (child.exit_status == 0) {
      ASSERT_EQ(found, kNew) << step;
    }
    ++(found == kOld ? olds : news);
    BackToOld();
  }
  EXPECT_FALSE(reached);
  EXPECT_GE(olds, 3);  // open, write, fsync
  EXPECT_GE(news, 1);
}

TEST_F(StateDirCrashTest, WhicheverCallFailsWhatWasRefusedIsNotThere) {
  int refused = 0;
  bool reached = true;
  for (int step = 0; reached && step < kStepsMax; ++step) {
    const TracedChild child = SaveNew(TracedChild::At::kFail, step);
    reached = child.reached;
    const std::string found = Found();
    ASSERT_TRUE(found == kOld || found == kNew) << "call " << step << " failed";
    if (child.exit_status == 0) {
      ASSERT_EQ(found, kNew) << "call " << step;
    } else {
      ASSERT_EQ(found, kOld) << "call " << step;
      ++refused;
    }
    BackToOld();
  }
  EXPECT_FALSE(reached);
  EXPECT_GE(refused, 5);  // open, write, fsync, rename, fsync of the folder
}

// What a power failure leaves is as old or as new only in this order.
TEST_F(StateDirCrashTest, TheFileIsSyncedBeforeItIsRenamedAndTheFolderAfter) {
  const TracedChild child = SaveNew();
  ASSERT_EQ(child.exit_status, 0);
  std::vector<long> order;
  for (const long call : child.completed) {
    if (call == SYS_fsync || call == SYS_renameat || call == SYS_write) order.push_back(call);
  }
  order.erase(std::unique(order.begin(), order.end()), order.end());
  EXPECT_THAT(order, testing::ElementsAre(SYS_write, SYS_fsync, SYS_renameat, SYS_fsync));
}

}  // namespace
}  // namespace sluice
