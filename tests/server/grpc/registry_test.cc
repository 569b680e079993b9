// SPDX-License-Identifier: Apache-2.0
// Who may hold an export: admission, takeover, leases and epochs.
#include "server/grpc/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/grpc/registry_fixture.h"

namespace sluice::rpc {
namespace {

TEST_F(RegistryTest, AWriterGetsTheNextEpoch) {
  EXPECT_EQ(Opened(Ask("a", Mode::kReadWriteShared)).epoch, 1u);
  EXPECT_EQ(Opened(Ask("b", Mode::kReadWriteShared)).epoch, 2u);
  EXPECT_EQ(Opened(Ask("c", Mode::kReadOnly)).epoch, 2u);
}

TEST_F(RegistryTest, NothingIsGrantedBeforeTheEpochIsDurable) {
  epochs_.hold = true;
  const auto answer = Open(Ask("a"));
  EXPECT_FALSE(answer->has_value());
  epochs_.Answer(absl::OkStatus());
  Turn();
  EXPECT_EQ((*answer)->refused, Reason::kNone);
}

TEST_F(RegistryTest, AnEpochThatCannotBeMadeDurableIsNotGranted) {
  epochs_.hold = true;
  const auto answer = Open(Ask("a"));
  epochs_.Answer(absl::DataLossError("no space"));
  Turn();
  EXPECT_EQ((*answer)->refused, Reason::kIoError);
  epochs_.hold = false;
  EXPECT_GT(Opened(Ask("a")).epoch, 1u);
}

TEST_F(RegistryTest, ASecondWriterIsRefusedAndToldWhoHoldsIt) {
  Opened(Ask("a"));
  Advance(10 * kSecond);
  const auto answer = Open(Ask("b"));
  EXPECT_EQ((*answer)->refused, Reason::kMountConflict);
  EXPECT_EQ((*answer)->holder, "a");
  EXPECT_NEAR(static_cast<double>((*answer)->holder_lease_ms), 20'000, 500);
}

TEST_F(RegistryTest, TheModesThatGoTogether) {
  Opened(Ask("a", Mode::kReadWriteShared));
  Opened(Ask("b", Mode::kReadWriteShared));
  Opened(Ask("c", Mode::kReadOnly));
  EXPECT_EQ(Refused(Ask("d", Mode::kReadWrite)), Reason::kMountConflict);
}

TEST_F(RegistryTest, AReaderIsInNobodysWay) {
  Opened(Ask("a", Mode::kReadOnly));
  Opened(Ask("b", Mode::kReadWrite));
  Opened(Ask("c", Mode::kReadOnly));
  EXPECT_EQ(Refused(Ask("d", Mode::kReadWriteShared)), Reason::kMountConflict);
}

TEST_F(RegistryTest, ATakeoverWaitsForWhatTheOldHolderHasAtTheDisk) {  // promise 6
  const OpenAnswer old = Opened(Ask("a"));
  UnaryParty& at_disk = Write(old, 1, 0);
  disk_->StartAll();
  UnaryParty& queued = Write(old, 2, 4096);
  const auto fresh = Open(Forced(Ask("b")));
  EXPECT_FALSE(fresh->has_value());
  EXPECT_EQ(disk_->queued(), 0u);  // cancelled
  disk_->EndStarted();
  Turn();
  ASSERT_TRUE(fresh->has_value());
  EXPECT_EQ((*fresh)->refused, Reason::kNone);
  EXPECT_EQ(at_disk.reason, Reason::kStaleEpoch);
  EXPECT_EQ(queued.reason, Reason::kStaleEpoch);
}

TEST_F(RegistryTest, AFencedSessionWritesNothingMore) {
  const OpenAnswer old = Opened(Ask("a"));
  const OpenAnswer fresh = Opened(Forced(Ask("b")));
  EXPECT_GT(fresh.epoch, old.epoch);
  EXPECT_EQ(Write(old, 1, 0).reason, Reason::kStaleEpoch);
  EXPECT_EQ(KeepAlive(old), Reason::kStaleEpoch);
  EXPECT_TRUE(disk_->offsets().empty());
}

TEST_F(RegistryTest, AWrongEpochIsStale) {
  OpenAnswer session = Opened(Ask("a"));
  ++session.epoch;
  EXPECT_EQ(Write(session, 1, 0).reason, Reason::kStaleEpoch);
}

TEST_F(RegistryTest, ASessionThatNeverWasIsLost) {
  OpenAnswer session;
  session.session_id = std::string(16, 'x');
  session.epoch = 1;
  EXPECT_EQ(Write(session, 1, 0).reason, Reason::kSessionLost);
  EXPECT_EQ(KeepAlive(session), Reason::kSessionLost);
  EXPECT_EQ(Close(session), Reason::kSessionLost);
}

TEST_F(RegistryTest, AClientTakesItsOwnSessionOverWithoutWaiting) {
  const OpenAnswer old = Opened(Ask("a"));
  const OpenAnswer fresh = Opened(Ask("a"));
  EXPECT_EQ(Write(old, 1, 0).reason, Reason::kStaleEpoch);
  EXPECT_EQ(fresh.epoch, old.epoch + 1);
}

TEST_F(RegistryTest, AnEpochPresentedMustBeTheNewest) {
  const OpenAnswer first = Opened(Ask("a"));
  OpenAsk again = Ask("a");
  again.epoch = first.epoch;
  EXPECT_EQ(Opened(again).epoch, first.epoch + 1);
  EXPECT_EQ(Refused(again), Reason::kStaleEpoch);
}

TEST_F(RegistryTest, ALeaseThatIsNotRenewedEnds) {
  const OpenAnswer session = Opened(Ask("a"));
  Advance(20 * kSecond);
  EXPECT_EQ(KeepAlive(session), Reason::kNone);
  Advance(20 * kSecond);
  EXPECT_EQ(Refused(Ask("b")), Reason::kMountConflict);
  Advance(11 * kSecond);
  EXPECT_EQ(KeepAlive(session), Reason::kSessionLost);
  Opened(Ask("b"));
}

TEST_F(RegistryTest, AnOpRenewsTheLease) {
  const OpenAnswer session = Opened(Ask("a"));
  Advance(20 * kSecond);
  Write(session, 1, 0);
  Serve();
  Advance(20 * kSecond);
  EXPECT_EQ(Refused(Ask("b")), Reason::kMountConflict);
}

TEST_F(RegistryTest, CloseWaitsForWhatIsUnderWay) {
  const OpenAnswer session = Opened(Ask("a"));
  Write(session, 1, 0);
  disk_->StartAll();
  EXPECT_EQ(Close(session), std::nullopt);
  const auto next = Open(Ask("b"));
  EXPECT_FALSE(next->has_value());  // not before that is at rest
  disk_->EndStarted();
  Turn();
  EXPECT_TRUE(next->has_value());
}

TEST_F(RegistryTest, ARevokedSessionIsFenced) {
  const OpenAnswer session = Opened(Ask("a"));
  std::optional<Reason> answer;
  reactors_.at(0).Post([&] {
    registry_->Revoke(registry_->List().front().handle, [&](Reason reason) { answer = reason; });
  });
  Turn();
  EXPECT_EQ(answer, Reason::kNone);
  EXPECT_EQ(Write(session, 1, 0).reason, Reason::kStaleEpoch);
}

TEST_F(RegistryTest, OpeningsOfOneExportComeOneAfterTheOther) {
  epochs_.hold = true;
  const auto first = Open(Ask("a"));
  const auto second = Open(Ask("b"));
  EXPECT_FALSE(second->has_value());
  epochs_.hold = false;
  epochs_.Answer(absl::OkStatus());
  Turn();
  EXPECT_EQ((*first)->refused, Reason::kNone);
  EXPECT_EQ((*second)->refused, Reason::kMountConflict);
}

TEST_F(RegistryTest, NbdConnectionsAndAnExclusiveSessionKeepEachOtherOut) {
  nbd_.push_back(exported().exclusion.Sit());
  EXPECT_EQ(Refused(Ask("a")), Reason::kMountConflict);
  nbd_.clear();
  const OpenAnswer session = Opened(Ask("a"));
  EXPECT_FALSE(exported().exclusion.Sit());
  Write(session, 1, 0);
  disk_->StartAll();
  EXPECT_EQ(Close(session), std::nullopt);
  EXPECT_FALSE(exported().exclusion.Sit());  // not before its last write is done
  disk_->EndStarted();
  Turn();
  EXPECT_TRUE(exported().exclusion.Sit());
}

TEST_F(RegistryTest, ATakeoverCutsNbdConnections) {
  nbd_.push_back(exported().exclusion.Sit());
  Opened(Forced(Ask("a")));
  EXPECT_TRUE(nbd_.empty());
  EXPECT_FALSE(exported().exclusion.Sit());
}

TEST_F(RegistryTest, ATakeoverLooksForConnectionsThatAreLeavingNowAndThen) {
  ASSERT_TRUE(SitDown("disk"));
  stay_ = true;
  const auto answer = Open(Forced(Ask("a")));
  EXPECT_LE(settled_, 2);
  Advance(10 * kMillisecond);
  EXPECT_FALSE(answer->has_value());
  EXPECT_LE(settled_, 3);
  stay_ = false;
  Advance(10 * kMillisecond);
  Advance(10 * kMillisecond);
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->refused, Reason::kNone);
}

TEST_F(RegistryTest, ASharedSessionStandsBesideNbd) {
  nbd_.push_back(exported().exclusion.Sit());
  Opened(Ask("a", Mode::kReadWriteShared));
  EXPECT_TRUE(exported().exclusion.Sit());
  EXPECT_EQ(settled_, 1);  // its dead connections were settled first
  nbd_.clear();
}

TEST_F(RegistryTest, AnExportMayLetNbdStandBesideAnExclusiveSession) {
  OpenAsk ask = Ask("a");
  ask.export_name = "beside";
  Opened(ask);
  EXPECT_TRUE(static_cast<const Export&>(*exports_->Find("beside")).exclusion.Sit());
}

TEST_F(RegistryTest, ARefusedTakeoverLeavesTheDoorToNbdOpen) {
  epochs_.hold = true;
  const auto answer = Open(Forced(Ask("a")));
  epochs_.Answer(absl::DataLossError("no space"));
  Turn();
  EXPECT_EQ((*answer)->refused, Reason::kIoError);
  EXPECT_TRUE(exported().exclusion.Sit());
}

TEST_F(RegistryTest, ASessionGoesOverToAChangedExport) {
  const OpenAnswer session = Opened(Ask("a"));
  Write(session, 1, 0);
  auto next = std::make_shared<Export>();
  next->name = "disk";
  next->size_bytes = 32 * kMiB;
  next->target = disk_.get();
  bool changed = false;
  reactors_.at(0).Post([&] { registry_->OnExportChanged(next, [&] { changed = true; }); });
  Turn();
  EXPECT_FALSE(changed);  // what it has at the disk is the old one's
  Serve();
  EXPECT_TRUE(changed);
  EXPECT_FALSE(next->exclusion.Sit());
  EXPECT_TRUE(exported().exclusion.Sit());
  EXPECT_EQ(Write(session, 2, 48 * kMiB).reason, Reason::kOutOfBounds);
  EXPECT_EQ(Close(session), Reason::kNone);
  EXPECT_TRUE(next->exclusion.Sit());
}

TEST_F(RegistryTest, SessionsHaveALimit) {
  for (int i = 0; i < 8; ++i) Opened(Ask("c" + std::to_string(i), Mode::kReadOnly));
  EXPECT_EQ(Refused(Ask("x", Mode::kReadOnly)), Reason::kOverloaded);
  Opened(Ask("c0", Mode::kReadOnly));  // takes its own over
}

TEST_F(RegistryTest, ACertificateHasAQuarterOfTheSessionsAndTakesItsOwnOver) {
  const auto by = [](const std::string& certificate, const std::string& client) {
    OpenAsk ask = Ask(client, Mode::kReadOnly);
    ask.identity = {Identity::Kind::kCertificate, certificate, false};
    return ask;
  };
  Opened(by("vm7", "a"));
  const OpenAnswer second = Opened(by("vm7", "b"));
  const auto third = Open(by("vm7", "c"));
  ASSERT_TRUE(third->has_value());
  EXPECT_EQ((*third)->refused, Reason::kOverloaded);
  EXPECT_NE((*third)->text.find("close some"), std::string::npos) << (*third)->text;
  Opened(by("vm7", "a"));
  Opened(by("vm8", "c"));
  for (int i = 0; i < 4; ++i) Opened(Ask("local" + std::to_string(i), Mode::kReadOnly));
  EXPECT_EQ(Close(second), Reason::kNone);
  Opened(by("vm7", "c"));
}

// While their epochs are made durable, none of them is a session yet.
TEST_F(RegistryTest, OpeningsOnTheirWayTogetherDoNotPassTheShare) {
  epochs_.hold = true;
  std::vector<std::shared_ptr<std::optional<OpenAnswer>>> answers;
  for (const char* name : {"disk", "beside", "base"}) {
    OpenAsk ask = Ask(name);
    ask.export_name = name;
    ask.identity = {Identity::Kind::kCertificate, "vm7", false};
    answers.push_back(Open(ask));
  }
  epochs_.Answer(absl::OkStatus());
  Turn();
  std::map<Reason, int> refused;
  for (const auto& answer : answers) ++refused[answer->value().refused];
  EXPECT_EQ(refused, (std::map<Reason, int>{{Reason::kNone, 2}, {Reason::kOverloaded, 1}}));
  epochs_.hold = false;
}

TEST_F(RegistryTest, ADrainAnswersAndEndsEverySession) {
  const OpenAnswer session = Opened(Ask("a"));
  UnaryParty& caller = Write(session, 1, 0);
  bool drained = false;
  reactors_.at(0).Post([&] { registry_->Drain([&] { drained = true; }); });
  Turn();
  EXPECT_FALSE(drained);
  EXPECT_EQ(Refused(Ask("b")), Reason::kDraining);
  Serve();
  EXPECT_EQ(caller.reason, Reason::kNone);
  EXPECT_TRUE(drained);
}

}  // namespace
}  // namespace sluice::rpc
