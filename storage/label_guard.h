// SPDX-License-Identifier: Apache-2.0
// Stands before a disk that has slices in use and protects its label: the first 34 and the last 33
// sectors of 512 bytes.
//
// A write, zero or trim that reaches them, through whatever volume, waits here until the sectors as
// they are now have been read, and is then let through or refused with EPERM by the rule of
// storage/label.h (a trim counts as the zeroes that it may leave; what changes no byte is always
// let through). One at a time, in order of arrival, so that what was examined is what will be
// there. All else passes untouched.
//
// Thread: the disk's home reactor. Examining allocates; it is rare. Nothing is taken from a pool:
// the one request of its own that is under way at a time lies here, and what the disk needs for it
// is of the reservation of the request that waits.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/pool.h"
#include "core/target.h"
#include "storage/label.h"

namespace sluice {

class LabelGuard final : public Target {
 public:
  // `used`: where the slices in use lie. The disk outlives the guard.
  // REQUIRES: the disk has a home, and its size is a multiple of its block.
  LabelGuard(Target& disk, std::vector<Place> used);
  // REQUIRES: nothing is under way.
  ~LabelGuard() override;
  LabelGuard(const LabelGuard&) = delete;
  LabelGuard& operator=(const LabelGuard&) = delete;

  uint16_t home() const noexcept override { return disk_.home(); }
  const Limits& limits() const noexcept override { return disk_.limits(); }
  void Strategy(Bio& bio) noexcept override;
  void Cancel(Bio& bio) noexcept override;
  void QueryExtents(ExtentQuery& query) noexcept override { disk_.QueryExtents(query); }

  // The disk has grown, right before: the label's end moves with it. REQUIRES: idle().
  void Follow();
  // Nothing is examined and nothing waits for that.
  bool idle() const noexcept { return examined_ == nullptr; }

  // Other slices are in use from now on; none: nothing is protected.
  void SetUsed(std::vector<Place> used) noexcept { used_ = std::move(used); }

 private:
  // A part of the disk, in whole blocks, and where its image lies in the two arenas.
  struct Region {
    uint64_t offset;
    uint32_t length;
    uint32_t image;
  };
  enum class State : uint8_t { kIdle, kReadingHead, kReadingTail, kWriting };
  struct Step {
    Bio bio;  // first: the guard is found from it
    Segment segment{};
    LabelGuard* guard = nullptr;
  };

  bool ReachesLabel(const Bio& bio) const noexcept;
  void Next() noexcept;
  void Read(const Region& region, State state) noexcept;
  void StepEnded() noexcept;
  void Examine() noexcept;
  void PassOn() noexcept;
  void Refuse(int error) noexcept;
  LabelImage ImageIn(const Arena& arena) const noexcept;
  static void Release(Bio& bio) noexcept;

  // The label as it lies on a disk of this size.
  struct Label {
    explicit Label(const Limits& disk);
    uint64_t head_end;  // [0, head_end) and [tail_begin, size) are the label's
    uint64_t tail_begin;
    Region head;
    Region tail;
    Arena now;
    Arena next;
  };

  Target& disk_;

  // The home reactor's.
  std::unique_ptr<Label> label_;  // never null
  std::vector<Place> used_;
  BioFifo waiting_;
  Bio* examined_ = nullptr;  // null exactly when idle
  bool cancelled_ = false;   // `examined_` was cancelled before its write was submitted
  State state_ = State::kIdle;
  Step step_;
};

}  // namespace sluice
