// SPDX-License-Identifier: Apache-2.0
// A snapshot as Prometheus' text format. Names and units are Prometheus' (base units, _total for
// what only rises); a family's help says what it counts. What never happened is left out: a series
// appears with its first request, error, or client, and stays.
#pragma once

#include <string>

#include "server/http/process.h"
#include "server/stats_snapshot.h"

namespace sluice::http {

inline constexpr char kExpositionType[] = "text/plain; version=0.0.4; charset=utf-8";

// Any thread.
std::string Expose(const StatsSnapshot& stats, const ProcessSnapshot& process);

}  // namespace sluice::http
