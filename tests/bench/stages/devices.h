// SPDX-License-Identifier: Apache-2.0
// What stands below the stage that is measured: targets and a medium that do next to nothing, and
// check what they are given.
#pragma once

#include <cstring>
#include <optional>

#include "core/check.h"
#include "core/poller.h"
#include "core/pool.h"
#include "core/reactor.h"
#include "core/target.h"
#include "core/units.h"
#include "storage/medium.h"

namespace sluice::bench {

inline constexpr uint64_t kDiskBytes = 64 << 20;
inline constexpr uint32_t kPage = 4096;

// Ends every bio inside Strategy().
class NoOpTarget final : public Target {
 public:
  explicit NoOpTarget(uint16_t home = kNoHome) : home_(home) { limits_.size = kDiskBytes; }
  uint16_t home() const noexcept override { return home_; }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override {
    SLUICE_CHECK(InRange(bio.offset, bio.length, kDiskBytes));
    ++taken;
    bio.resid = 0;
    Done(bio, 0);
  }
  void Cancel(Bio&) noexcept override {}
  void QueryExtents(ExtentQuery&) noexcept override { SLUICE_CHECK(false); }

  uint64_t taken = 0;

 private:
  const uint16_t home_;
  Limits limits_;
};

// Keeps bios until FinishAll().
class HoldTarget final : public Target {
 public:
  HoldTarget() { limits_.size = kDiskBytes; }
  uint16_t home() const noexcept override { return 0; }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override {
    bio.where = Where::kDevice;
    held_.push_back(bio);
    ++held;
  }
  void Cancel(Bio&) noexcept override {}
  void QueryExtents(ExtentQuery&) noexcept override { SLUICE_CHECK(false); }

  // Reads found something that is not zero.
  void FillReads() noexcept {
    for (Bio& bio : held_) {
      if (bio.op == Op::kRead) static_cast<char*>(bio.segs[0].iov_base)[0] = 1;
    }
  }
  void FinishAll() noexcept {
    for (; !held_.empty(); --held) {
      Bio& bio = held_.front();
      held_.pop_front();
      bio.resid = 0;
      Done(bio, 0);
    }
  }

  size_t held = 0;

 private:
  Limits limits_;
  BioFifo held_;
};

// Memory that answers in the next turn, as a device does. Without contents it moves no bytes.
class LateMedium final : public Medium {
 public:
  LateMedium(ManualPoller& poller, bool contents) : poller_(poller) {
    limits_.size = kDiskBytes;
    if (contents) memory_.emplace(kDiskBytes);
  }
  const MediumLimits& limits() const noexcept override { return limits_; }
  void Attach(uint16_t) noexcept override {}
  Started Start(MediumIo& io) noexcept override {
    SLUICE_CHECK(HasData(io.what) && InRange(io.offset, io.length, kDiskBytes));
    uint64_t at = io.offset;
    for (uint32_t i = 0; i < io.seg_count; ++i) {
      const Segment& part = io.segs[i];
      if (memory_) {
        char* here = memory_->base() + at;
        const bool read = io.what == Op::kRead;
        std::memcpy(read ? part.iov_base : here, read ? here : part.iov_base, part.iov_len);
      }
      at += part.iov_len;
    }
    SLUICE_CHECK(at == io.offset + io.length);
    io.op.done = [](RingOp& op) noexcept {
      MediumIo& ended = MediumIoOf(op);
      ended.result = op.result;
      ended.done(ended);
    };
    poller_.Complete(io.op, static_cast<int32_t>(io.length));
    return Started::kPending;
  }
  void QueryExtents(ExtentQuery&) noexcept override { SLUICE_CHECK(false); }

 private:
  ManualPoller& poller_;
  MediumLimits limits_;
  std::optional<Arena> memory_;
};

}  // namespace sluice::bench
