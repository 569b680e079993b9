// SPDX-License-Identifier: Apache-2.0
// Small worlds for core's tests: reactors that are turned by hand, a target that holds what it is
// given, requests that remember what became of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "core/bio.h"
#include "core/reactor.h"
#include "core/target.h"

namespace sluice {

inline ReactorOptions SmallOptions() {
  ReactorOptions options;
  options.credits = 256;
  options.buffer_bytes = 1 << 20;
  return options;
}

// Reactors on manual pollers and one manual clock.
class ManualReactors {
 public:
  explicit ManualReactors(uint16_t count, const ReactorOptions& options = SmallOptions()) {
    std::vector<std::unique_ptr<Poller>> pollers;
    for (uint16_t i = 0; i < count; ++i) pollers.push_back(std::make_unique<ManualPoller>());
    set_ = std::make_unique<ReactorSet>(std::move(pollers), clock, options);
  }

  Reactor& at(uint16_t id) { return set_->at(id); }
  ManualPoller& poller(uint16_t id) { return static_cast<ManualPoller&>(at(id).poller()); }

  // Runs `work` in one turn of reactor `id`, after its mail and before what came home is finished.
  void On(uint16_t id, absl::AnyInvocable<void()> work) {
    at(id).Post(std::move(work));
    at(id).Turn();
  }

  // Turns them all until there is nothing left to do.
  void Settle() {
    for (int round = 0; round < 1000; ++round) {
      bool busy = false;
      for (uint16_t id = 0; id < set_->size(); ++id) busy |= at(id).Turn();
      if (!busy) return;
    }
    FAIL() << "the reactors do not come to rest";
  }

  ManualClock clock;

 private:
  std::unique_ptr<ReactorSet> set_;
};

// Holds each bio until the test completes it; gives it up to Cancel() if told to.
class HoldingTarget : public Target {
 public:
  explicit HoldingTarget(uint16_t home, bool gives_up = true) : home_(home), gives_up_(gives_up) {}

  uint16_t home() const noexcept override { return home_; }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override {
    bio.where = Where::kDevice;
    held.push_back(&bio);
  }
  void Cancel(Bio& bio) noexcept override {
    ++cancels;
    if (gives_up_ && std::erase(held, &bio) > 0) Done(bio, ECANCELED);
  }
  void QueryExtents(ExtentQuery&) noexcept override { FAIL() << "nobody asks"; }

  bool Holds(const Bio& bio) const {
    return std::find(held.begin(), held.end(), &bio) != held.end();
  }
  // REQUIRES: inside a turn of the home reactor.
  void Complete(Bio& bio, int error = 0) {
    ASSERT_EQ(std::erase(held, &bio), 1u);
    if (error == 0) bio.resid = 0;
    Done(bio, error);
  }

  std::vector<Bio*> held;
  int cancels = 0;

 private:
  uint16_t home_;
  bool gives_up_;
  Limits limits_;
};

// Answers inside Strategy(), on whatever reactor that is.
class InstantTarget : public HoldingTarget {
 public:
  explicit InstantTarget(uint16_t home, int error = 0) : HoldingTarget(home), error_(error) {}
  void Strategy(Bio& bio) noexcept override {
    HoldingTarget::Strategy(bio);
    Complete(bio, error_);
  }

 private:
  int error_;
};

// What became of a request.
struct Fate {
  int callbacks = 0;
  int error = -1;  // as the callback saw it
  int released = 0;
  const HoldingTarget* target = nullptr;
  bool released_while_held = false;
};

// A bio on the heap, so that a use after its release is caught; reports to its fate.
struct Request : Bio {
  explicit Request(Fate& to, HoldingTarget& at, uint32_t bytes = 4096) : fate(to) {
    target = &at;
    length = bytes;
    fate.target = &at;
    release = [](Bio& bio) noexcept {
      auto& self = static_cast<Request&>(bio);
      ++self.fate.released;
      self.fate.released_while_held |= self.fate.target->Holds(bio);
      delete &self;
    };
    callback.run = [](Bio& bio, void* fate_of) noexcept {
      auto& its = *static_cast<Fate*>(fate_of);
      ++its.callbacks;
      its.error = bio.error;
    };
    callback.context = &fate;
    PushCallback(*this, callback);
  }
  Callback callback;
  Fate& fate;
};

}  // namespace sluice
