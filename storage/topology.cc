// SPDX-License-Identifier: Apache-2.0
#include "storage/topology.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/units.h"
#include "storage/geometry.h"
#include "storage/label_guard.h"
#include "storage/volume.h"

namespace sluice {
namespace {

// A spec whose names are resolved. A node is a disk, or a volume (numbered after the disks).
struct Plan {
  std::map<std::string, size_t> node_of;
  std::vector<std::vector<size_t>> legs;  // by volume: nodes
  std::vector<size_t> order;              // volumes, each after those it stands on
};

absl::Status Wrong(const VolumeSpec& volume, absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("volume \"", volume.name, "\": ", key, ": ", what));
}

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

absl::StatusOr<Plan> MakePlan(const TopologySpec& spec) {
  Plan plan;
  if (absl::Status status = CheckNames(spec, plan); !status.ok()) return status;
  if (absl::Status status = ResolveLegs(spec, plan); !status.ok()) return status;
  if (absl::Status status = OrderVolumes(spec, plan); !status.ok()) return status;
  return plan;
}

// The home of each node: one for all that volumes join, dealt in turn; none for null disks, which
// join nothing.
std::vector<uint16_t> DealHomes(const TopologySpec& spec, const Plan& plan, uint16_t reactors) {
  const size_t disks = spec.disks.size();
  const auto is_null = [&](size_t node) {
    return node < disks && spec.disks[node].kind == DiskSpec::Kind::kNull;
  };
  std::vector<size_t> up(disks + spec.volumes.size());
  std::iota(up.begin(), up.end(), size_t{0});
  const auto root = [&](size_t node) {
    while (up[node] != node) node = up[node] = up[up[node]];
    return node;
  };
  for (size_t volume = 0; volume < spec.volumes.size(); ++volume) {
    for (const size_t leg : plan.legs[volume]) {
      if (!is_null(leg)) up[root(disks + volume)] = root(leg);
    }
  }
  std::vector<uint16_t> home(up.size(), kNoHome);
  uint16_t next = 0;
  for (size_t node = 0; node < up.size(); ++node) {
    if (is_null(node)) continue;
    uint16_t& group = home[root(node)];
    if (group == kNoHome) {
      group = next;
      next = static_cast<uint16_t>((next + 1) % reactors);
    }
    home[node] = group;
  }
  return home;
}

// Why `offset_bytes` or `size_bytes` of a slice cannot be, or OK.
absl::Status CheckSliceAlignment(const VolumeSpec& volume, uint32_t block) {
  const std::string what =
      absl::StrCat("is no multiple of ", block, ", the block size of \"", volume.legs[0], "\"");
  if (!IsAligned(volume.offset_bytes, block)) return Wrong(volume, "offset_bytes", what);
  if (!IsAligned(volume.size_bytes, block)) return Wrong(volume, "size_bytes", what);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Target>> MakeVolume(const VolumeSpec& spec,
                                                   std::vector<Target*> legs, uint16_t home) {
  uint32_t block = kSector;
  size_t children = 0;
  for (const Target* leg : legs) {
    block = std::max({block, leg->limits().block, leg->limits().logical_block});
    children += 1u + leg->limits().children;
  }
  if (children > kMaxChildren) {
    return Wrong(
        spec, "leg",
        absl::StrCat("a request would become ", children, " requests, more than ", kMaxChildren));
  }
  // Legs end at a whole block of the volume, so that no piece is finer than what any leg tells
  // its clients.
  std::vector<uint64_t> sizes;
  sizes.reserve(legs.size());
  for (const Target* leg : legs) sizes.push_back(AlignDown(leg->limits().size, block));

  absl::StatusOr<std::unique_ptr<const Geometry>> geometry;
  const char* key = "leg";
  switch (spec.kind) {
    case VolumeSpec::Kind::kSlice:
      if (absl::Status status = CheckSliceAlignment(spec, block); !status.ok()) return status;
      key = "size_bytes";
      geometry = MakeSlice(sizes[0], spec.offset_bytes, spec.size_bytes);
      break;
    case VolumeSpec::Kind::kConcat:
      geometry = MakeConcat(sizes);
      break;
    case VolumeSpec::Kind::kStripe:
      if (spec.chunk_bytes < block) {
        return Wrong(spec, "chunk_bytes", absl::StrCat("a leg has blocks of ", block, " bytes"));
      }
      geometry = MakeStripe(sizes, spec.chunk_bytes);
      break;
  }
  if (!geometry.ok()) return Wrong(spec, key, geometry.status().message());
  return std::make_unique<Volume>(*std::move(geometry), std::move(legs), home);
}

std::vector<Place> SlicesOf(const TopologySpec& spec, const Plan& plan, size_t disk) {
  std::vector<Place> places;
  for (size_t volume = 0; volume < spec.volumes.size(); ++volume) {
    const VolumeSpec& slice = spec.volumes[volume];
    if (slice.kind != VolumeSpec::Kind::kSlice || plan.legs[volume][0] != disk) continue;
    places.push_back({slice.offset_bytes, slice.size_bytes});
  }
  return places;
}

}  // namespace

absl::Status CheckTopology(const TopologySpec& spec) { return MakePlan(spec).status(); }

absl::StatusOr<std::unique_ptr<const Topology>> Topology::Build(const TopologySpec& spec,
                                                                uint16_t reactors,
                                                                DiskFactory& factory) {
  SLUICE_CHECK(reactors > 0);
  const absl::StatusOr<Plan> plan = MakePlan(spec);
  if (!plan.ok()) return plan.status();
  const std::vector<uint16_t> home = DealHomes(spec, *plan, reactors);
  const size_t disks = spec.disks.size();

  std::unique_ptr<Topology> topology(new Topology);
  std::vector<Target*> top(home.size(), nullptr);  // by node: what others stand on
  const auto keep = [&](size_t node, std::unique_ptr<Target> target) {
    top[node] = target.get();
    topology->targets_.push_back(std::move(target));
  };
  for (size_t disk = 0; disk < disks; ++disk) {
    absl::StatusOr<std::unique_ptr<Target>> opened = factory.Open(spec.disks[disk], home[disk]);
    if (!opened.ok()) return opened.status();
    SLUICE_CHECK((*opened)->home() == home[disk] || (*opened)->home() == kNoHome);
    keep(disk, *std::move(opened));
    const Limits& limits = top[disk]->limits();
    std::vector<Place> slices = SlicesOf(spec, *plan, disk);
    if (slices.empty() || top[disk]->home() == kNoHome || limits.read_only) continue;
    if (!IsAligned(limits.size, limits.block)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "disk \"", spec.disks[disk].name, "\": its size of ", limits.size,
          " bytes is no multiple of its block of ", limits.block, ": it cannot have slices"));
    }
    keep(disk, std::make_unique<LabelGuard>(*top[disk], std::move(slices)));
  }
  for (const size_t volume : plan->order) {
    std::vector<Target*> legs;
    for (const size_t leg : plan->legs[volume]) legs.push_back(top[leg]);
    auto made = MakeVolume(spec.volumes[volume], std::move(legs), home[disks + volume]);
    if (!made.ok()) return made.status();
    keep(disks + volume, *std::move(made));
  }
  for (const auto& [name, node] : plan->node_of) topology->by_name_.emplace(name, top[node]);
  return topology;
}

Topology::~Topology() {
  while (!targets_.empty()) targets_.pop_back();
}

Target* Topology::Find(absl::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace sluice
