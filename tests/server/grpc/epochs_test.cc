// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/epochs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace sluice::rpc {
namespace {

using testing::HasSubstr;

const std::map<std::string, uint64_t> kSome = {
    {"disk", 7}, {"a \"b\"\n\\", ~uint64_t{0}}, {"\xc3\xa9", 1}};

TEST(EpochsFile, WhatIsRenderedIsParsedBack) {
  for (const auto& epochs : {kSome, std::map<std::string, uint64_t>()}) {
    const auto parsed = ParseEpochs(RenderEpochs(epochs));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, epochs);
  }
}

TEST(EpochsFile, WhatIsMalformedIsRefused) {
  for (const char* bad : {"7", "7 \"a\"", "x \"a\"\n", "-1 \"a\"\n", "7 a\n", "7 \"a\n", "\n",
                          "7 \"a\"\n7 \"a\"\n", "7 \"\\q\"\n", "7 \"a\"\nx"}) {
    EXPECT_EQ(ParseEpochs(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

class DurableEpochsTest : public testing::Test {
 protected:
  DurableEpochsTest() {
    char name[] = "/tmp/sluice-epochs-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~DurableEpochsTest() override { std::filesystem::remove_all(folder_); }

  // As a process that starts again.
  absl::StatusOr<std::unique_ptr<DurableEpochs>> Open() {
    state_ = nullptr;
    auto state = StateDir::Open(folder_ + "/state");
    if (!state.ok()) return state.status();
    state_ = *std::move(state);
    return DurableEpochs::Load(*state_, worker_, reactors_.at(0));
  }
  // Raises it and waits for the answer.
  absl::Status Raise(DurableEpochs& epochs, const std::string& name, uint64_t epoch) {
    absl::Status answer = absl::UnknownError("none");
    bool answered = false;
    epochs.Raise({{name, epoch}}, [&](absl::Status status) {
      answer = std::move(status);
      answered = true;
    });
    for (int i = 0; i < 10000 && !answered; ++i) {
      reactors_.at(0).Turn();
      usleep(100);
    }
    return answer;
  }
  std::string folder_;
  SystemClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(std::make_unique<ManualPoller>());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{64, 1024 * 1024, 0}};
  Worker worker_;
  std::unique_ptr<StateDir> state_;
};

TEST_F(DurableEpochsTest, WhatWasRaisedIsThereAfterARestart) {
  {
    auto epochs = Open();
    ASSERT_TRUE(epochs.ok()) << epochs.status();
    EXPECT_EQ((*epochs)->Current("disk"), 0u);
    EXPECT_TRUE(Raise(**epochs, "disk", 1).ok());
    EXPECT_TRUE(Raise(**epochs, "other", 5).ok());
    EXPECT_TRUE(Raise(**epochs, "disk", 2).ok());
  }
  auto epochs = Open();
  ASSERT_TRUE(epochs.ok()) << epochs.status();
  EXPECT_EQ((*epochs)->Current("disk"), 2u);
  EXPECT_EQ((*epochs)->Current("other"), 5u);
}

TEST_F(DurableEpochsTest, AStartWithoutSessionsSpendsWhatWasGranted) {
  {
    auto epochs = Open();
    ASSERT_TRUE(epochs.ok());
    EXPECT_TRUE(Raise(**epochs, "disk", 3).ok());
  }
  ASSERT_TRUE(DurableEpochs::SpendAll(*state_).ok());
  auto epochs = Open();
  ASSERT_TRUE(epochs.ok()) << epochs.status();
  EXPECT_EQ((*epochs)->Current("disk"), 4u);
}

TEST_F(DurableEpochsTest, ABodyThatIsMalformedIsRefused) {
  {
    auto state = StateDir::Open(folder_ + "/state");
    ASSERT_TRUE(state.ok() && (*state)->Load("epochs", 1).ok());
    ASSERT_TRUE((*state)->Save("epochs", 1, "nonsense\n").ok());
  }
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("state/epochs: a malformed line"));
}

TEST_F(DurableEpochsTest, AnEpochThatCannotBeWrittenIsNotGranted) {
  auto epochs = Open();
  ASSERT_TRUE(epochs.ok());
  ASSERT_EQ(mkdir((folder_ + "/state/epochs.new").c_str(), 0700),
            0);  // in the temporary file's way
  EXPECT_FALSE(Raise(**epochs, "disk", 1).ok());
}

}  // namespace
}  // namespace sluice::rpc
