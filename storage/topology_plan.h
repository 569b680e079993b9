// SPDX-License-Identifier: Apache-2.0
// What can be said of a topology before a disk is opened. For topology.cc. Pure; any thread.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/topology.h"

namespace sluice {

// A spec whose names are resolved. A node is a disk, or a volume (numbered after the disks).
struct Plan {
  std::map<std::string, size_t> node_of;
  std::vector<std::vector<size_t>> legs;  // by volume: nodes
  std::vector<size_t> order;              // volumes, each after those it stands on
};

// As CheckTopology().
absl::StatusOr<Plan> MakePlan(const TopologySpec& spec);

// What is wrong with a volume, in CheckTopology()'s form.
absl::Status Wrong(const VolumeSpec& volume, absl::string_view key, absl::string_view what);

}  // namespace sluice
