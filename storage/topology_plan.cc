// SPDX-License-Identifier: Apache-2.0
#include "storage/topology_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/units.h"

namespace sluice {

absl::Status Wrong(const VolumeSpec& volume, absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("volume \"", volume.name, "\": ", key, ": ", what));
}

namespace {

absl::Status CheckNames(const TopologySpec& spec, Plan& plan) {
  const auto add = [&](absl::string_view kind, const std::string& name) {
    if (name.empty())
      return absl::InvalidArgumentError(absl::StrCat(kind, " \"\": name: is empty"));
    if (!plan.node_of.emplace(name, plan.node_of.size()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(kind, " \"", name, "\": name: another disk or volume has it"));
    }
    return absl::OkStatus();
  };
  for (const DiskSpec& disk : spec.disks) {
    if (absl::Status status = add("disk", disk.name); !status.ok()) return status;
  }
  for (const VolumeSpec& volume : spec.volumes) {
    if (absl::Status status = add("volume", volume.name); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const VolumeSpec& volume) {
  const bool slice = volume.kind == VolumeSpec::Kind::kSlice;
  const char* key = slice ? "of" : "leg";
  if (volume.legs.empty()) return Wrong(volume, key, "is missing");
  if (slice && volume.legs.size() > 1) return Wrong(volume, key, "a slice has one leg");
  if (volume.legs.size() > kMaxLegs) {
    return Wrong(volume, key, absl::StrCat("more than ", kMaxLegs, " legs"));
  }
  if (slice && volume.size_bytes == 0) return Wrong(volume, "size_bytes", "is 0");
  if (slice && volume.size_bytes > ~uint64_t{0} - volume.offset_bytes) {
    return Wrong(volume, "size_bytes", "offset and size together exceed 64 bits");
  }
  if (!volume.leg_bytes.empty() && volume.leg_bytes.size() >= volume.legs.size()) {
    return Wrong(volume, "leg_bytes", "there is one for each leg but the last, at most");
  }
  if (std::count(volume.leg_bytes.begin(), volume.leg_bytes.end(), uint64_t{0}) > 0) {
    return Wrong(volume, "leg_bytes", "is 0");
  }
  if (volume.kind != VolumeSpec::Kind::kStripe) return absl::OkStatus();
  if (volume.chunk_bytes < kMinChunkBytes || !IsPowerOfTwo(volume.chunk_bytes)) {
    return Wrong(
        volume, "chunk_bytes",
        absl::StrCat(volume.chunk_bytes, " is no power of two of at least ", kMinChunkBytes));
  }
  return absl::OkStatus();
}

// Names every leg's node, and sees that each is used once, or by slices that do not overlap.
absl::Status ResolveLegs(const TopologySpec& spec, Plan& plan) {
  std::vector<std::vector<const VolumeSpec*>> users(plan.node_of.size());
  for (const VolumeSpec& volume : spec.volumes) {
    if (absl::Status status = CheckShape(volume); !status.ok()) return status;
    const char* key = volume.kind == VolumeSpec::Kind::kSlice ? "of" : "leg";
    std::vector<size_t>& legs = plan.legs.emplace_back();
    for (const std::string& name : volume.legs) {
      const auto found = plan.node_of.find(name);
      if (found == plan.node_of.end()) {
        return Wrong(volume, key, absl::StrCat("there is no disk or volume \"", name, "\""));
      }
      for (const VolumeSpec* other : users[found->second]) {
        if (volume.kind != VolumeSpec::Kind::kSlice || other->kind != VolumeSpec::Kind::kSlice) {
          return Wrong(volume, key,
                       absl::StrCat("\"", name, "\" is used already, by \"", other->name, "\""));
        }
        if (volume.offset_bytes < other->offset_bytes + other->size_bytes &&
            other->offset_bytes < volume.offset_bytes + volume.size_bytes) {
          return Wrong(volume, "offset_bytes",
                       absl::StrCat("overlaps the slice \"", other->name, "\""));
        }
      }
      users[found->second].push_back(&volume);
      legs.push_back(found->second);
    }
  }
  return absl::OkStatus();
}

// A volume that stands on itself, given that one of `waiting` (per volume: legs not ordered) does
// or leads there.
size_t OnCycle(const Plan& plan, const std::vector<size_t>& waiting, size_t disks) {
  auto at = static_cast<size_t>(
      std::find_if(waiting.begin(), waiting.end(), [](size_t legs) { return legs > 0; }) -
      waiting.begin());
  for (size_t step = 0; step < waiting.size(); ++step) {
    for (const size_t leg : plan.legs[at]) {
      if (leg < disks || waiting[leg - disks] == 0) continue;
      at = leg - disks;
      break;
    }
  }
  return at;
}

absl::Status OrderVolumes(const TopologySpec& spec, Plan& plan) {
  const size_t disks = spec.disks.size();
  std::vector<std::vector<size_t>> users(spec.volumes.size());  // by volume: volumes, once a leg
  std::vector<size_t> waiting(spec.volumes.size(), 0);
  std::vector<int> depth(spec.volumes.size(), 1);
  for (size_t volume = 0; volume < spec.volumes.size(); ++volume) {
    for (const size_t leg : plan.legs[volume]) {
      if (leg < disks) continue;
      users[leg - disks].push_back(volume);
      ++waiting[volume];
    }
    if (waiting[volume] == 0) plan.order.push_back(volume);
  }
  for (size_t i = 0; i < plan.order.size(); ++i) {
    const size_t volume = plan.order[i];
    if (depth[volume] > kMaxVolumeDepth) {
      return Wrong(spec.volumes[volume], "leg",
                   absl::StrCat("volumes are nested more than ", kMaxVolumeDepth, " deep"));
    }
    for (const size_t user : users[volume]) {
      depth[user] = std::max(depth[user], depth[volume] + 1);
      if (--waiting[user] == 0) plan.order.push_back(user);
    }
  }
  if (plan.order.size() == spec.volumes.size()) return absl::OkStatus();
  return Wrong(spec.volumes[OnCycle(plan, waiting, disks)], "leg", "the volume stands on itself");
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const TopologySpec& spec) {
  Plan plan;
  if (absl::Status status = CheckNames(spec, plan); !status.ok()) return status;
  if (absl::Status status = ResolveLegs(spec, plan); !status.ok()) return status;
  if (absl::Status status = OrderVolumes(spec, plan); !status.ok()) return status;
  return plan;
}

absl::Status CheckTopology(const TopologySpec& spec) { return MakePlan(spec).status(); }

}  // namespace sluice
