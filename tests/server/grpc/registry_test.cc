// SPDX-License-Identifier: Apache-2.0
// Who may hold an export: admission, takeover, leases and epochs, in simulated time on two manual
// reactors. The registry lives on reactor 0, the disk on reactor 1.
#include "server/grpc/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "core/units.h"
#include "tests/server/held_target.h"

namespace sluice::rpc {
namespace {

// Durable when the test says so.
class FakeEpochs final : public Epochs {
 public:
  uint64_t Current(const std::string& name) const override {
    const auto found = epochs.find(name);
    return found == epochs.end() ? 0 : found->second;
  }
  void Raise(const std::string& name, uint64_t epoch, Done done) override {
    EXPECT_GT(epoch, Current(name));
    epochs[name] = epoch;
    waiting.push_back(std::move(done));
    if (!hold) Answer(absl::OkStatus());
  }
  void Answer(const absl::Status& status) {
    for (Done& done : std::exchange(waiting, {})) done(status);
  }

  std::map<std::string, uint64_t> epochs;
  std::vector<Done> waiting;
  bool hold = false;
};

// A unary call's end at the session.
class Caller final : public Party {
 public:
  void OnResult(const OpResult& result, const Bio*) noexcept override { reason = result.reason; }
  void OnTaken() noexcept override {}
  void OnClosed(Reason why) noexcept override { reason = why; }
  OpRequest op;
  std::optional<Reason> reason;
};

class RegistryTest : public testing::Test {
 protected:
  static constexpr uint64_t kLeaseNs = 30 * kSecond;

  ~RegistryTest() override {
    bool drained = false;
    reactors_.at(0).Post([&] { registry_->Drain([&] { drained = true; }); });
    for (int i = 0; i < 4; ++i) Serve();
    EXPECT_TRUE(drained);
    callers_.clear();
  }

  static OpenAsk Ask(const std::string& client, Mode mode = Mode::kReadWrite) {
    OpenAsk ask;
    ask.export_name = "disk";
    ask.client_id = client;
    ask.mode = mode;
    return ask;
  }
  static OpenAsk Forced(OpenAsk ask) {
    ask.force = true;
    return ask;
  }
  // The answer, if there is one yet.
  std::shared_ptr<std::optional<OpenAnswer>> Open(const OpenAsk& ask) {
    auto answer = std::make_shared<std::optional<OpenAnswer>>();
    reactors_.at(0).Post([this, ask, answer] {
      registry_->Open(ask, [answer](OpenAnswer said) { *answer = std::move(said); });
    });
    Turn();
    return answer;
  }
  OpenAnswer Opened(const OpenAsk& ask) {
    const auto answer = Open(ask);
    EXPECT_TRUE(answer->has_value());
    if (!answer->has_value()) return OpenAnswer();
    EXPECT_EQ((*answer)->refused, Reason::kNone) << (*answer)->text;
    return **answer;
  }
  Reason Refused(const OpenAsk& ask) {
    const auto answer = Open(ask);
    return answer->has_value() ? (*answer)->refused : Reason::kNone;
  }
  // A write in that session; its result when it is there.
  Caller& Write(const OpenAnswer& session, uint64_t op_id, uint64_t offset) {
    callers_.push_back(std::make_unique<Caller>());
    Caller& caller = *callers_.back();
    caller.op = {op_id, Op::kWrite, 0, offset, 4096, data_.data()};
    auto found = registry_->Find(session.session_id, session.epoch);
    if (found.refused != Reason::kNone) {
      caller.reason = found.refused;
      return caller;
    }
    Reactor& home = found.session->reactor();
    home.Post([&caller, session = std::move(found.session)] {
      session->Submit(caller, std::span(&caller.op, 1));
    });
    Turn();
    return caller;
  }
  Reason KeepAlive(const OpenAnswer& session) {
    Reason answer = Reason::kIoError;
    reactors_.at(0).Post([&] {
      registry_->KeepAlive(session.session_id, session.epoch,
                           [&](Reason reason, uint64_t) { answer = reason; });
    });
    Turn();
    return answer;
  }
  std::optional<Reason> Close(const OpenAnswer& session) {
    auto answer = std::make_shared<std::optional<Reason>>();
    reactors_.at(0).Post([this, session, answer] {
      registry_->Close(session.session_id, session.epoch, [answer](Reason r) { *answer = r; });
    });
    Turn();
    return *answer;
  }
  void Turn() {
    for (int i = 0; i < 40; ++i) {
      reactors_.at(0).Turn();
      reactors_.at(1).Turn();
    }
  }
  void Serve() {
    disk_->StartAll();
    disk_->EndStarted();
    Turn();
  }
  void Advance(uint64_t ns) {
    clock_.Advance(ns);
    Turn();
  }
  const Export& exported() { return static_cast<const Export&>(*exports_->Find("disk")); }

  ManualClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(std::make_unique<ManualPoller>());
                         pollers.push_back(std::make_unique<ManualPoller>());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{1024, 4 * kMiB, 0}};
  std::unique_ptr<HeldTarget> disk_ = std::make_unique<HeldTarget>(reactors_.at(1), 64 * kMiB);
  std::unique_ptr<ExportTable> exports_ = [this] {
    ExportConfig config;
    config.name = config.volume = "disk";
    ExportConfig beside = config;
    beside.name = "beside";
    beside.nbd_excluded = false;
    return std::make_unique<ExportTable>(
        std::vector<ExportTable::Entry>{{config, disk_.get()}, {beside, disk_.get()}}, "disk");
  }();
  FakeEpochs epochs_;
  std::vector<Exclusion::Seat> nbd_;  // its connections
  int settled_ = 0;                   // times the NBD door was asked
  std::unique_ptr<Registry> registry_ =
      std::make_unique<Registry>(reactors_, reactors_.at(0), *exports_, epochs_,
                                 Registry::Options{kLeaseNs, 8, SessionOptions()},
                                 [this](const Export&, bool all, absl::AnyInvocable<void()> done) {
                                   ++settled_;
                                   if (all) nbd_.clear();
                                   reactors_.at(0).Post(std::move(done));
                                 });
  std::string data_ = std::string(4096, 'x');
  std::vector<std::unique_ptr<Caller>> callers_;
};

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
  Caller& at_disk = Write(old, 1, 0);
  disk_->StartAll();
  Caller& queued = Write(old, 2, 4096);
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
}

TEST_F(RegistryTest, ADrainAnswersAndEndsEverySession) {
  const OpenAnswer session = Opened(Ask("a"));
  Caller& caller = Write(session, 1, 0);
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
