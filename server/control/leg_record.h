// SPDX-License-Identifier: Apache-2.0
// What the concats that a config file declares have of each of their legs, kept in the file
// `layout` of the state folder: a leg that is longer at the next start moves nothing, one that is
// shorter is refused. (Those made at run time say it themselves, in what is saved of them.)
//
// Control thread; blocks. Errors are those of StateDir, or name the file.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "server/state_dir.h"
#include "storage/topology.h"

namespace sluice {

// Says in `spec` what is kept of its concats and what they do not say themselves, as far as their
// legs are those that they had. Before SaveLegs().
absl::Status RecallLegs(StateDir& state, TopologySpec& spec);

// Keeps what `spec` says, but for the volumes in `made`, instead of what was kept before.
absl::Status SaveLegs(StateDir& state, const TopologySpec& spec, const std::set<std::string>& made);

}  // namespace sluice
