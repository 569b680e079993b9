// SPDX-License-Identifier: Apache-2.0
// Anything that a bio can be addressed to: a disk, a volume, a guard before one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/bio.h"

namespace sluice {

// What a target is; constant while it is published, but that it may grow on its home reactor.
struct Limits {
  uint64_t size = 0;             // bytes
  uint32_t block = 512;          // bytes; range and length of every bio are multiples of it
  uint32_t logical_block = 512;  // bytes; what clients are told: the device's own, or an override
  uint32_t preferred = 4096;     // bytes; below it a request costs a read-modify-write or worse
  uint32_t lend_bytes_max = 0;   // longest kBorrow read; 0: it never lends
  uint16_t children =
      0;  // cells and segment lists that one bio may need below, all levels: reserved by the doors
  bool swallows = false;  // nobody looks at a kWrite's memory: it may have none
  bool read_only = false;
  bool rotational = false;
  bool can_trim = false;
  bool can_zero = true;        // kZero always works, by writing if need be
  bool can_fast_zero = false;  // kZero with kFastZero may succeed
};

// A stretch of a target that is alike.
struct Extent {
  uint64_t length = 0;  // bytes, never 0
  bool hole = false;    // not allocated
  bool zero = false;    // reads as zeroes
};

// Asks what is allocated in [offset, offset + length). The answer starts at `offset`, may end early
// (at least one extent unless an error), never passes the end, and neighbours differ. `done` runs
// once, on the reactor that asked.
struct ExtentQuery {
  uint64_t offset = 0;
  uint64_t length = 0;  // > 0
  uint32_t extents_max = 1;
  std::vector<Extent> extents;
  int error = 0;
  void (*done)(ExtentQuery& query) noexcept = nullptr;
  void* context = nullptr;
};

// Appends, joining with the last extent when both are alike.
void AppendExtent(std::vector<Extent>& extents, const Extent& extent);

inline constexpr uint16_t kNoHome = 0xffff;

class Target {
 public:
  virtual ~Target() = default;

  // The reactor on whose thread all the calls below are made; kNoHome: any (it has no state).
  virtual uint16_t home() const noexcept = 0;
  virtual const Limits& limits() const noexcept = 0;

  // Takes the bio; answers through Done(), never by a callback from inside.
  virtual void Strategy(Bio& bio) noexcept = 0;

  // If the bio is still queued here it is taken out and ends with ECANCELED; else nothing happens.
  virtual void Cancel(Bio& bio) noexcept = 0;

  // Takes the query; `done` is called on the home reactor, never from inside.
  virtual void QueryExtents(ExtentQuery& query) noexcept = 0;
};

// Takes the query to its target, on whatever reactor that lives, and the answer back. Control path:
// allocates. REQUIRES: a reactor's thread.
void AskExtents(Target& target, ExtentQuery& query);

}  // namespace sluice
