// SPDX-License-Identifier: Apache-2.0
// Bios for benchmarks, out of the reactor's pool, back into it on release. On a reactor's thread.
#pragma once

#include <cstdint>

#include "core/pool.h"
#include "core/reactor.h"
#include "tests/bench/stages/devices.h"

namespace sluice::bench {

// Counts the bios that came home; each did so whole and without error.
struct Tally {
  uint64_t done = 0;
};

inline Bio& MakeBio(Target& target, Op op, uint64_t offset, Tally& tally) noexcept {
  BioCell& cell = *Reactor::Current()->bios().New();
  cell.owner = &tally;
  Bio& bio = cell.bio;
  bio.target = &target;
  bio.op = op;
  bio.offset = offset;
  bio.length = kPage;
  bio.release = [](Bio& of) noexcept {
    SLUICE_CHECK(of.error == 0 && of.resid == 0);
    auto& its_cell = reinterpret_cast<BioCell&>(of);
    ++static_cast<Tally*>(its_cell.owner)->done;
    Reactor::Current()->bios().Delete(&its_cell);
  };
  return bio;
}

}  // namespace sluice::bench
