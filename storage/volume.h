// SPDX-License-Identifier: Apache-2.0
// A volume: a geometry and the targets it lies on. The one place where a request is split.
//
// Splitting. A request becomes one child for each leg that it touches (a flush: for each leg),
// since any range meets a leg in one contiguous run. All children are made before one is submitted.
// A child whose data lies in one piece views its parent's vector (segs, seg_skip); a longer
// stripe's gets a vector of its own from the reactor's pool. Nothing is copied. The request ends
// when all its children have, with the first error. Bounds and alignment were checked at the door
// and are asserted here.
//
// Thread: the home reactor, which all legs share (legs without a home run on it too). Cells and
// lists are of the reservation that the door made (Limits::children).
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/pool.h"
#include "core/target.h"
#include "storage/geometry.h"

namespace sluice {

class Volume final : public Target {
 public:
  // The longest part of an extent query that is answered at once, bytes; the rest is for the next
  // query.
  static constexpr uint64_t kQueryBytesMax = uint64_t{1} << 30;

  // What a volume of this geometry over these legs promises: the smallest of their gifts, the
  // largest of their demands.
  static Limits LimitsOver(const Geometry& geometry, const std::vector<Target*>& legs);

  // The legs outlive the volume. REQUIRES: as many legs as the geometry has, each of home `home` or
  // kNoHome, none shorter than the geometry uses it, and pieces that start and end on multiples of
  // every leg's block.
  Volume(std::unique_ptr<const Geometry> geometry, std::vector<Target*> legs, uint16_t home);
  // REQUIRES: no bio and no query is under way.
  ~Volume() override;
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  uint16_t home() const noexcept override { return home_.load(std::memory_order_relaxed); }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override;
  // Cancels the children that are still queued; the bio ends when all of them have.
  void Cancel(Bio& bio) noexcept override;
  // One query a leg, merged in volume order. Allocates.
  void QueryExtents(ExtentQuery& query) noexcept override;

  const Geometry& geometry() const { return *geometry_; }

  // Its legs have grown, or it takes up more of its leg: `geometry`, of as many legs, maps what was
  // there as before. The home reactor; what is under way goes on.
  void Grow(std::unique_ptr<const Geometry> geometry) noexcept;

  // Its legs live on `home` now. REQUIRES: nobody uses the volume.
  void MoveTo(uint16_t home) noexcept { home_.store(home, std::memory_order_relaxed); }

 private:
  using Children =
      boost::intrusive::list<BioCell,
                             boost::intrusive::member_hook<BioCell, QueueHook, &BioCell::siblings>,
                             boost::intrusive::constant_time_size<false>>;

  Bio& MakeChild(Bio& parent, const Piece& run) noexcept;
  void GiveMemory(const Bio& parent, const Piece& run, BioCell& cell) noexcept;
  static void Release(Bio& child) noexcept;
  static void ReleaseWithList(Bio& child) noexcept;

  // Constant while it is used, but that it grows.
  std::unique_ptr<const Geometry> geometry_;
  const std::vector<Target*> legs_;
  std::atomic<uint16_t> home_;
  Limits limits_;

  // The home reactor's.
  Children under_way_;
  size_t queries_ = 0;

  struct Merge;
};

}  // namespace sluice
