// SPDX-License-Identifier: Apache-2.0
// A server's load as text for people and for programs.
#pragma once

#include <string>

#include "client/control/rates.h"
#include "sluice/v1/stats.pb.h"

namespace sluice::control {

// A table of exports, one of disks, a line of reactors.
std::string TopTable(const Rates& rates, const v1::Stats& now, bool colour);

// One line: the rates, and beside them, as "total", what was counted since the server began.
std::string TopJson(const Rates& rates, const v1::Stats& now);

}  // namespace sluice::control
