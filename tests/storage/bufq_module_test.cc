// SPDX-License-Identifier: Apache-2.0
// Strategies from shared objects: what is loaded, and what is refused with which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/bufq_module.h"
#include "tests/storage/bufq_support.h"

namespace sluice {
namespace {

using testing::HasSubstr;

class BufqModuleTest : public testing::Test {
 protected:
  void SetUp() override { BufqRegistry::Get().SetModuleFolder(SLUICE_TEST_MODULES); }
  void TearDown() override {
    BufqRegistry::Get().SetModuleFolder("");
    BufqRegistry::Get().Unregister("elevator").IgnoreError();
  }

  static absl::Status AllocExact(const std::string& name) {
    return Bufq::Alloc(name, kBufqExact, {}).status();
  }
};

TEST_F(BufqModuleTest, AModuleIsLoadedByNameAndListedFromThenOn) {
  const size_t before = BufqRegistry::Get().List().size();
  Requests requests;
  const auto queue = NewBufq("elevator");
  EXPECT_EQ(queue->strategy_name(), "elevator");
  EXPECT_EQ(BufqRegistry::Get().List().size(), before + 1);

  requests.Put(*queue, "r5 r9");
  EXPECT_EQ(requests.Get(*queue, 1), "r5");
  requests.Put(*queue, "r7 r3 r4");
  EXPECT_EQ(requests.GetAll(*queue), "r7 r9 r4 r3");
}

TEST_F(BufqModuleTest, AModuleInUseCannotBeUnregisteredAndComesBackWhenAskedFor) {
  auto queue = NewBufq("elevator");
  EXPECT_TRUE(absl::IsFailedPrecondition(BufqRegistry::Get().Unregister("elevator")));
  queue.reset();
  EXPECT_TRUE(BufqRegistry::Get().Unregister("elevator").ok());
  EXPECT_EQ(NewBufq("elevator")->strategy_name(), "elevator");
}

TEST_F(BufqModuleTest, WithoutAFolderNoModuleIsLoaded) {
  BufqRegistry::Get().SetModuleFolder("");
  EXPECT_TRUE(absl::IsNotFound(AllocExact("elevator")));
  EXPECT_THAT(AllocExact("elevator").message(), HasSubstr("no module folder"));
}

TEST_F(BufqModuleTest, AMissingFileIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(AllocExact("nosuch")));
  EXPECT_THAT(AllocExact("nosuch").message(), HasSubstr("nosuch.so: No such file"));
}

TEST_F(BufqModuleTest, NoNameLeadsOutOfTheFolder) {
  BufqRegistry::Get().SetModuleFolder(SLUICE_TEST_MODULES "/inner");
  for (const char* name : {"../elevator", "/elevator", "./../elevator", "..", "%2e%2e/elevator"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(AllocExact(name))) << name;
  }
  EXPECT_DEATH(LoadBufqModule(SLUICE_TEST_MODULES "/inner", "../elevator").IgnoreError(),
               "IsBufqName");
}

struct Refusal {
  const char* name;
  const char* words;
};

class BufqModuleRefused : public BufqModuleTest, public testing::WithParamInterface<Refusal> {};

TEST_P(BufqModuleRefused, SaysWhyAndLeavesNoTrace) {
  const size_t before = BufqRegistry::Get().List().size();
  const absl::Status status = AllocExact(GetParam().name);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr(std::string(GetParam().name) + ".so refused: "));
  EXPECT_THAT(status.message(), HasSubstr(GetParam().words));
  EXPECT_EQ(BufqRegistry::Get().List().size(), before);

  const auto fallback = Bufq::Alloc(GetParam().name, 0, {});
  ASSERT_TRUE(fallback.ok());
  EXPECT_EQ((*fallback)->strategy_name(), "deadline");
}

INSTANTIATE_TEST_SUITE_P(
    , BufqModuleRefused,
    testing::Values(Refusal{"bad_version", "ABI version 2, needed 1"},
                    Refusal{"bad_size", "bio of 192 bytes, needed 128"},
                    Refusal{"bad_symbol", "undefined symbol: sluice_bufq_module"},
                    Refusal{"bad_name", "another name than the file"},
                    Refusal{"bad_make", "lacks a name, a summary or a make function"},
                    Refusal{"bad_link", "undefined symbol"}, Refusal{"bad_file", "file too short"},
                    Refusal{"bad_folder", "not a regular file"}),
    [](const auto& refusal) { return std::string(refusal.param.name); });

}  // namespace
}  // namespace sluice
