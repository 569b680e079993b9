// SPDX-License-Identifier: Apache-2.0
// What a disk has done so far, as one line for the log: `stats disk=NAME key=value ...`. Counts
// since the start; keys are stable, new ones come at the end.
#pragma once

#include <string>

#include "server/stats_snapshot.h"

namespace sluice {

// `home`: the reactor that the disk lives on, whose enters and sqes are told too.
std::string StatsLine(const DiskSnapshot& disk, const ReactorSnapshot& home);

}  // namespace sluice
