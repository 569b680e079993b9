// SPDX-License-Identifier: Apache-2.0
// The share of one session, of either door, in its reactor's pools. A request's payload memory and
// its worst-case cells are taken together before its first payload byte, or not at all, so that no
// set of half-received requests can deadlock (promise 7). A session holds at most a quarter of a
// pool, or one request; and the last quarter of a pool is for sessions that hold nothing, so that a
// few clients who do not take their answers keep nobody else from being served (A2).
#pragma once

#include <cstdint>
#include <vector>

#include "core/pool.h"
#include "core/reactor.h"
#include "core/target.h"

namespace sluice {

// The bios of one request, in order, `part_bytes` each but the last. A cell's owner is the
// session's while its bio is in the target, and null before and after.
struct RequestParts {
  std::vector<BioCell*> parts;
  uint32_t part_bytes = 0;
};

class RequestMemory {
 public:
  RequestMemory(Reactor& reactor, const Target& target)
      : reactor_(reactor), cells_per_part_(1u + target.limits().children) {}

  enum class Verdict {
    kTaken,
    kWaitOwn,   // when this session gives something back, ask again
    kWaitPool,  // stand in the reactor's line for the pools
    kNever,     // larger than the pools
  };

  // How a request's range becomes bios.
  struct Shape {
    uint64_t offset = 0;
    uint32_t length = 0;
    uint32_t part_bytes = 1;  // most that one bio may have
    bool payload = false;     // each bio gets memory for its length
  };

  // Fills request.parts. `first_in_line`: this session was called from the line for the pools; else
  // it does not pass those who stand there.
  [[nodiscard]] Verdict Take(RequestParts& request, const Shape& shape, bool first_in_line);

  // Payload memory of one part, if it still has some.
  void GivePayload(BioCell& cell);
  // Everything of the request. REQUIRES: none of its bios is in the target.
  void GiveAll(RequestParts& request);

 private:
  // Makes the parts inside the reservation; false if the payload memory does not suffice.
  bool MakeParts(RequestParts& request, const Shape& shape);
  bool TakePayload(BioCell& cell);
  // Give back without waking the line: what was taken a moment ago wakes nobody.
  void FreePayload(BioCell& cell);
  void Free(RequestParts& request);

  Reactor& reactor_;
  const uint32_t cells_per_part_;
  uint32_t cells_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace sluice
