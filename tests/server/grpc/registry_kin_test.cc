// SPDX-License-Identifier: Apache-2.0
// Who else may write: exports that share bytes, and NBD connections. "first" and "second" are two
// slices of "base".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/grpc/registry_fixture.h"

namespace sluice::rpc {
namespace {

class RegistryKinTest : public RegistryTest {
 protected:
  static OpenAsk At(const std::string& name, const std::string& client,
                    Mode mode = Mode::kReadWrite, uint64_t epoch = 0) {
    OpenAsk ask = Ask(client, mode);
    ask.export_name = name;
    ask.epoch = epoch;
    return ask;
  }
};

TEST_F(RegistryKinTest, AnExclusiveSessionKeepsTheWritersOfItsKinOut) {
  Opened(At("first", "a"));
  EXPECT_EQ(Refused(At("base", "b")), Reason::kMountConflict);
  EXPECT_EQ(Refused(At("base", "b", Mode::kReadWriteShared)), Reason::kMountConflict);
  Opened(At("base", "b", Mode::kReadOnly));
  EXPECT_FALSE(SitDown("base"));
}

TEST_F(RegistryKinTest, SlicesThatShareNothingAreNotInEachOthersWay) {
  Opened(At("first", "a"));
  Opened(At("second", "b"));
  EXPECT_FALSE(SitDown("second"));
  EXPECT_TRUE(SitDown("disk"));
}

TEST_F(RegistryKinTest, NbdConnectionsOfKinAreInTheWay) {
  EXPECT_TRUE(SitDown("second"));
  EXPECT_EQ(Refused(At("base", "a")), Reason::kMountConflict);
  EXPECT_FALSE(exported("base").exclusion.taken());
  Opened(At("first", "a"));
}

TEST_F(RegistryKinTest, ATakeoverFencesKinSessionsAndCutsKinConnections) {
  const OpenAnswer first = Opened(At("first", "a"));
  ASSERT_TRUE(SitDown("disk"));
  Opened(Forced(At("base", "b")));
  EXPECT_EQ(Write(first, 1, 0).reason, Reason::kStaleEpoch);
  EXPECT_FALSE(SitDown("first"));
}

TEST_F(RegistryKinTest, ATakeoverWaitsForWhatAKinHasAtTheDisk) {
  const OpenAnswer first = Opened(At("first", "a"));
  Write(first, 1, 0);
  disk_->StartAll();
  const auto base = Open(Forced(At("base", "b")));
  EXPECT_FALSE(base->has_value());
  disk_->EndStarted();
  Turn();
  EXPECT_TRUE(base->has_value());
}

TEST_F(RegistryKinTest, OpeningsOfKinComeOneAfterTheOtherAndOfOthersAtOnce) {
  epochs_.hold = true;
  const auto first = Open(At("first", "a"));
  const auto base = Open(At("base", "b"));
  const auto second = Open(At("second", "c"));  // behind "base", which is its kin
  epochs_.hold = false;
  const auto disk = Open(At("disk", "d"));
  EXPECT_TRUE(disk->has_value());
  EXPECT_FALSE(base->has_value());
  EXPECT_FALSE(second->has_value());
  epochs_.Answer(absl::OkStatus());
  Turn();
  EXPECT_EQ((*first)->refused, Reason::kNone);
  EXPECT_EQ((*base)->refused, Reason::kMountConflict);
  EXPECT_EQ((*second)->refused, Reason::kNone);
}

TEST_F(RegistryKinTest, AWriterOfAKinSpendsTheEpoch) {
  const OpenAnswer first = Opened(At("first", "a"));
  Close(first);
  Close(Opened(At("base", "b")));
  EXPECT_EQ(Refused(At("first", "a", Mode::kReadWrite, first.epoch)), Reason::kStaleEpoch);
}

TEST_F(RegistryKinTest, AnNbdWriterSpendsTheEpoch) {
  const OpenAnswer old = Opened(At("disk", "a"));
  Close(old);
  EXPECT_TRUE(SitDown("disk"));
  nbd_.clear();
  EXPECT_EQ(Refused(At("disk", "a", Mode::kReadWrite, old.epoch)), Reason::kStaleEpoch);
  const OpenAnswer fresh = Opened(At("disk", "a"));
  Close(fresh);
  Opened(At("disk", "a", Mode::kReadWrite, fresh.epoch));  // nobody came between
}

TEST_F(RegistryKinTest, NbdWritersSpendAnEpochOnce) {
  EXPECT_TRUE(SitDown("disk"));
  EXPECT_EQ(epochs_.Current("disk"), 0u);  // none to spend
  nbd_.clear();
  Close(Opened(At("disk", "a")));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(SitDown("disk"));
  EXPECT_EQ(epochs_.Current("disk"), 2u);
}

TEST_F(RegistryKinTest, AnEpochGrantedBesideNbdIsSpentAlready) {
  ASSERT_TRUE(SitDown("beside"));
  const OpenAnswer session = Opened(At("beside", "a"));
  EXPECT_EQ(Write(session, 1, 0).reason, std::nullopt);  // it is good in its session
  Serve();
  EXPECT_EQ(Refused(At("beside", "a", Mode::kReadWrite, session.epoch)), Reason::kStaleEpoch);
}

TEST_F(RegistryKinTest, AnNbdWriterThatComesWhileAnOpeningWaitsIsSeen) {
  const OpenAnswer old = Opened(At("disk", "a", Mode::kReadWriteShared));
  Write(old, 1, 0);
  disk_->StartAll();
  EXPECT_EQ(Close(old), std::nullopt);
  const auto fresh = Open(At("disk", "a", Mode::kReadWriteShared, old.epoch));
  EXPECT_FALSE(fresh->has_value());  // its predecessor is not at rest
  ASSERT_TRUE(SitDown("disk"));
  disk_->EndStarted();
  Turn();
  EXPECT_EQ((*fresh)->refused, Reason::kStaleEpoch);
}

TEST_F(RegistryKinTest, NoNbdWriterIsLetInWhenTheEpochCannotBeMadeDurable) {
  Close(Opened(At("disk", "a")));
  epochs_.fail = true;
  EXPECT_FALSE(SitDown("disk"));
  epochs_.fail = false;
  EXPECT_TRUE(SitDown("disk"));
}

}  // namespace
}  // namespace sluice::rpc
