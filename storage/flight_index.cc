// SPDX-License-Identifier: Apache-2.0
#include "storage/flight_index.h"

namespace sluice {

void FlightIndex::Insert(Flight& flight) noexcept {
  by_begin_.insert(flight);
  by_end_.insert(flight);
}

void FlightIndex::Erase(Flight& flight) noexcept {
  if (!Holds(flight)) return;
  by_begin_.erase(by_begin_.iterator_to(flight));
  by_end_.erase(by_end_.iterator_to(flight));
}

Flight* FlightIndex::FindNeighbour(uint32_t run_class, uint64_t begin, uint64_t end) noexcept {
  const auto below = by_end_.find(Place{run_class, begin});
  if (below != by_end_.end()) return &*below;
  const auto above = by_begin_.find(Place{run_class, end});
  return above != by_begin_.end() ? &*above : nullptr;
}

}  // namespace sluice
