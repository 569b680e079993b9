// SPDX-License-Identifier: Apache-2.0
// Takes the snapshots of stats_snapshot.h. A look takes no lock of the data path and disturbs no
// reactor: each counter is read as it is, one after the other, so that two of them may be a few
// requests apart.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "core/ring.h"
#include "server/disk_factory.h"
#include "server/export.h"
#include "server/stats_snapshot.h"

namespace sluice {

// What there is to look at. All of it outlives this.
struct StatsSources {
  // A door, by what it says of itself now; any thread.
  using Door = absl::AnyInvocable<DoorSnapshot()>;

  Clock* clock = nullptr;
  uint64_t started_ns = 0;  // of `clock`
  ReactorSet* reactors = nullptr;
  std::vector<const RingPoller*> rings;  // by reactor; empty: these have none
  const ConfiguredDisks* disks = nullptr;
  const ExportDirectory* exports = nullptr;  // whose entries are Exports
  std::vector<Door> doors;
};

// Any thread but a reactor's; one at a time of one `sources`. Allocates.
StatsSnapshot TakeSnapshot(StatsSources& sources);

// One disk of it. Any thread.
DiskSnapshot SnapshotOf(const Disk& disk);

}  // namespace sluice
