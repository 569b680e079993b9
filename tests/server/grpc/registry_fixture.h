// SPDX-License-Identifier: Apache-2.0
// A registry in simulated time on two manual reactors. It lives on reactor 0, the disk on reactor
// 1.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "server/grpc/registry.h"
#include "tests/server/held_target.h"

namespace sluice::rpc {

// Durable when the test says so.
class FakeEpochs final : public Epochs {
 public:
  uint64_t Current(const std::string& name) const override {
    const auto found = epochs.find(name);
    return found == epochs.end() ? 0 : found->second;
  }
  void Raise(const std::map<std::string, uint64_t>& to, Done done) override {
    for (const auto& [name, epoch] : to) {
      EXPECT_GT(epoch, Current(name));
      epochs[name] = epoch;
    }
    if (hold) return waiting.push_back(std::move(done));
    done(fail ? absl::DataLossError("no space") : absl::OkStatus());
  }
  void Answer(const absl::Status& status) {
    for (Done& done : std::exchange(waiting, {})) done(status);
  }

  std::map<std::string, uint64_t> epochs;
  std::vector<Done> waiting;
  bool hold = false;
  bool fail = false;
};

// A unary call's end at the session.
class UnaryParty final : public Party {
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
    ask.identity.kind = Identity::Kind::kUnixSocket;
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
  UnaryParty& Write(const OpenAnswer& session, uint64_t op_id, uint64_t offset) {
    callers_.push_back(std::make_unique<UnaryParty>());
    UnaryParty& caller = *callers_.back();
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
  const Export& exported(const std::string& name = "disk") {
    return static_cast<const Export&>(*exports_->Find(name));
  }
  // An NBD connection to that export: refused, or with a seat and announced.
  bool SitDown(const std::string& name) {
    Exclusion::Seat seat = SitAt(KinOf(*exports_, exported(name)));
    if (!seat) return false;
    nbd_.push_back(std::move(seat));
    bool may = false;
    reactors_.at(0).Post([&] {
      registry_->OnNbdWriter(exported(name).shared_from_this(), [&](bool said) { may = said; });
    });
    Turn();
    return may;
  }

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
    beside.name = beside.volume = "beside";
    beside.nbd_excluded = false;
    // Two volumes over one disk, by name at least.
    std::vector<ExportTable::Entry> entries{{config, disk_.get()},
                                            {beside, disk_.get(), nullptr, {"beside"}}};
    for (const std::string name : {"base", "first", "second"}) {
      config.name = config.volume = name;
      entries.push_back({config, disk_.get(), nullptr, {name, "base"}});
    }
    return std::make_unique<ExportTable>(entries, "disk");
  }();
  FakeEpochs epochs_;
  std::vector<Exclusion::Seat> nbd_;  // its connections
  bool stay_ = false;                 // those that are cut have not left yet
  int settled_ = 0;                   // times the NBD door was asked
  std::unique_ptr<Registry> registry_ =
      std::make_unique<Registry>(reactors_, reactors_.at(0), *exports_, epochs_,
                                 Registry::Options{kLeaseNs, 8, SessionOptions()},
                                 [this](const Export&, bool all, absl::AnyInvocable<void()> done) {
                                   ++settled_;
                                   if (all && !stay_) nbd_.clear();
                                   reactors_.at(0).Post(std::move(done));
                                 });
  std::string data_ = std::string(4096, 'x');
  std::vector<std::unique_ptr<UnaryParty>> callers_;
};

}  // namespace sluice::rpc
