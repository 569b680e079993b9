// SPDX-License-Identifier: Apache-2.0
// The data path allocates nothing: bios, vectors and buffers come from pools made at the start.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/group.h"
#include "core/reactor.h"
#include "core/target.h"
#include "tests/support/alloc_counter.h"

namespace sluice {
namespace {

TEST(AllocCounter, SeesEveryWayToAllocate) {
  uint64_t before = AllocationsSoFar();
  const auto counted = [&] {
    const uint64_t now = AllocationsSoFar();
    const bool more = now > before;
    before = now;
    return more;
  };
  const auto one = std::make_unique<int>(1);
  EXPECT_TRUE(counted());
  void* volatile c = std::malloc(10);
  EXPECT_TRUE(counted());
  c = std::realloc(c, 100'000);
  EXPECT_TRUE(counted());
  std::free(c);
  EXPECT_FALSE(counted());
  void* volatile aligned = std::aligned_alloc(4096, 4096);
  EXPECT_TRUE(counted());
  std::free(aligned);
  EXPECT_NE(one, nullptr);
}

// Splits a bio into two for the target below, with cells of the reactor's pool.
class Splitter final : public Target {
 public:
  explicit Splitter(Target& below) : below_(below) {}
  uint16_t home() const noexcept override { return below_.home(); }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override {
    bio.where = Where::kNested;
    std::array<BioCell*, 2> cells;
    for (uint32_t i = 0; i < 2; ++i) {
      cells[i] = Reactor::Current()->bios().New();
      Bio& child = cells[i]->bio;
      Nest(bio, child);
      child.target = &below_;
      child.length = bio.length / 2;
      child.seg_count = static_cast<uint16_t>(
          SliceSegments(bio, i * child.length, child.length, cells[i]->segs, kInlineSegments));
      child.segs = cells[i]->segs;
      child.release = [](Bio& of) noexcept {
        Reactor::Current()->bios().Delete(reinterpret_cast<BioCell*>(&of));
      };
    }
    for (BioCell* cell : cells) Submit(cell->bio);
    Done(bio, 0);
  }
  void Cancel(Bio&) noexcept override {}
  void QueryExtents(ExtentQuery&) noexcept override {}

 private:
  Target& below_;
  Limits limits_;
};

// Completes at the end of the turn what arrived in it.
class Device final : public Target {
 public:
  Device(ReactorSet& set, uint16_t home) : set_(set), home_(home) {
    task_.context = this;
    task_.run = [](TurnTask& task) noexcept {
      BioFifo arrived;
      arrived.swap(static_cast<Device*>(task.context)->arrived_);
      while (!arrived.empty()) {
        Bio& bio = arrived.front();
        arrived.pop_front();
        bio.resid = 0;
        Done(bio, 0);
      }
    };
  }
  uint16_t home() const noexcept override { return home_; }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override {
    arrived_.push_back(bio);
    set_.at(home_).AtDispatch(task_);
  }
  void Cancel(Bio&) noexcept override {}
  void QueryExtents(ExtentQuery&) noexcept override {}

 private:
  ReactorSet& set_;
  uint16_t home_;
  BioFifo arrived_;
  TurnTask task_;
  Limits limits_;
};

// Keeps `depth` requests under way: buffer and cell from the pools, a callback, and anew.
class Door {
 public:
  Door(Reactor& reactor, Target& target) : reactor_(reactor), target_(target) {
    starter_.context = this;
    starter_.run = [](TurnTask& task) noexcept {
      auto& self = *static_cast<Door*>(task.context);
      for (int i = 0; i < 32; ++i) self.SubmitOne();
    };
    reactor_.AtDispatch(starter_);
  }
  int done = 0;
  bool goes_on = true;

 private:
  void SubmitOne() {
    ASSERT_TRUE(reactor_.bios().Reserve(3));
    BioCell* cell = reactor_.bios().New();
    Bio& bio = cell->bio;
    cell->owner = this;
    bio.op = Op::kWrite;
    bio.target = &target_;
    bio.length = 8192;
    bio.seg_count = reactor_.buffers().Take(bio.length, cell->segs);
    ASSERT_GT(bio.seg_count, 0);
    bio.segs = cell->segs;
    cell->callback.context = this;
    cell->callback.run = [](Bio& of, void* door) noexcept {
      EXPECT_EQ(of.resid, 0u);
      ++static_cast<Door*>(door)->done;
    };
    PushCallback(bio, cell->callback);
    bio.release = [](Bio& of) noexcept {
      auto* done_cell = reinterpret_cast<BioCell*>(&of);
      auto& self = *static_cast<Door*>(done_cell->owner);
      self.reactor_.buffers().Give(of.segs, of.seg_count);
      self.reactor_.bios().Delete(done_cell);
      self.reactor_.bios().Unreserve(3);
      if (self.goes_on) self.SubmitOne();
    };
    Submit(bio);
  }
  Reactor& reactor_;
  Target& target_;
  TurnTask starter_;
};

TEST(CoreAlloc, RequestsInAndOutOfAReactorAllocateNothing) {
  for (const uint16_t device_home : {uint16_t{0}, uint16_t{1}}) {
    ManualClock clock;
    std::vector<std::unique_ptr<Poller>> pollers;
    for (int i = 0; i < 2; ++i) pollers.push_back(std::make_unique<ManualPoller>());
    ReactorOptions options;
    options.credits = 1024;
    options.buffer_bytes = 8 << 20;
    ReactorSet set(std::move(pollers), clock, options);
    Device device(set, device_home);
    Splitter volume(device);
    Door door(set.at(0), volume);
    const auto turn = [&](int turns) {
      for (int i = 0; i < turns; ++i) {
        clock.Advance(1000);
        set.at(0).Turn(), set.at(1).Turn();
      }
    };
    turn(10);
    const int done = door.done;
    const uint64_t allocations = AllocationsSoFar();
    turn(1000);
    EXPECT_EQ(AllocationsSoFar(), allocations);
    EXPECT_GT(door.done - done, 5000);
    door.goes_on = false;
    turn(10);
  }
}

}  // namespace
}  // namespace sluice
