// SPDX-License-Identifier: Apache-2.0
// A keeper's decisions, with a kernel and a server that are made of socket pairs, and time that
// passes when told.
#include "client/attach/keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>

#include "core/units.h"
#include "proto/nbd.h"

namespace sluice::attach {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint16_t kFlags = nbd::kHasFlags | nbd::kSendFlush | nbd::kCanMultiConn;

class FakeKernel : public Kernel {
 public:
  absl::StatusOr<uint32_t> Connect(std::optional<uint32_t>, const Device&, const Patience&,
                                   const std::string&, std::span<const int>) override {
    return absl::InternalError("a keeper makes no device");
  }
  absl::Status Reconfigure(uint32_t index, const std::string& identifier,
                           const Change& change) override {
    EXPECT_EQ(index, 5U);
    EXPECT_EQ(identifier, "sluice uri");
    if (!configured) return absl::NotFoundError("not attached");
    const size_t taken = std::min(change.sockets.size(), places);
    places -= taken;
    sockets += taken;
    ignored += change.sockets.size() - taken;
    if (change.size_bytes) sizes.push_back(*change.size_bytes);
    return absl::OkStatus();
  }
  absl::Status Disconnect(uint32_t) override {
    ++disconnects;
    return absl::OkStatus();
  }
  bool InUse(uint32_t) override { return in_use; }
  int TakeDeadLinks(uint32_t) override { return std::exchange(untold, 0); }

  // It sees that connections have ended.
  void HoldsForDead(int connections) {
    places += static_cast<size_t>(connections);
    untold += connections;
  }

  bool configured = true;
  bool in_use = false;
  size_t places = 0;   // of connections it holds for dead
  int untold = 0;      // of these, what it has not told yet
  size_t sockets = 0;  // given in place of dead ones
  size_t ignored = 0;  // given when there was no place
  std::vector<uint64_t> sizes;
  int disconnects = 0;
};

class FakeServer : public Dialer {
 public:
  explicit FakeServer(FakeKernel& kernel) : kernel_(kernel) {}
  absl::StatusOr<Dialed> Dial() override {
    ++dials;
    if (!reachable) return absl::UnavailableError("connection refused");
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ends.push_back(pair[1]);
    return Dialed{.socket = Socket(pair[0]), .geometry = geometry};
  }
  absl::StatusOr<Geometry> Ask() override {
    ++asked;
    if (!reachable) return absl::UnavailableError("connection refused");
    return geometry;
  }
  // The driver sees it as soon as we do.
  void Stop() {
    kernel_.HoldsForDead(static_cast<int>(ends.size()));
    StopUnseen();
  }
  void StopUnseen() {
    reachable = false;
    for (const int end : ends) close(end);
    ends.clear();
  }
  void Cut(size_t connection) {
    kernel_.HoldsForDead(1);
    close(ends[connection]);
    ends.erase(ends.begin() + static_cast<std::ptrdiff_t>(connection));
  }
  ~FakeServer() override { StopUnseen(); }

  bool reachable = true;
  Geometry geometry{.size_bytes = kMiB, .min_block_bytes = 1, .flags = kFlags};
  std::vector<int> ends;
  int dials = 0;
  int asked = 0;

 private:
  FakeKernel& kernel_;
};

class AttachKeeper : public ::testing::Test {
 protected:
  using Verdict = Keeper::Verdict;

  void Begin(uint32_t connections, uint64_t give_up_ns = 60 * kSecond) {
    Attachment attachment{.index = 5,
                          .identifier = "sluice uri",
                          .device = {.size_bytes = kMiB,
                                     .block_bytes = 512,
                                     .connections = connections,
                                     .flags = kFlags},
                          .links = {}};
    for (uint32_t i = 0; i < connections; ++i)
      attachment.links.push_back(std::move(server_.Dial()->socket));
    BeginWith(std::move(attachment), give_up_ns);
  }
  void BeginWith(Attachment attachment, uint64_t give_up_ns = 60 * kSecond) {
    keeper_.emplace(
        kernel_, server_, std::move(attachment),
        Keeper::Limits{.give_up_ns = give_up_ns, .poll_ns = 10 * kSecond},
        [this](const std::string& text) { said_.push_back(text); }, now_);
    server_.dials = 0;
  }
  // Lets time pass, stepping whenever the keeper wants to be stepped.
  Verdict Pass(uint64_t ns) {
    const uint64_t end = now_ + ns;
    for (;;) {
      if (const Verdict verdict = keeper_->Step(now_); verdict != Verdict::kKeep) return verdict;
      if (keeper_->wake_ns() > end) break;
      EXPECT_GT(keeper_->wake_ns(), now_) << "the keeper spins";
      now_ = std::max(keeper_->wake_ns(), now_ + 1);
    }
    now_ = end;
    return keeper_->Step(now_);
  }

  FakeKernel kernel_;
  FakeServer server_{kernel_};
  uint64_t now_ = 1000 * kSecond;
  std::vector<std::string> said_;
  std::optional<Keeper> keeper_;
};

TEST_F(AttachKeeper, AsLongAsAllIsWellItOnlyAsksForTheSize) {
  Begin(2);
  EXPECT_EQ(Pass(35 * kSecond), Verdict::kKeep);
  EXPECT_EQ(server_.asked, 3);
  EXPECT_EQ(server_.dials, 0);
  EXPECT_THAT(said_, IsEmpty());
  std::vector<pollfd> events;
  keeper_->AddEvents(events);
  EXPECT_EQ(events.size(), 2U);
}

TEST_F(AttachKeeper, ARestartedServerHasAllItsConnectionsAgainWithinASecondOfItsReturn) {
  Begin(4);
  server_.Stop();
  EXPECT_EQ(Pass(20 * kSecond), Verdict::kKeep);
  EXPECT_EQ(keeper_->live_links(), 0U);
  EXPECT_EQ(kernel_.sockets, 0U);
  server_.reachable = true;
  EXPECT_EQ(Pass(kSecond), Verdict::kKeep);
  EXPECT_EQ(keeper_->live_links(), 4U);
  EXPECT_EQ(kernel_.sockets, 4U);
  EXPECT_EQ(kernel_.disconnects, 0);
}

TEST_F(AttachKeeper, TriesGrowRareButNeverRarerThanOneASecond) {
  Begin(1);
  server_.Stop();
  Pass(30 * kSecond);
  EXPECT_GE(server_.dials, 30);
  EXPECT_LE(server_.dials, 40);
  EXPECT_EQ(std::count_if(said_.begin(), said_.end(),
                          [](const std::string& text) {
                            return text.find("cannot reconnect") != std::string::npos;
                          }),
            1);
}

TEST_F(AttachKeeper, OnlyTheConnectionThatEndedIsReplaced) {
  Begin(4);
  server_.Cut(2);
  Pass(kSecond);
  EXPECT_EQ(keeper_->live_links(), 4U);
  EXPECT_EQ(kernel_.sockets, 1U);
}

TEST_F(AttachKeeper, TheDriverGetsAMomentToSeeThatAConnectionHasEnded) {
  Begin(1);
  server_.Stop();
  server_.reachable = true;
  EXPECT_EQ(keeper_->Step(now_), Verdict::kKeep);
  EXPECT_EQ(kernel_.sockets, 0U);
  EXPECT_GE(keeper_->wake_ns(), now_ + 10 * kMillisecond);
}

TEST_F(AttachKeeper, TheDriverGetsNoSocketBeforeItHoldsAConnectionForDead) {
  Begin(2);
  server_.StopUnseen();
  server_.reachable = true;
  EXPECT_EQ(Pass(kSecond), Verdict::kKeep);
  kernel_.HoldsForDead(1);
  EXPECT_EQ(Pass(kSecond), Verdict::kKeep);
  EXPECT_EQ(keeper_->live_links(), 1U);
  EXPECT_EQ(kernel_.sockets, 1U);
  kernel_.HoldsForDead(1);
  EXPECT_EQ(Pass(kSecond), Verdict::kKeep);
  EXPECT_EQ(keeper_->live_links(), 2U);
  EXPECT_EQ(kernel_.sockets, 2U);
  EXPECT_EQ(kernel_.ignored, 0U);
}

TEST_F(AttachKeeper, WhenTheDriversWordIsLostItIsNotAwaitedForEver) {
  Begin(1);
  server_.Stop();
  server_.reachable = true;
  kernel_.untold = 0;
  EXPECT_EQ(Pass(7 * kSecond), Verdict::kKeep);
  EXPECT_EQ(keeper_->live_links(), 1U);
  EXPECT_EQ(kernel_.sockets, 1U);
}

TEST_F(AttachKeeper, ASocketThatTheDriverIgnoredIsFollowedByOneOnceThereIsAPlace) {
  Begin(1);
  server_.StopUnseen();
  server_.reachable = true;
  EXPECT_EQ(Pass(7 * kSecond), Verdict::kKeep);
  EXPECT_EQ(kernel_.ignored, 1U);
  kernel_.HoldsForDead(1);
  EXPECT_EQ(Pass(kSecond), Verdict::kKeep);
  EXPECT_EQ(keeper_->live_links(), 1U);
  EXPECT_EQ(kernel_.sockets, 1U);
}

TEST_F(AttachKeeper, GrowthIsPassedOnOnceAndAShrunkenExportIsNot) {
  Begin(1);
  server_.geometry.size_bytes = 3 * kMiB + 100;
  Pass(60 * kSecond);
  EXPECT_THAT(kernel_.sizes, ElementsAre(3 * kMiB));
  server_.geometry.size_bytes = 2 * kMiB;
  Pass(60 * kSecond);
  EXPECT_THAT(kernel_.sizes, ElementsAre(3 * kMiB));
  EXPECT_THAT(said_, Contains(HasSubstr("the export has shrunk")).Times(1));
}

TEST_F(AttachKeeper, ASuspicionIsFollowedAtOnce) {
  Begin(1);
  server_.geometry.size_bytes = 2 * kMiB;
  keeper_->Suspect();
  EXPECT_EQ(keeper_->Step(now_), Verdict::kKeep);
  EXPECT_THAT(kernel_.sizes, ElementsAre(2 * kMiB));
}

TEST_F(AttachKeeper, AnExportThatGrewWhileItWasGoneGrowsWithItsConnections) {
  Begin(2);
  server_.Stop();
  server_.geometry.size_bytes = 2 * kMiB;
  server_.reachable = true;
  Pass(kSecond);
  EXPECT_THAT(kernel_.sizes, ElementsAre(2 * kMiB));
  EXPECT_EQ(keeper_->device().size_bytes, 2 * kMiB);
}

TEST_F(AttachKeeper, AnotherGeometryIsNotConnectedToUntilTheRightOneIsBack) {
  Begin(1);
  server_.Stop();
  server_.reachable = true;
  server_.geometry.size_bytes = kMiB / 2;
  EXPECT_EQ(Pass(20 * kSecond), Verdict::kKeep);
  EXPECT_EQ(kernel_.sockets, 0U);
  EXPECT_THAT(said_, Contains(HasSubstr("shrunk")));
  server_.geometry.size_bytes = kMiB;
  EXPECT_EQ(Pass(kSecond), Verdict::kKeep);
  EXPECT_EQ(kernel_.sockets, 1U);
}

TEST_F(AttachKeeper, AServerGoneForTooLongIsGivenUpAndTheDeviceDisconnected) {
  Begin(2, /*give_up_ns=*/30 * kSecond);
  server_.Stop();
  EXPECT_EQ(Pass(29 * kSecond), Verdict::kKeep);
  EXPECT_EQ(Pass(2 * kSecond), Verdict::kGaveUp);
  EXPECT_EQ(kernel_.disconnects, 1);
  EXPECT_THAT(said_.back(), HasSubstr("EIO"));
}

TEST_F(AttachKeeper, AServerIsNotGivenUpWhileOneConnectionLives) {
  Begin(2, /*give_up_ns=*/30 * kSecond);
  server_.Cut(0);
  server_.reachable = false;
  EXPECT_EQ(Pass(300 * kSecond), Verdict::kKeep);
}

TEST_F(AttachKeeper, NeverGivingUpIsPossible) {
  Begin(1, UINT64_MAX);
  server_.Stop();
  EXPECT_EQ(Pass(7200 * kSecond), Verdict::kKeep);
}

TEST_F(AttachKeeper, ADeviceDetachedByOthersIsLeftAlone) {
  Begin(1);
  server_.Stop();
  kernel_.configured = false;
  EXPECT_EQ(Pass(kSecond), Verdict::kDetached);
  EXPECT_EQ(kernel_.disconnects, 0);
  EXPECT_EQ(server_.dials, 0);
}

TEST_F(AttachKeeper, ADeviceThatIsSomebodyElsesByNowIsNotDetached) {
  Begin(1);
  kernel_.configured = false;
  keeper_->Stop(/*force=*/true);
  EXPECT_EQ(keeper_->Step(now_), Verdict::kDetached);
  EXPECT_EQ(kernel_.disconnects, 0);
  EXPECT_THAT(said_.back(), HasSubstr("by somebody else"));
}

TEST_F(AttachKeeper, StopDetachesAtOnceWhatNobodyUses) {
  Begin(2);
  keeper_->Stop(/*force=*/false);
  EXPECT_EQ(keeper_->Step(now_), Verdict::kDetached);
  EXPECT_EQ(kernel_.disconnects, 1);
}

TEST_F(AttachKeeper, StopWaitsForTheDevicesUsersAndGoesOnKeepingMeanwhile) {
  Begin(1);
  kernel_.in_use = true;
  keeper_->Stop(/*force=*/false);
  EXPECT_EQ(Pass(5 * kSecond), Verdict::kKeep);
  server_.Stop();
  server_.reachable = true;
  EXPECT_EQ(Pass(5 * kSecond), Verdict::kKeep);
  EXPECT_EQ(kernel_.sockets, 1U);
  EXPECT_EQ(kernel_.disconnects, 0);
  kernel_.in_use = false;
  EXPECT_EQ(Pass(kSecond), Verdict::kDetached);
}

TEST_F(AttachKeeper, AForcedStopWaitsForNobody) {
  Begin(1);
  kernel_.in_use = true;
  keeper_->Stop(/*force=*/false);
  EXPECT_EQ(Pass(5 * kSecond), Verdict::kKeep);
  keeper_->Stop(/*force=*/true);
  EXPECT_EQ(keeper_->Step(now_), Verdict::kDetached);
}

TEST_F(AttachKeeper, OfALinkItNeverMadeTheDriverTellsTheEnd) {
  Attachment attachment{
      .index = 5,
      .identifier = "sluice uri",
      .device = {.size_bytes = kMiB, .block_bytes = 512, .connections = 2, .flags = kFlags},
      .links = {}};
  attachment.links.resize(2);
  BeginWith(std::move(attachment));
  Pass(kSecond);
  EXPECT_EQ(keeper_->live_links(), 2U);
  kernel_.HoldsForDead(1);
  Pass(kSecond);
  EXPECT_EQ(keeper_->live_links(), 2U);
  EXPECT_EQ(kernel_.sockets, 1U);
}

TEST_F(AttachKeeper, AnEndThatBothTellIsOneEnd) {
  Attachment attachment{
      .index = 5,
      .identifier = "sluice uri",
      .device = {.size_bytes = kMiB, .block_bytes = 512, .connections = 2, .flags = kFlags},
      .links = {}};
  attachment.links.push_back(std::move(server_.Dial()->socket));
  attachment.links.emplace_back();
  BeginWith(std::move(attachment));
  server_.Cut(0);
  Pass(kSecond);
  EXPECT_EQ(kernel_.sockets, 1U);
}

}  // namespace
}  // namespace sluice::attach
