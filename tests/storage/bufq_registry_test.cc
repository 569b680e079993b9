// SPDX-License-Identifier: Apache-2.0
// The strategies that there are: names, selection, who is in use.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/log.h"
#include "tests/storage/bufq_support.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string>& LogLines() {
  static auto* const lines = new std::vector<std::string>;
  return *lines;
}

class BufqRegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    LogLines().clear();
    SetLogSink([](LogLevel level, absl::string_view line) {
      LogLines().push_back((level == LogLevel::kWarning ? "warning " : "") + std::string(line));
    });
  }
  void TearDown() override { SetLogSink(nullptr); }

  // A strategy of another name that is fcfs otherwise.
  static BufqStrategy Named(const char* name) {
    BufqStrategy strategy = BufqRegistry::Get().List().front();
    strategy.name = name;
    return strategy;
  }

  static absl::Status AllocExact(const std::string& name) {
    return Bufq::Alloc(name, kBufqExact, {}).status();
  }
};

TEST_F(BufqRegistryTest, ListsTheBuiltInStrategiesByName) {
  std::vector<std::string> names;
  for (const BufqStrategy& strategy : BufqRegistry::Get().List()) {
    names.push_back(strategy.name);
    EXPECT_THAT(strategy.summary, Not(testing::StrEq("")));
  }
  EXPECT_THAT(names, ElementsAre("deadline", "disksort", "fair", "fcfs", "priocscan", "readprio"));
}

TEST_F(BufqRegistryTest, AllocTellsTheStrategyItFound) {
  EXPECT_EQ(NewBufq("readprio")->strategy_name(), "readprio");
  EXPECT_EQ(NewBufq(kBufqAny)->strategy_name(), "fcfs");
  EXPECT_EQ(NewBufq(kBufqDiskDefault)->strategy_name(), "deadline");
  EXPECT_THAT(LogLines(), ElementsAre());
}

TEST_F(BufqRegistryTest, AnUnknownNameIsNotFoundWhenExact) {
  EXPECT_TRUE(absl::IsNotFound(AllocExact("nosuch")));
  EXPECT_THAT(AllocExact("nosuch").message(), HasSubstr("no strategy nosuch"));
}

TEST_F(BufqRegistryTest, AnUnknownNameIsTheDefaultWithAWarningOtherwise) {
  const auto queue = Bufq::Alloc("nosuch", 0, {});
  ASSERT_TRUE(queue.ok());
  EXPECT_EQ((*queue)->strategy_name(), "deadline");
  EXPECT_THAT(LogLines(), ElementsAre(testing::AllOf(HasSubstr("warning bufq: no strategy nosuch"),
                                                     HasSubstr("using deadline"))));
}

TEST_F(BufqRegistryTest, ImpossibleNamesAreRefusedAndShownEscaped) {
  for (const std::string name : {"", "Fcfs", "../fcfs", "fc fs", "/etc/passwd", "fcfs.so", "a/b"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(AllocExact(name))) << name;
    EXPECT_FALSE(IsBufqName(name)) << name;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(AllocExact(std::string("fcfs\0x", 6))));
  EXPECT_TRUE(absl::IsInvalidArgument(AllocExact(std::string(33, 'a'))));
  EXPECT_TRUE(IsBufqName(std::string(32, 'a')));

  EXPECT_THAT(AllocExact("x\n\x1b[2J").message(), HasSubstr("x\\n\\x1b[2J"));
  EXPECT_LT(AllocExact(std::string(100000, '/')).message().size(), 100);
}

TEST_F(BufqRegistryTest, ARegisteredStrategyCanBeAllocatedUntilItIsUnregistered) {
  ASSERT_TRUE(BufqRegistry::Get().Register(Named("mine")).ok());
  EXPECT_EQ(NewBufq("mine")->strategy_name(), "mine");
  EXPECT_TRUE(BufqRegistry::Get().Unregister("mine").ok());
  EXPECT_TRUE(absl::IsNotFound(AllocExact("mine")));
}

TEST_F(BufqRegistryTest, RegisterRefusesTakenAndImpossibleNames) {
  BufqRegistry& registry = BufqRegistry::Get();
  EXPECT_TRUE(absl::IsAlreadyExists(registry.Register(Named("fcfs"))));
  for (const char* name : {"", "No", "a.b", kBufqAny, kBufqDiskDefault}) {
    EXPECT_TRUE(absl::IsInvalidArgument(registry.Register(Named(name)))) << name;
  }
}

TEST_F(BufqRegistryTest, UnregisterFailsWhileAnyQueueUsesIt) {
  BufqRegistry& registry = BufqRegistry::Get();
  ASSERT_TRUE(registry.Register(Named("mine")).ok());
  auto one = NewBufq("mine");
  auto two = NewBufq("mine");
  EXPECT_TRUE(absl::IsFailedPrecondition(registry.Unregister("mine")));
  one.reset();
  EXPECT_TRUE(absl::IsFailedPrecondition(registry.Unregister("mine")));
  EXPECT_EQ(two->strategy_name(), "mine");
  two.reset();
  EXPECT_TRUE(registry.Unregister("mine").ok());
  EXPECT_TRUE(absl::IsNotFound(registry.Unregister("mine")));
}

TEST_F(BufqRegistryTest, SelectionsTakeWhatIsLeft) {
  BufqRegistry& registry = BufqRegistry::Get();
  const std::vector<BufqStrategy> all = registry.List();
  for (const BufqStrategy& strategy : all) {
    if (strategy.name != std::string("readprio")) {
      ASSERT_TRUE(registry.Unregister(strategy.name).ok());
    }
  }
  EXPECT_EQ(NewBufq(kBufqDiskDefault)->strategy_name(), "readprio");
  EXPECT_EQ(NewBufq(kBufqAny)->strategy_name(), "readprio");
  ASSERT_TRUE(registry.Unregister("readprio").ok());
  EXPECT_TRUE(absl::IsNotFound(Bufq::Alloc(kBufqAny, 0, {}).status()));
  EXPECT_TRUE(absl::IsNotFound(Bufq::Alloc("nosuch", 0, {}).status()));
  for (const BufqStrategy& strategy : all) ASSERT_TRUE(registry.Register(strategy).ok());
}

TEST_F(BufqRegistryTest, ImpossibleCylindersAreRefused) {
  for (const uint64_t bytes : {uint64_t{0}, kCylinderBytesMax + 1, UINT64_MAX}) {
    BufqOptions options;
    options.cylinder_bytes = bytes;
    EXPECT_TRUE(absl::IsInvalidArgument(Bufq::Alloc("fcfs", 0, options).status())) << bytes;
  }
}

}  // namespace
}  // namespace sluice
