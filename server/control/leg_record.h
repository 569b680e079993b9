// SPDX-License-Identifier: Apache-2.0
// What concats have of each of their legs but the last, kept in the file `layout` of the state
// folder: a leg that is longer at the next start moves nothing, one that is shorter is refused.
// Kept of those that a config file declares, and of those that one declared once. (Those made at
// run time say it themselves, in what is saved of them.)
//
// A concat goes on from the record of its name. If that has other legs or there is none, it goes on
// from the last one of its legs, for then the volume has another name; in either case legs may have
// been put behind those that it had, or the last of them taken away.
//
// Control thread, or with Control's mutex held; blocks. Errors name the file, or the volume and a
// key of the config.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/state_dir.h"
#include "storage/topology.h"

namespace sluice {

class LegRecord {
 public:
  // Records of volumes that are not declared now. Of more, those declared last are kept; what is
  // forgotten is logged. With those of a largest config they fit in a file.
  static constexpr size_t kUndeclaredMax = 1024;

  // What is kept now. `state` outlives it. DataLoss: no record can be like that.
  static absl::StatusOr<LegRecord> Load(StateDir& state);

  // Says in `volume`, one of `all` or to be one, what it does not say itself and had of its legs.
  // What it says itself stands; if that is something else it is logged, with what it was.
  // FailedPrecondition: legs are others or in another order than they were, and the volume does not
  // say all of leg_bytes.
  absl::Status Recall(VolumeSpec& volume, const std::vector<VolumeSpec>& all) const;

  // Keeps, durably, what `spec` says in full, but for the volumes in `made`; what was kept of other
  // concats stays.
  absl::Status Keep(const TopologySpec& spec, const std::set<std::string>& made);

  // Forgets, durably, the concat `name`, for it is deleted.
  absl::Status Forget(const std::string& name);

 private:
  explicit LegRecord(StateDir& state) : state_(&state) {}
  const VolumeSpec* Find(const VolumeSpec& volume, const std::vector<VolumeSpec>& all) const;
  absl::Status Save();

  StateDir* state_;
  std::string saved_;                // the body of the file
  std::vector<VolumeSpec> records_;  // concats that say all; those declared last are last
};

}  // namespace sluice
