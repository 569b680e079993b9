// SPDX-License-Identifier: Apache-2.0
// Where connections are placed, and that every promise about them holds away from the home of their
// export. Manual reactors, and a clock that says how busy each is.
#include "server/nbd/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/units.h"
#include "server/nbd/door.h"
#include "tests/server/held_target.h"
#include "tests/server/wire_client.h"

namespace sluice::nbd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kWindow = 100 * kMillisecond;

SimpleReply Good(uint64_t cookie) { return {Error::kNone, cookie}; }

// Each reactor uses so many percent of its CPU.
class LoadClock final : public Clock {
 public:
  explicit LoadClock(size_t reactors) : loads(reactors), used_ns_(reactors) {}
  uint64_t NowNs() noexcept override { return now_ns_; }
  uint64_t ThreadCpuNs() noexcept override { return used_ns_[Reactor::Current()->id()]; }
  void Advance(uint64_t ns) {
    now_ns_ += ns;
    for (size_t i = 0; i < loads.size(); ++i) used_ns_[i] += ns * loads[i] / 100;
  }
  std::vector<uint32_t> loads;

 private:
  uint64_t now_ns_ = 1;
  std::vector<uint64_t> used_ns_;
};

std::vector<std::unique_ptr<Poller>> Pollers(size_t count) {
  std::vector<std::unique_ptr<Poller>> pollers;
  while (pollers.size() < count) pollers.push_back(std::make_unique<ManualPoller>());
  return pollers;
}

// Where a connection goes whose home is reactor 1, at these loads.
uint16_t PlaceAt(const std::vector<uint32_t>& loads) {
  LoadClock clock(loads.size());
  ReactorSet reactors(Pollers(loads.size()), clock, ReactorOptions{16, 1 * kMiB, 0});
  const auto turn_all = [&] {
    for (uint16_t id = 0; id < reactors.size(); ++id) reactors.at(id).Turn();
  };
  turn_all();
  clock.loads = loads;
  clock.Advance(kWindow);
  turn_all();
  return PlaceConnection(reactors, 1);
}

TEST(Placement, IsTheHomeUnlessThatIsBusy) {
  EXPECT_EQ(PlaceAt({0, 0, 0}), 1);
  EXPECT_EQ(PlaceAt({0, 75, 0}), 1);
  EXPECT_EQ(PlaceAt({0, 76, 0}), 0);
  EXPECT_EQ(PlaceAt({100, 76, 100}), 1);
}

TEST(Placement, OfABusyHomeIsTheLeastBusyThatIsAtMostHalfAsBusy) {
  EXPECT_EQ(PlaceAt({40, 100, 30}), 2);
  EXPECT_EQ(PlaceAt({50, 100, 60}), 0);
  EXPECT_EQ(PlaceAt({51, 100, 51}), 1);
}

// Two reactors; the disk lives on the first, which is as busy as the test says.
class PlacementTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 64 * kMiB;

  PlacementTest() { Turn(); }
  ~PlacementTest() override {
    Drain();
    for (int i = 0; i < 4; ++i) {
      EndAll();
      Advance(kSecond);
    }
    EXPECT_EQ(door_.inside(), 0u);
    for (uint16_t id = 0; id < 2; ++id) {
      EXPECT_EQ(reactors_.at(id).bios().used(), 0u);
      EXPECT_EQ(reactors_.at(id).bios().reserved(), 0u);
    }
  }

  void Drain() {
    if (std::exchange(drain_asked_, true)) return;
    door_.Drain([this] { drained_ = true; });
    Turn();
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
  void EndAll() {
    disk_.StartAll();
    disk_.EndStarted();
    Turn();
  }
  WireClient Connect() {
    auto wire = std::make_shared<Wire>();
    door_.Enter(std::make_unique<MemoryTransport>(wire), Peer{"test", 1},
                door_.handshakes().Enter());
    Turn();
    return WireClient(wire);
  }
  WireClient Open() {
    WireClient client = Connect();
    client.Hello().Go("disk");
    Turn();
    EXPECT_THAT(client.OptionReplies(), testing::Contains(OptionReply::kAck));
    return client;
  }
  // One that is served at the disk's home, or on the other reactor.
  WireClient OpenAtHome() { return OpenWith(0, 0); }
  WireClient OpenAway() { return OpenWith(100, 1); }
  WireClient OpenWith(uint32_t home_load, uint16_t expected) {
    clock_.loads[0] = home_load;
    Advance(kWindow);
    const uint32_t before = reactors_.at(expected).bios().reserved();
    WireClient client = Open();
    client.Write(999, 0, 512);
    Turn();
    EXPECT_EQ(reactors_.at(expected).bios().reserved(), before + 1) << "it is elsewhere";
    EndAll();
    EXPECT_THAT(client.Replies(), ElementsAre(Good(999)));
    return client;
  }

  LoadClock clock_{2};
  ReactorSet reactors_{Pollers(2), clock_, ReactorOptions{1024, 64 * kMiB, 0}};
  HeldTarget disk_{reactors_.at(0), kSize};
  ExportTable exports_{{{ExportConfig{"disk", "disk", "", false, 1, 100}, &disk_}}, ""};
  Door door_{
      reactors_, exports_,
      DoorOptions{
          .handshake_timeout_ns = 10 * kSecond, .payload_timeout_ns = 30 * kSecond, .requests = 4},
      nullptr};
  bool drain_asked_ = false;
  bool drained_ = false;
};

TEST_F(PlacementTest, ConnectionsThatComeWhileTheHomeIsBusyAreServedElsewhere) {
  WireClient first = OpenAtHome();
  WireClient second = OpenAway();
  WireClient third = OpenAtHome();
  first.Write(1, 0, 512);
  second.Write(2, 512, 512);
  third.Write(3, 1024, 512);
  Turn();
  EXPECT_EQ(disk_.queued(), 3u);
  EndAll();
  EXPECT_THAT(first.Replies(), ElementsAre(Good(1)));
  EXPECT_THAT(second.Replies(), ElementsAre(Good(2)));
  EXPECT_THAT(third.Replies(), ElementsAre(Good(3)));
}

// Promise 6: whichever side of a crossing the dead connection's requests are on.
TEST_F(PlacementTest, NothingOfADeadConnectionElsewhereFollowsItsSuccessorsAdmission) {
  WireClient old = OpenAway();
  old.Write(1, 4096, 512);
  Turn();
  disk_.StartAll();
  // Four may be outstanding, so the last two stay unread.
  old.Write(2, 5120, 512).Write(3, 6144, 512).Write(4, 7168, 512);
  old.Write(5, 8192, 512).Write(6, 9216, 512);
  Turn();
  ASSERT_EQ(disk_.started(), 1u);
  ASSERT_EQ(disk_.queued(), 3u);
  old.wire().Close();

  clock_.loads[0] = 0;
  Advance(kWindow);
  WireClient fresh = Connect();
  fresh.Hello().Go("disk");
  Turn();
  EXPECT_THAT(fresh.OptionReplies(), IsEmpty());  // one write is at the device
  EXPECT_EQ(disk_.queued(), 0u);
  disk_.EndStarted();
  Turn();
  EXPECT_THAT(fresh.OptionReplies(), testing::Contains(OptionReply::kAck));
  EXPECT_TRUE(old.gone());
  Advance(kSecond);
  EXPECT_THAT(disk_.offsets(), ElementsAre(0, 4096, 5120, 6144, 7168));  // never 8192, 9216
}

// Promise 6, where the requests are still on their way to the disk's reactor.
TEST_F(PlacementTest, WhatIsStillCrossingIsSettledToo) {
  WireClient old = OpenAway();
  old.Write(1, 4096, 512).Write(2, 5120, 512);
  // Its reactor takes and mails them, but the home does not turn.
  for (int i = 0; i < 4; ++i) reactors_.at(1).Turn();
  EXPECT_EQ(disk_.queued(), 0u);
  old.wire().Close();
  clock_.loads[0] = 0;
  WireClient fresh = Connect();
  fresh.Hello().Go("disk");
  Turn();
  // Queued, they were cancelled before the admission was answered.
  EXPECT_EQ(disk_.queued() + disk_.started(), 0u);
  EXPECT_THAT(fresh.OptionReplies(), testing::Contains(OptionReply::kAck));
  EXPECT_TRUE(old.gone());
}

// Promise 8.
TEST_F(PlacementTest, DrainFinishesWhatIsInFlightElsewhereAndRefusesTheRest) {
  WireClient away = OpenAway();
  away.Write(1, 4096, 512);
  Turn();
  disk_.StartAll();
  Drain();
  away.Write(2, 5120, 512);
  Turn();
  EXPECT_THAT(away.Replies(), ElementsAre(SimpleReply{Error::kShutdown, 2}));
  disk_.EndStarted();
  Turn();
  EXPECT_THAT(away.Replies(), ElementsAre(Good(1)));
  EXPECT_TRUE(away.wire().at_end());
  away.wire().Close();
  Turn();
  EXPECT_TRUE(drained_);
}

}  // namespace
}  // namespace sluice::nbd
