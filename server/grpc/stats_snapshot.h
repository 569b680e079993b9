// SPDX-License-Identifier: Apache-2.0
// A look at the counters of the whole server (server/stats_snapshot.h) as a message. Any thread.
#pragma once

#include "server/stats_snapshot.h"
#include "sluice/v1/stats.pb.h"

namespace sluice::rpc {

// Fills `to`, which is empty. `counters_only`: without latencies.
void FillStats(const StatsSnapshot& from, bool counters_only, v1::Stats& to);

}  // namespace sluice::rpc
