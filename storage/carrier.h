// SPDX-License-Identifier: Apache-2.0
// A gathered run: one bio for the queue and the device, and the riders that it carries. Riders keep
// their own completion; each is answered only when the carrier is (promise 1).
#pragma once

#include <cstdint>

#include "core/bio.h"
#include "core/check.h"

namespace sluice {

struct Carrier {
  Bio bio;  // kCarrier; the run's range, op, flags, class; no memory of its own until dispatch
  BioFifo riders;  // in order of offset, contiguous, where == kRider
  uint32_t rider_count = 0;
  TreeHook index;           // in gather's index of waiting runs, by offset
  uint32_t segments = 0;    // of all riders
  bool cut = false;         // a flush came behind it: nothing joins any more
  void* held_by = nullptr;  // the disk's: the operation that it is held for
};

inline Carrier& CarrierOf(Bio& bio) noexcept {
  SLUICE_CHECK((bio.flags & kCarrier) != 0);
  static_assert(offsetof(Carrier, bio) == 0);
  return reinterpret_cast<Carrier&>(bio);
}

// Calls visit(Bio&) for the bio, or for each rider of a carrier.
template <typename F>
void ForEachRider(Bio& bio, F&& visit) {
  if ((bio.flags & kCarrier) == 0) return visit(bio);
  for (Bio& rider : CarrierOf(bio).riders) visit(rider);
}

}  // namespace sluice
