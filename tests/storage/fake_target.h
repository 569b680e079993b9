// SPDX-License-Identifier: Apache-2.0
// Reactors turned by hand, a target of memory that ends requests when it is told to, and a request
// that checks itself.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/bio.h"
#include "core/clock.h"
#include "core/poller.h"
#include "core/reactor.h"
#include "core/target.h"
#include "core/units.h"

namespace sluice {

class World {
 public:
  explicit World(uint16_t reactors = 1) {
    std::vector<std::unique_ptr<Poller>> pollers;
    for (uint16_t i = 0; i < reactors; ++i) pollers.push_back(std::make_unique<ManualPoller>());
    ReactorOptions options;
    options.credits = 4096;
    options.buffer_bytes = 1 * kMiB;
    options.poll_budget_ns = 0;
    set_ = std::make_unique<ReactorSet>(std::move(pollers), clock_, options);
  }
  Reactor& at(uint16_t reactor) { return set_->at(reactor); }
  // Runs `work` on a reactor, then every reactor until none has anything to do.
  void On(uint16_t reactor, absl::AnyInvocable<void()> work) {
    set_->at(reactor).Post(std::move(work));
    Run();
  }
  void Run() {
    for (bool busy = true; busy;) {
      busy = false;
      for (uint16_t i = 0; i < set_->size(); ++i) busy |= set_->at(i).Turn();
    }
  }
  size_t CellsUsed() {
    size_t used = 0;
    for (uint16_t i = 0; i < set_->size(); ++i) used += set_->at(i).bios().used();
    return used;
  }

 private:
  ManualClock clock_;
  std::unique_ptr<ReactorSet> set_;
};

class FakeTarget final : public Target {
 public:
  struct Arrival {
    Op op;
    uint64_t offset;
    uint32_t length;
    uint8_t flags;
    uint16_t parents_pending;  // of its parent, as it arrived
    bool operator==(const Arrival&) const = default;
  };

  explicit FakeTarget(uint64_t size, uint16_t home = 0) : bytes(size, '\0'), home_(home) {
    limits_.size = size;
    limits_.can_trim = true;
  }
  ~FakeTarget() override { EXPECT_TRUE(held.empty()) << "a request was never ended"; }

  Limits& mutable_limits() { return limits_; }
  uint16_t home() const noexcept override { return home_; }
  void MoveTo(uint16_t home) { home_ = home; }
  const Limits& limits() const noexcept override { return limits_; }

  void Strategy(Bio& bio) noexcept override {
    EXPECT_TRUE(InRange(bio.offset, bio.length, limits_.size));
    EXPECT_EQ((bio.offset | bio.length) % limits_.block, 0u);
    arrivals.push_back({bio.op, bio.offset, bio.length, bio.flags,
                        bio.parent != nullptr ? bio.parent->pending : uint16_t{0}});
    bio.where = at_device ? Where::kDevice : Where::kBufq;
    held.push_back(&bio);
    if (!hold) End(bio, error);
  }
  void Cancel(Bio& bio) noexcept override {
    ++cancels;
    if (bio.where == Where::kBufq) End(bio, ECANCELED);
  }
  void QueryExtents(ExtentQuery& query) noexcept override {
    EXPECT_TRUE(query.length > 0 && InRange(query.offset, query.length, limits_.size));
    queries.push_back(&query);
  }

  // On the home reactor: carries out one request that is held, or fails it.
  void End(Bio& bio, int with_error = 0) noexcept {
    held.erase(std::find(held.begin(), held.end(), &bio));
    if (with_error == 0) {
      char* at = bytes.data() + bio.offset;
      if (bio.op == Op::kRead) CopyToBio(bio, 0, at, bio.length);
      if (bio.op == Op::kWrite) CopyFromBio(bio, 0, at, bio.length);
      if (bio.op == Op::kZero || bio.op == Op::kTrim) std::memset(at, 0, bio.length);
      bio.resid = 0;
    }
    Done(bio, with_error);
  }

  bool hold = false;       // keep requests until End()
  int error = 0;           // of those that are not held
  bool at_device = false;  // what is held cannot be cancelled any more
  int cancels = 0;
  std::vector<char> bytes;
  std::vector<Bio*> held;
  std::vector<Arrival> arrivals;
  std::vector<ExtentQuery*> queries;

 private:
  uint16_t home_;
  Limits limits_;
};

// What a byte at an offset must be under a seed.
inline char PatternAt(uint64_t offset, uint32_t seed) {
  uint64_t x = offset * 0x9E3779B97F4A7C15ull + seed * 0xC2B2AE3D27D4EB4Full;
  x ^= x >> 29;
  return static_cast<char>((x * 0xBF58476D1CE4E5B9ull) >> 56 |
                           1);  // never 0: not mistaken for a hole
}

// A bio with memory of its own, cut into segments, that counts what happens to it.
class Request {
 public:
  Request(Target& target, Op op, uint64_t offset, uint32_t length, uint8_t flags = 0) {
    cell_.bio.target = &target;
    cell_.bio.op = op;
    cell_.bio.offset = offset;
    cell_.bio.length = length;
    cell_.bio.flags = flags;
    if (HasData(op)) Cut({length});
    cell_.bio.release = [](Bio& bio) noexcept { ++Of(bio).releases; };
    cell_.owner = this;
    cell_.callback.run = [](Bio& bio, void* request) noexcept {
      ++static_cast<Request*>(request)->callbacks;
      EXPECT_TRUE(bio.pending == 0 || bio.error == EIO) << "answered early, and not by Expire()";
    };
    cell_.callback.context = this;
    PushCallback(cell_.bio, cell_.callback);
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // Gives the memory as segments of these lengths; their sum is at least the bio's.
  void Cut(const std::vector<size_t>& lengths) {
    memory.assign(bio().length, '\0');
    segs.clear();
    size_t at = 0;
    for (const size_t length : lengths) {
      segs.push_back({memory.data() + at, length});
      at += length;
    }
    bio().segs = segs.data();
    bio().seg_count = static_cast<uint16_t>(segs.size());
  }
  void Fill(uint32_t seed) {
    for (size_t i = 0; i < memory.size(); ++i) memory[i] = PatternAt(bio().offset + i, seed);
  }

  Bio& bio() { return cell_.bio; }
  int error() { return cell_.bio.error; }
  bool done() const { return callbacks == 1 && releases == 1; }

  int callbacks = 0;
  int releases = 0;
  std::vector<char> memory;
  std::vector<Segment> segs;

 private:
  static Request& Of(Bio& bio) {
    return *static_cast<Request*>(reinterpret_cast<BioCell&>(bio).owner);
  }
  BioCell cell_;
};

}  // namespace sluice
