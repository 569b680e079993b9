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

Flight* FlightIndex::FindStream(const Flight& run, uint32_t requests_min) noexcept {
  Flight* neighbour = nullptr;
  uint32_t requests = run.requests;
  uint64_t at = run.begin;
  const auto wants_more = [&] { return neighbour == nullptr || requests < requests_min; };
  for (uint32_t step = 0; step < requests_min && wants_more(); ++step) {
    const auto below = by_end_.find(Place{run.run_class, at});
    if (below == by_end_.end()) break;
    if (neighbour == nullptr) neighbour = &*below;
    requests += below->requests;
    at = below->begin;
  }
  at = run.end;
  for (uint32_t step = 0; step < requests_min && wants_more(); ++step) {
    const auto above = by_begin_.find(Place{run.run_class, at});
    if (above == by_begin_.end()) break;
    if (neighbour == nullptr) neighbour = &*above;
    requests += above->requests;
    at = above->end;
  }
  return requests >= requests_min ? neighbour : nullptr;
}

}  // namespace sluice
