// SPDX-License-Identifier: Apache-2.0
#include "storage/volume.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/reactor.h"
#include "core/units.h"

namespace sluice {

Limits Volume::LimitsOver(const Geometry& geometry, const std::vector<Target*>& legs) {
  Limits limits;
  limits.can_trim = true;
  limits.can_fast_zero = true;
  uint32_t children = 0;
  for (const Target* leg : legs) {
    const Limits& below = leg->limits();
    limits.block = std::max(limits.block, below.block);
    limits.logical_block = std::max(limits.logical_block, below.logical_block);
    limits.preferred = std::max(limits.preferred, below.preferred);
    limits.read_only |= below.read_only;
    limits.rotational |= below.rotational;
    limits.can_trim &= below.can_trim;
    limits.can_zero &= below.can_zero;
    limits.can_fast_zero &= below.can_fast_zero;
    children += 1u + below.children;
  }
  SLUICE_CHECK(children <= UINT16_MAX);
  limits.children = static_cast<uint16_t>(children);
  limits.size = geometry.size();
  return limits;
}

Volume::Volume(std::unique_ptr<const Geometry> geometry, std::vector<Target*> legs, uint16_t home)
    : geometry_(std::move(geometry)),
      legs_(std::move(legs)),
      home_(home),
      limits_(LimitsOver(*geometry_, legs_)) {
  SLUICE_CHECK(legs_.size() == geometry_->legs() && home != kNoHome);
  for (uint32_t leg = 0; leg < legs_.size(); ++leg) {
    SLUICE_CHECK(legs_[leg]->home() == home || legs_[leg]->home() == kNoHome);
    const Piece used = geometry_->LegRun(leg, 0, geometry_->size());
    SLUICE_CHECK(InRange(used.offset, used.length, legs_[leg]->limits().size));
  }
}

Volume::~Volume() { SLUICE_CHECK(under_way_.empty() && queries_ == 0); }

void Volume::Grow(std::unique_ptr<const Geometry> geometry) noexcept {
  SLUICE_CHECK(geometry->legs() == geometry_->legs() && geometry->size() >= geometry_->size());
  geometry_ = std::move(geometry);
  limits_.size = geometry_->size();
}

void Volume::Strategy(Bio& bio) noexcept {
  SLUICE_CHECK(InRange(bio.offset, bio.length, limits_.size));
  SLUICE_CHECK(IsAligned(bio.offset | bio.length, limits_.block) && (bio.flags & kBorrow) == 0);
  bio.where = Where::kNested;
  BioFifo made;
  for (uint32_t leg = 0; leg < legs_.size(); ++leg) {
    const Piece run = geometry_->LegRun(leg, bio.offset, bio.length);
    if (run.length > 0 || bio.op == Op::kFlush) made.push_back(MakeChild(bio, run));
  }
  while (!made.empty()) {
    Bio& child = made.front();
    made.pop_front();
    Submit(child);
  }
  Done(bio, 0);
}

Bio& Volume::MakeChild(Bio& parent, const Piece& run) noexcept {
  BioCell& cell = *Reactor::Current()->bios().New();
  Bio& child = cell.bio;
  Nest(parent, child);
  child.target = legs_[run.leg];
  child.offset = run.offset;
  child.length = static_cast<uint32_t>(run.length);
  child.release = Release;
  cell.owner = this;
  if (HasData(parent.op)) GiveMemory(parent, run, cell);
  under_way_.push_back(cell);
  return child;
}

void Volume::GiveMemory(const Bio& parent, const Piece& run, BioCell& cell) noexcept {
  Bio& child = cell.bio;
  const uint64_t first = *geometry_->VolumeOffset(run.leg, run.offset);
  const uint64_t last = *geometry_->VolumeOffset(run.leg, run.offset + (run.length - 1));
  if (last - first == run.length - 1) {  // one piece
    uint64_t skip = uint64_t{parent.seg_skip} + (first - parent.offset);
    uint16_t begin = 0;
    while (skip >= parent.segs[begin].iov_len) skip -= parent.segs[begin++].iov_len;
    uint16_t end = begin;
    for (uint64_t seen = 0; seen < skip + run.length; ++end) seen += parent.segs[end].iov_len;
    SLUICE_CHECK(end <= parent.seg_count);
    child.segs = parent.segs + begin;
    child.seg_skip = static_cast<uint32_t>(skip);
    child.seg_count = static_cast<uint16_t>(end - begin);
    return;
  }

  BioPool& pool = Reactor::Current()->bios();
  SegmentList& list = *pool.NewList();
  size_t count = 0;
  uint32_t at = 0;
  geometry_->Map(parent.offset, parent.length, [&](const Piece& piece) {
    const auto length = static_cast<uint32_t>(piece.length);
    if (piece.leg == run.leg) {
      count += SliceSegments(parent, at, length, list.segs + count, kListSegments - count);
    }
    at += length;
  });
  child.segs = list.segs;
  child.seg_count = static_cast<uint16_t>(count);
  child.release = ReleaseWithList;
  if (count > kInlineSegments) return;
  std::copy_n(list.segs, count, cell.segs);
  pool.DeleteList(&list);
  child.segs = cell.segs;
  child.release = Release;
}

void Volume::Release(Bio& child) noexcept {
  static_assert(offsetof(BioCell, bio) == 0);
  auto& cell = reinterpret_cast<BioCell&>(child);
  auto& volume = *static_cast<Volume*>(cell.owner);
  volume.under_way_.erase(volume.under_way_.iterator_to(cell));
  Reactor::Current()->bios().Delete(&cell);
}

void Volume::ReleaseWithList(Bio& child) noexcept {
  static_assert(offsetof(SegmentList, segs) == 0);
  auto* list = reinterpret_cast<SegmentList*>(const_cast<Segment*>(child.segs));
  Reactor::Current()->bios().DeleteList(list);
  Release(child);
}

void Volume::Cancel(Bio& bio) noexcept {
  for (BioCell& cell : under_way_) {
    Bio& child = cell.bio;
    if (child.parent == &bio && child.where != Where::kDone) child.target->Cancel(child);
  }
}

// An extent query under way: its parts on the legs, by leg.
struct Volume::Merge {
  Volume& volume;
  ExtentQuery& whole;
  const uint64_t length;           // how much of `whole` is asked for
  std::vector<ExtentQuery> parts;  // length 0: the range does not touch the leg
  size_t pending = 0;

  static void PartDone(ExtentQuery& part) noexcept {
    auto* merge = static_cast<Merge*>(part.context);
    if (merge->whole.error == 0) merge->whole.error = part.error;
    if (--merge->pending > 0) return;
    if (merge->whole.error == 0) merge->Join();
    ExtentQuery& whole = merge->whole;
    --merge->volume.queries_;
    delete merge;
    whole.done(whole);
  }

  // Walks the pieces in volume order, until a leg's answer ends or there are extents enough.
  void Join() {
    struct Reader {
      size_t extent = 0;
      uint64_t used = 0;  // bytes of that extent
    };
    std::vector<Reader> readers(parts.size());
    std::vector<Extent>& out = whole.extents;
    bool ended = false;
    volume.geometry_->Map(whole.offset, length, [&](const Piece& piece) {
      const std::vector<Extent>& extents = parts[piece.leg].extents;
      Reader& reader = readers[piece.leg];
      for (uint64_t left = piece.length; left > 0 && !ended;) {
        ended = reader.extent == extents.size();
        if (ended) break;
        Extent next = extents[reader.extent];
        next.length = std::min(left, next.length - reader.used);
        ended = out.size() == whole.extents_max &&
                (out.back().hole != next.hole || out.back().zero != next.zero);
        if (ended) break;
        AppendExtent(out, next);
        left -= next.length;
        reader.used += next.length;
        if (reader.used == extents[reader.extent].length) reader = {reader.extent + 1, 0};
      }
    });
  }
};

void Volume::QueryExtents(ExtentQuery& query) noexcept {
  SLUICE_CHECK(InRange(query.offset, query.length, limits_.size));
  SLUICE_CHECK(query.length > 0 && query.extents_max > 0 && query.extents.empty());
  const uint64_t length = std::min(query.length, kQueryBytesMax);
  ++queries_;
  auto* merge = new Merge{*this, query, length, std::vector<ExtentQuery>(legs_.size())};
  for (uint32_t leg = 0; leg < legs_.size(); ++leg) {
    const Piece run = geometry_->LegRun(leg, query.offset, length);
    ExtentQuery& part = merge->parts[leg];
    part.offset = run.offset;
    part.length = run.length;
    part.extents_max = query.extents_max;
    part.done = Merge::PartDone;
    part.context = merge;
    if (run.length > 0) ++merge->pending;
  }
  for (uint32_t leg = 0; leg < legs_.size(); ++leg) {
    if (merge->parts[leg].length > 0) legs_[leg]->QueryExtents(merge->parts[leg]);
  }
}

}  // namespace sluice
