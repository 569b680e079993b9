// SPDX-License-Identifier: Apache-2.0
#include "storage/gather.h"

#include <algorithm>

#include "core/check.h"

namespace sluice {
namespace {

uint64_t EndOf(const Bio& bio) { return bio.offset + bio.length; }

constexpr uint8_t kClassFlags = kFua | kNoHole | kFastZero;

}  // namespace

Gather::~Gather() { SLUICE_CHECK(plugged_.empty() && waiting_.empty() && cut_.empty()); }

uint32_t Gather::ClassOf(const Bio& bio) noexcept {
  return static_cast<uint32_t>(bio.op) << 16 | static_cast<uint32_t>(bio.prio) << 8 |
         (bio.flags & kClassFlags);
}

bool Gather::Gathers(const Bio& bio) const noexcept {
  return limits_.on && (bio.flags & (kNoGather | kBorrow)) == 0 &&
         (HasData(bio.op) || IsWriteType(bio.op));
}

uint32_t Gather::SegmentsOf(Bio& run) noexcept {
  return (run.flags & kCarrier) != 0 ? CarrierOf(run).segments : run.seg_count;
}

bool Gather::Fits(const Bio& run, uint32_t segments, const Bio& more,
                  uint32_t more_segments) const noexcept {
  const uint32_t bytes_max = HasData(run.op) ? limits_.bytes_max : kMaxEffect;
  return uint64_t{run.length} + more.length <= bytes_max &&
         segments + more_segments <= limits_.segments_max;
}

void Gather::Plug(Bio& bio) noexcept {
  bio.where = Where::kGather;
  plugged_.push_back(bio);
  if (Gathers(bio)) by_offset_.insert(by_offset_.end(), bio);
}

void Gather::TakePlugged(Bio& bio) noexcept {
  plugged_.erase(plugged_.iterator_to(bio));
  if (bio.sort.is_linked()) by_offset_.erase(by_offset_.iterator_to(bio));
  bio.where = Where::kSubmitter;
}

void Gather::Unplug(Bio& bio) noexcept {
  SLUICE_CHECK(bio.where == Where::kGather);
  TakePlugged(bio);
}

Carrier& Gather::Wrap(Bio& bio) noexcept {
  Carrier& carrier = *carriers_.New();
  carrier.bio.flags = static_cast<uint8_t>((bio.flags & kClassFlags) | kCarrier);
  carrier.bio.op = bio.op;
  carrier.bio.prio = bio.prio;
  carrier.bio.flow = bio.flow;
  carrier.bio.home = bio.home;
  carrier.bio.offset = bio.offset;
  carrier.bio.born_ns = bio.born_ns;
  AddBack(carrier, bio);
  return carrier;
}

void Gather::AddBack(Carrier& carrier, Bio& bio) noexcept {
  bio.where = Where::kRider;
  carrier.riders.push_back(bio);
  ++carrier.rider_count;
  carrier.segments += bio.seg_count;
  carrier.bio.length += bio.length;
  carrier.bio.born_ns = std::min(carrier.bio.born_ns, bio.born_ns);
}

void Gather::AddFront(Carrier& carrier, Bio& bio) noexcept {
  bio.where = Where::kRider;
  carrier.riders.push_front(bio);
  ++carrier.rider_count;
  carrier.segments += bio.seg_count;
  carrier.bio.offset = bio.offset;
  carrier.bio.length += bio.length;
  carrier.bio.born_ns = std::min(carrier.bio.born_ns, bio.born_ns);
}

Bio* Gather::Collect() noexcept {
  if (plugged_.empty()) return nullptr;
  Bio& first = plugged_.front();
  if (!first.sort.is_linked()) {
    stats_.cut_off.Add(1);
    TakePlugged(first);
    return &first;
  }
  // Walk to the neighbours of the oldest, below and above it, as far as they touch and fit.
  const uint32_t run_class = ClassOf(first);
  auto begin = by_offset_.iterator_to(first);
  auto last = begin;
  uint64_t bytes = first.length;
  uint32_t segments = first.seg_count;
  bool limit = false;
  const auto joins = [&](const Bio& bio) {
    if (ClassOf(bio) != run_class) return false;
    const uint32_t bytes_max = HasData(bio.op) ? limits_.bytes_max : kMaxEffect;
    if (bytes + bio.length > bytes_max || segments + bio.seg_count > limits_.segments_max) {
      limit = true;
      return false;
    }
    bytes += bio.length;
    segments += bio.seg_count;
    return true;
  };
  while (begin != by_offset_.begin()) {
    auto below = std::prev(begin);
    if (EndOf(*below) != begin->offset || !joins(*below)) break;
    begin = below;
  }
  for (auto above = std::next(last); above != by_offset_.end(); ++above) {
    if (EndOf(*last) != above->offset || !joins(*above)) break;
    last = above;
  }
  CountCut(*last, limit);
  if (begin == last) {
    TakePlugged(first);
    return &first;
  }
  const Bio* end = &*last;
  Carrier* carrier = nullptr;
  for (auto it = begin;;) {
    Bio& bio = *it++;
    TakePlugged(bio);
    if (carrier == nullptr) {
      carrier = &Wrap(bio);
    } else {
      AddBack(*carrier, bio);
    }
    if (&bio == end) break;
  }
  return &carrier->bio;
}

void Gather::CountCut(const Bio& last, bool limit) noexcept {
  if (limit) return stats_.cut_limit.Add(1);
  const auto other = by_offset_.find(Key{ClassOf(last) ^ kFua, EndOf(last)});
  (other == by_offset_.end() ? stats_.cut_gap : stats_.cut_class).Add(1);
}

Gather::Met Gather::FindNeighbour(Bio& run, Carrier*& waiting) noexcept {
  if (waiting_.empty() || !Gathers(run)) return Met::kNone;
  const uint32_t segments = SegmentsOf(run);
  const Key key{ClassOf(run), run.offset};
  auto above = waiting_.lower_bound(key);
  if (above != waiting_.begin()) {
    Carrier& below = *std::prev(above);
    if (ClassOf(below.bio) == key.run_class && EndOf(below.bio) == run.offset &&
        Fits(below.bio, below.segments, run, segments)) {
      waiting = &below;
      return Met::kBack;
    }
  }
  above = waiting_.lower_bound(Key{key.run_class, EndOf(run)});
  if (above != waiting_.end() && ClassOf(above->bio) == key.run_class &&
      above->bio.offset == EndOf(run) && Fits(above->bio, above->segments, run, segments)) {
    waiting = &*above;
    return Met::kFront;
  }
  return Met::kNone;
}

void Gather::AppendTo(Bio& run, Carrier& waiting) noexcept {
  if ((run.flags & kCarrier) == 0) return AddBack(waiting, run);
  Carrier& more = CarrierOf(run);
  while (!more.riders.empty()) {
    Bio& rider = more.riders.front();
    more.riders.pop_front();
    AddBack(waiting, rider);
  }
  carriers_.Delete(&more);
}

void Gather::PrependTo(Bio& run, Carrier& waiting) noexcept {
  waiting_.erase(waiting_.iterator_to(waiting));
  if ((run.flags & kCarrier) == 0) {
    AddFront(waiting, run);
  } else {
    Carrier& more = CarrierOf(run);
    while (!more.riders.empty()) {
      Bio& rider = more.riders.back();
      more.riders.pop_back();
      AddFront(waiting, rider);
    }
    carriers_.Delete(&more);
  }
  waiting_.insert(waiting);
}

Bio& Gather::BeginWait(Bio& run) noexcept {
  if (!Gathers(run)) return run;
  Carrier& carrier = (run.flags & kCarrier) != 0 ? CarrierOf(run) : Wrap(run);
  waiting_.insert(carrier);
  return carrier.bio;
}

Bio& Gather::EndWait(Bio& run) noexcept {
  if ((run.flags & kCarrier) == 0) return run;
  Carrier& carrier = CarrierOf(run);
  EndIndex(carrier);
  if (carrier.rider_count > 1) return run;
  Bio& rider = carrier.riders.front();
  carrier.riders.pop_front();
  carriers_.Delete(&carrier);
  rider.where = Where::kSubmitter;
  return rider;
}

void Gather::EndIndex(Carrier& carrier) noexcept {
  if (!carrier.index.is_linked()) return;
  WaitingTree& tree = carrier.cut ? cut_ : waiting_;
  tree.erase(tree.iterator_to(carrier));
}

void Gather::Cut() noexcept {
  while (!waiting_.empty()) {
    Carrier& carrier = *waiting_.begin();
    waiting_.erase(waiting_.begin());
    carrier.cut = true;
    cut_.insert(carrier);
    stats_.cut_flush.Add(1);
  }
}

void Gather::Dissolve(Carrier& carrier, BioFifo& riders) noexcept {
  EndIndex(carrier);
  for (Bio& rider : carrier.riders) rider.where = Where::kSubmitter;
  riders.splice(riders.end(), carrier.riders);
  carriers_.Delete(&carrier);
}

void Gather::Free(Carrier& carrier) noexcept {
  SLUICE_CHECK(carrier.riders.empty() && !carrier.index.is_linked());
  carriers_.Delete(&carrier);
}

Carrier* Gather::FindCarrierOf(Bio& rider) noexcept {
  Carrier* found = FindIn(waiting_, rider);
  return found != nullptr ? found : FindIn(cut_, rider);
}

// Waiting writes do not overlap, so the first look nearly always hits; reads may share ranges.
Carrier* Gather::FindIn(WaitingTree& tree, Bio& rider) noexcept {
  const uint64_t reach = HasData(rider.op) ? kMaxTransfer : kMaxEffect;
  auto it = tree.upper_bound(Key{ClassOf(rider), rider.offset});
  while (it != tree.begin()) {
    Carrier& carrier = *--it;
    if (ClassOf(carrier.bio) != ClassOf(rider) || carrier.bio.offset + reach <= rider.offset) {
      return nullptr;
    }
    if (EndOf(carrier.bio) <= rider.offset) continue;
    for (Bio& bio : carrier.riders) {
      if (&bio == &rider) return &carrier;
    }
  }
  return nullptr;
}

}  // namespace sluice
