// SPDX-License-Identifier: Apache-2.0
// A disk whose requests wait for the test: first queued, then at the device, then ended.
#pragma once

#include <vector>

#include "core/bio.h"
#include "core/reactor.h"
#include "core/target.h"

namespace sluice {

class HeldTarget final : public Target {
 public:
  HeldTarget(Reactor& home, uint64_t size) : home_(home) { limits_.size = size; }

  uint16_t home() const noexcept override { return home_.id(); }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override {
    offsets_.push_back(bio.offset);
    queued_.push_back(&bio);
  }
  void Cancel(Bio& bio) noexcept override {
    if (std::erase(queued_, &bio) == 1) Done(bio, ECANCELED);
  }
  void QueryExtents(ExtentQuery& query) noexcept override {
    query.error = ENOTSUP;
    home_.Post([&query] { query.done(query); });
  }

  // What waits goes to the device, where it cannot be cancelled.
  void StartAll() {
    started_.insert(started_.end(), queued_.begin(), queued_.end());
    queued_.clear();
  }
  // What is at the device ends in the home's next turn.
  void EndStarted(int error = 0) {
    home_.Post([this, error] {
      for (Bio* bio : std::exchange(started_, {})) {
        if (error == 0) bio->resid = 0;
        Done(*bio, error);
      }
    });
  }

  // The device hangs: what is there is answered, and ends later.
  void ExpireStarted() {
    home_.Post([this] {
      for (Bio* bio : started_) Expire(*bio, EIO);
    });
  }

  size_t queued() const { return queued_.size(); }
  size_t started() const { return started_.size(); }
  // Offsets of all requests that ever came.
  const std::vector<uint64_t>& offsets() const { return offsets_; }

 private:
  Reactor& home_;
  Limits limits_;
  std::vector<Bio*> queued_;
  std::vector<Bio*> started_;
  std::vector<uint64_t> offsets_;
};

}  // namespace sluice
