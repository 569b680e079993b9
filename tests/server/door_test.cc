// SPDX-License-Identifier: Apache-2.0
// Connections from their first byte to their end, over memory, on two manual reactors and a manual
// clock: admission, parking, limits, deadlines, drain.
#include "server/nbd/door.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/units.h"
#include "tests/server/held_target.h"
#include "tests/server/wire_client.h"

namespace sluice::nbd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SimpleReply Good(uint64_t cookie) { return {Error::kNone, cookie}; }

class DoorTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 64 * kMiB;

  ~DoorTest() override {
    Drain();
    for (int i = 0; i < 4 && door_->inside() > 0; ++i) {
      disk_->StartAll();
      disk_->EndStarted();
      Advance(kSecond);
    }
    EXPECT_EQ(door_->inside(), 0u);
  }

  void Drain() {
    if (std::exchange(drain_asked_, true)) return;
    door_->Drain([this] { drained_ = true; });
    Turn();
  }

  static DoorOptions Limits() {
    DoorOptions options;
    options.handshakes = 8;
    options.connections = 3;
    options.handshake_timeout_ns = 10 * kSecond;
    options.payload_timeout_ns = 30 * kSecond;
    options.requests = 4;
    return options;
  }

  void Turn() {
    for (int i = 0; i < 40; ++i) {
      reactors_.at(0).Turn();
      reactors_.at(1).Turn();
    }
  }
  void Advance(uint64_t ns) {
    clock_.Advance(ns);
    Turn();
  }

  // The first connection begins on reactor 1, the second on reactor 0, and so on.
  WireClient Connect() {
    auto wire = std::make_shared<Wire>();
    Peer peer;
    peer.text = "test";
    door_->Enter(std::make_unique<MemoryTransport>(wire), peer, door_->handshakes().Enter());
    Turn();
    return WireClient(wire);
  }
  // Past its handshake.
  WireClient Open() {
    WireClient client = Connect();
    client.Hello().Go("disk");
    Turn();
    EXPECT_THAT(client.OptionReplies(), testing::Contains(OptionReply::kAck));
    return client;
  }

  ManualClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(std::make_unique<ManualPoller>());
                         pollers.push_back(std::make_unique<ManualPoller>());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{1024, 64 * kMiB, 0}};
  std::unique_ptr<HeldTarget> disk_ = std::make_unique<HeldTarget>(reactors_.at(0), kSize);
  std::unique_ptr<ExportTable> exports_ = [this] {
    ExportConfig config;
    config.name = config.volume = "disk";
    return std::make_unique<ExportTable>(std::vector<ExportTable::Entry>{{config, disk_.get()}},
                                         "");
  }();
  std::unique_ptr<Door> door_ = std::make_unique<Door>(reactors_, *exports_, Limits(), nullptr);
  bool drain_asked_ = false;
  bool drained_ = false;
};

TEST_F(DoorTest, AConnectionIsServedOnTheHomeOfItsExport) {
  WireClient client = Open();  // its handshake ran on reactor 1, the disk lives on reactor 0
  client.Write(7, 4096, 512);
  Turn();
  ASSERT_EQ(disk_->queued(), 1u);
  EXPECT_THAT(client.Replies(), IsEmpty());
  disk_->StartAll();
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(client.Replies(), ElementsAre(Good(7)));
}

TEST_F(DoorTest, ALongAnswerIsSentInSeveralTurns) {
  WireClient client = Open();
  client.Read(1, 0, 8 * kMiB);
  Turn();
  client.wire().Take();
  disk_->StartAll();
  disk_->EndStarted();
  size_t before = 0;
  for (int i = 0; i < 40; ++i) {
    reactors_.at(0).Turn();
    EXPECT_LE(client.wire().received().size(), before + kMiB);
    before = client.wire().received().size();
  }
  EXPECT_EQ(before, kSimpleReplyBytes + 8 * kMiB);
}

TEST_F(DoorTest, RequestsSentBehindGoAreServed) {
  WireClient client = Connect();
  client.Hello().Go("disk").Write(1, 0, 512).Write(2, 512, 512);
  Turn();
  EXPECT_THAT(client.OptionReplies(), testing::Contains(OptionReply::kAck));
  disk_->StartAll();
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(client.Replies(), ElementsAre(Good(1), Good(2)));
}

// A3: a handshake has 10 s in all, however busy the client keeps it.
TEST_F(DoorTest, AHandshakeHasADeadline) {
  WireClient silent = Connect();
  WireClient busy = Connect();
  busy.Hello();
  for (int second = 0; second < 9; ++second) {
    Advance(kSecond);
    busy.Ask(Option::kList);
  }
  Advance(kSecond - 1);
  EXPECT_FALSE(silent.gone());
  EXPECT_FALSE(busy.gone());
  Advance(1);
  EXPECT_TRUE(silent.gone());
  EXPECT_TRUE(busy.gone());
  EXPECT_EQ(door_->handshakes().inside(), 0u);
}

TEST_F(DoorTest, AnEndedHandshakeKeepsItsAnswer) {
  WireClient client = Connect();
  client.Hello().Ask(Option::kAbort);
  Turn();
  EXPECT_THAT(client.OptionReplies(), ElementsAre(OptionReply::kAck));
  EXPECT_TRUE(client.wire().at_end());
  EXPECT_FALSE(client.gone());  // it waits for the peer's end
  client.wire().Close();
  Turn();
  EXPECT_TRUE(client.gone());
}

// A3: who is inside stays inside; one more is refused by policy, and served when there is room.
TEST_F(DoorTest, ConnectionsAreLimitedApartFromHandshakes) {
  std::vector<WireClient> inside;
  for (int i = 0; i < 3; ++i) inside.push_back(Open());
  WireClient more = Connect();
  more.Hello().Go("disk");
  Turn();
  EXPECT_THAT(more.OptionReplies(), ElementsAre(OptionReply::kErrPolicy));
  EXPECT_EQ(door_->places().inside(), 3u);
  inside[0].wire().Close();
  Turn();
  EXPECT_TRUE(inside[0].gone());
  more.Go("disk");
  Turn();
  EXPECT_THAT(more.OptionReplies(), testing::Contains(OptionReply::kAck));
}

// Promise 6.
TEST_F(DoorTest, NothingOfADeadConnectionFollowsItsSuccessorsAdmission) {
  WireClient old = Open();
  old.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  // Four may be outstanding, so the last two stay unread.
  old.Write(2, 512, 512).Write(3, 1024, 512).Write(4, 1536, 512);
  old.Write(5, 2048, 512).Write(6, 2560, 512);
  Turn();
  ASSERT_EQ(disk_->started(), 1u);
  ASSERT_EQ(disk_->queued(), 3u);
  old.wire().Close();
  Turn();
  ASSERT_FALSE(old.gone());  // nobody has noticed: it is not being read

  WireClient fresh = Connect();
  fresh.Hello().Go("disk");
  Turn();
  EXPECT_THAT(fresh.OptionReplies(), IsEmpty());  // one write is at the device
  EXPECT_EQ(disk_->queued(), 0u);
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(fresh.OptionReplies(), testing::Contains(OptionReply::kAck));
  EXPECT_TRUE(old.gone());
  Advance(kSecond);
  EXPECT_THAT(disk_->offsets(), ElementsAre(0, 512, 1024, 1536));  // never 2048, 2560
}

TEST_F(DoorTest, LivingConnectionsOfTheExportAreLeftAlone) {
  WireClient first = Open();
  first.Write(1, 0, 512);
  Turn();
  WireClient second = Open();
  disk_->StartAll();
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(first.Replies(), ElementsAre(Good(1)));
  EXPECT_FALSE(first.gone());
}

// Promise 6, for a connection that no reactor could look at: it was on its way.
TEST_F(DoorTest, AGhostOnItsWayIsMetOnArrival) {
  WireClient old = Connect();
  old.wire().SetWindow(kGreetingBytes + 1);  // its answer to GO is stuck
  old.Hello().Go("disk").Write(1, 0, 512);
  Turn();
  WireClient fresh = Open();
  old.wire().Close();
  old.wire().SetWindow(1 << 20);
  Turn();
  EXPECT_TRUE(old.gone());
  EXPECT_THAT(disk_->offsets(), IsEmpty());
}

TEST_F(DoorTest, AHalfClosedClientThatIsAloneIsServedToItsEnd) {
  WireClient client = Connect();
  client.Hello().Go("disk").Write(1, 0, 512);
  client.wire().Close();
  Turn();
  EXPECT_THAT(client.OptionReplies(), testing::Contains(OptionReply::kAck));
  disk_->StartAll();
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(client.Replies(), ElementsAre(Good(1)));
  EXPECT_TRUE(client.gone());
}

TEST_F(DoorTest, AnAdmissionWhoseClientGivesUpHarmsNobody) {
  WireClient old = Open();
  old.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  old.wire().Close();
  WireClient fresh = Connect();
  fresh.Hello().Go("disk");
  Turn();
  Advance(10 * kSecond);  // the device hangs for longer than the handshake may take
  EXPECT_TRUE(fresh.gone());
  EXPECT_EQ(door_->places().inside(), 1u);
  disk_->EndStarted();
  Turn();
  EXPECT_EQ(door_->places().inside(), 0u);
}

// A2: 30 s without a byte of an announced payload.
TEST_F(DoorTest, AStalledPayloadCostsItsConnection) {
  WireClient client = Open();
  Advance(100 * kSecond);
  EXPECT_FALSE(client.gone());  // an idle one may stay
  client.WriteHeader(1, 0, 512 * 1024);
  Turn();
  Advance(30 * kSecond - 1);
  EXPECT_FALSE(client.gone());
  client.wire().Write(std::string(256 * 1024, 'x'));
  Turn();
  Advance(30 * kSecond - 1);
  EXPECT_FALSE(client.gone());
  client.wire().Write("x");  // a byte now and then is no progress
  Turn();
  Advance(1);
  EXPECT_TRUE(client.gone());
  EXPECT_THAT(disk_->offsets(), IsEmpty());
}

TEST_F(DoorTest, AnAnswerThatIsNotTakenCostsItsConnection) {
  WireClient client = Open();
  client.wire().SetWindow(0);
  client.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  Advance(100 * kSecond);  // a slow disk is not the client's fault
  EXPECT_FALSE(client.gone());
  disk_->EndStarted();
  Turn();
  Advance(30 * kSecond - 1);
  EXPECT_FALSE(client.gone());
  Advance(1);
  EXPECT_TRUE(client.gone());
}

// Promise 8.
TEST_F(DoorTest, DrainFinishesWhatIsInFlightAndRefusesTheRest) {
  WireClient greeted = Connect();
  greeted.Hello();
  WireClient idle = Open();
  WireClient working = Open();
  working.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  Drain();
  EXPECT_TRUE(idle.wire().at_end());
  EXPECT_FALSE(working.wire().at_end());
  greeted.Go("disk");
  working.Write(2, 512, 512);
  Turn();
  EXPECT_THAT(greeted.OptionReplies(), ElementsAre(OptionReply::kErrShutdown));
  EXPECT_TRUE(greeted.wire().at_end());
  EXPECT_THAT(working.Replies(), ElementsAre(SimpleReply{Error::kShutdown, 2}));
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(working.Replies(), ElementsAre(Good(1)));
  EXPECT_TRUE(working.wire().at_end());
  EXPECT_FALSE(drained_);  // it reads to the peers' ends
  for (WireClient* client : {&greeted, &idle, &working}) {
    EXPECT_FALSE(client->gone());
    client->wire().Close();
  }
  Turn();
  EXPECT_TRUE(drained_);
  EXPECT_THAT(disk_->offsets(), ElementsAre(0));
}

TEST_F(DoorTest, DrainWaitsASecondForAPeerThatDoesNotClose) {
  WireClient greeted = Connect();
  WireClient idle = Open();
  Drain();
  Advance(kSecond - 1);
  EXPECT_FALSE(drained_);
  Advance(1);
  EXPECT_TRUE(idle.gone());
  EXPECT_TRUE(greeted.gone());
  EXPECT_TRUE(drained_);
}

TEST_F(DoorTest, DrainOfAnEmptyDoorEndsAtOnce) {
  Drain();
  EXPECT_TRUE(drained_);
}

TEST_F(DoorTest, WhoEntersDuringADrainIsToldSo) {
  WireClient working = Open();
  working.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  Drain();
  WireClient late = Connect();
  late.Hello().Go("disk");
  Turn();
  EXPECT_THAT(late.OptionReplies(), ElementsAre(OptionReply::kErrShutdown));
}

TEST_F(DoorTest, BadFramingCostsItsOwnConnectionOnly) {
  WireClient good = Open();
  WireClient bad = Open();
  bad.wire().Write(std::string(64, '\0'));
  Turn();
  EXPECT_TRUE(bad.wire().at_end());
  good.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(good.Replies(), ElementsAre(Good(1)));
}

TEST_F(DoorTest, ADisconnectAnswersWhatCameBefore) {
  WireClient client = Open();
  client.Write(1, 0, 512).Disconnect();
  Turn();
  disk_->StartAll();
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(client.Replies(), ElementsAre(Good(1)));
  EXPECT_TRUE(client.wire().at_end());
  client.wire().Close();
  Turn();
  EXPECT_TRUE(client.gone());
}

class IdleDoorTest : public DoorTest {
 protected:
  IdleDoorTest() {
    DoorOptions options = Limits();
    options.idle_timeout_ns = 5 * kSecond;
    door_ = std::make_unique<Door>(reactors_, *exports_, options, nullptr);
  }
};

TEST_F(IdleDoorTest, AnIdleConnectionIsClosedABusyOneIsNot) {
  WireClient idle = Open();
  WireClient busy = Open();
  busy.Write(1, 0, 512);
  Turn();
  disk_->StartAll();
  Advance(5 * kSecond - 1);
  EXPECT_FALSE(idle.gone());
  Advance(1);
  EXPECT_TRUE(idle.gone());
  Advance(100 * kSecond);
  EXPECT_FALSE(busy.gone());  // its request is at the disk
  disk_->EndStarted();
  Turn();
  EXPECT_THAT(busy.Replies(), ElementsAre(Good(1)));
}

}  // namespace
}  // namespace sluice::nbd
