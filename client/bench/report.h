// SPDX-License-Identifier: Apache-2.0
// A run's result as text for people and as JSON for programs.
#pragma once

#include <string>

#include "client/bench/bench.h"
#include "client/bench/options.h"

namespace sluice::bench {

// Several lines, with the last newline.
std::string TableOf(const Options& options, const Result& result);

// One line of JSON and a newline. `histogram` holds, for each bar, its upper bound and how many
// requests lie between that and the bar before; latencies are microseconds.
std::string JsonOf(const Options& options, const Result& result);

// What went wrong and what to do about it, a line each; empty after a good run.
std::string ProblemsOf(const Result& result);

}  // namespace sluice::bench
