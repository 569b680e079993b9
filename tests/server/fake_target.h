// SPDX-License-Identifier: Apache-2.0
// A target that holds its bytes in memory and ends its bios when the test says so, in the order it
// says, with the error it says.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/reactor.h"
#include "core/target.h"
#include "core/units.h"

// Not in sluice: there storage's tests, whose support is linked in here too, have one of that name.
namespace sluice::nbd {

class FakeTarget final : public Target {
 public:
  explicit FakeTarget(uint64_t size, uint16_t home = 0) : bytes(size, '\0'), home_(home) {
    limits_.size = size;
  }
  ~FakeTarget() override { SLUICE_CHECK(held.empty() && loans_out == 0); }

  uint16_t home() const noexcept override { return home_; }
  const Limits& limits() const noexcept override { return limits_; }
  Limits& mutable_limits() { return limits_; }

  void Strategy(Bio& bio) noexcept override {
    SLUICE_CHECK(InRange(bio.offset, bio.length, limits_.size));
    SLUICE_CHECK(IsAligned(bio.offset | bio.length, limits_.block));
    SLUICE_CHECK(bio.length <= (HasData(bio.op) ? kMaxTransfer : kMaxEffect));
    ++submitted;
    flags_seen |= bio.flags;
    bio.where = Where::kDevice;
    held.push_back(&bio);
    if (!hold) Finish(held.size() - 1);
  }

  void Cancel(Bio& bio) noexcept override {
    if (!cancellable) return;
    held.erase(std::find(held.begin(), held.end(), &bio));
    Done(bio, ECANCELED);
  }

  void QueryExtents(ExtentQuery& query) noexcept override {
    asked.push_back(&query);
    if (!hold) Reactor::Current()->Post([this] { AnswerQueries(); });
  }

  // Ends the i-th held bio. `keep` bytes at its end are not transferred.
  void Finish(size_t i, int error = 0, uint32_t keep = 0) noexcept {
    Bio& bio = *held[i];
    held.erase(held.begin() + static_cast<ptrdiff_t>(i));
    const bool fails = error == 0 && bio.length > 0 && InRange(bad_offset, 1, limits_.size) &&
                       bad_offset >= bio.offset && bad_offset - bio.offset < bio.length;
    if (fails) {
      error = EIO;
      keep = bio.length - static_cast<uint32_t>(AlignDown(bad_offset - bio.offset, limits_.block));
    }
    Move(bio, bio.length - keep);
    bio.resid = keep;
    Done(bio, error);
  }
  void FinishAll() noexcept {
    while (!held.empty()) Finish(0);
  }
  void AnswerQueries() {
    for (ExtentQuery* query : std::exchange(asked, {})) {
      query->error = query_error;
      for (const Extent& extent : extents) query->extents.push_back(extent);
      if (query->extents.size() > query->extents_max) query->extents.resize(query->extents_max);
      query->done(*query);
    }
  }

  std::vector<char> bytes;
  bool hold = false;         // bios and queries wait for Finish() and AnswerQueries()
  bool cancellable = false;  // held bios are still queued
  uint64_t bad_offset = kForever;
  std::vector<Extent> extents;
  int query_error = 0;

  std::vector<Bio*> held;
  std::vector<ExtentQuery*> asked;
  size_t submitted = 0;
  uint8_t flags_seen = 0;
  int loans_out = 0;

 private:
  struct ByteLoan {
    Loan loan;
    Segment segs[1];
    FakeTarget* target;
  };

  void Move(Bio& bio, uint32_t size) noexcept {
    char* at = bytes.data() + bio.offset;
    switch (bio.op) {
      case Op::kRead:
        if ((bio.flags & kBorrow) != 0) return Lend(bio);
        return CopyToBio(bio, 0, at, size);
      case Op::kWrite:
        if (limits_.swallows) return;
        return CopyFromBio(bio, 0, at, size);
      case Op::kZero:
      case Op::kTrim:
        std::fill_n(at, size, '\0');
        return;
      default:
        return;
    }
  }

  void Lend(Bio& bio) noexcept {
    SLUICE_CHECK(bio.length <= limits_.lend_bytes_max && bio.segs == nullptr);
    auto* lent = new ByteLoan{{[](Loan& loan) noexcept {
                                 auto* its = reinterpret_cast<ByteLoan*>(&loan);
                                 --its->target->loans_out;
                                 delete its;
                               },
                               1},
                              {{bytes.data() + bio.offset, bio.length}},
                              this};
    ++loans_out;
    bio.segs = lent->loan.segs();
    bio.seg_count = 1;
    bio.flags |= kLent;
  }

  const uint16_t home_;
  Limits limits_;
};

}  // namespace sluice::nbd
