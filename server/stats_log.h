// SPDX-License-Identifier: Apache-2.0
// What a disk has done so far, as one line for the log: `stats disk=NAME key=value ...`. Counts
// since the start; keys are stable, new ones come at the end.
#pragma once

#include <string>

#include "core/ring.h"
#include "storage/disk.h"

namespace sluice {

// Any thread. `ring`: of the disk's home, whose enters and sqes are told too.
std::string StatsLine(const Disk& disk, const RingPoller& ring);

}  // namespace sluice
