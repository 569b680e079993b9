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
#include "storage/topology_plan.h"
#include "storage/volume.h"

namespace sluice {
namespace {

// The home of each node: one for all that volumes join; none for null disks, which join nothing.
// `now` is where those are that exist already, else kNoHome: a group lives where its first such
// volume is, or its first such disk, or on the reactor with the fewest groups.
std::vector<uint16_t> DealHomes(const TopologySpec& spec, const Plan& plan, uint16_t reactors,
                                const std::vector<uint16_t>& now) {
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
  std::vector<uint16_t> home(up.size(), kNoHome);  // of a group, at its root
  std::vector<size_t> groups(reactors, 0);
  const auto settle = [&](size_t node, uint16_t at) {
    if (is_null(node) || at == kNoHome || home[root(node)] != kNoHome) return;
    home[root(node)] = at;
    ++groups[at];
  };
  for (size_t node = disks; node < up.size(); ++node) settle(node, now[node]);
  for (size_t node = 0; node < disks; ++node) settle(node, now[node]);
  for (size_t node = 0; node < up.size(); ++node) {
    const auto idlest = std::min_element(groups.begin(), groups.end()) - groups.begin();
    settle(node, static_cast<uint16_t>(idlest));
  }
  for (size_t node = 0; node < up.size(); ++node) {
    if (!is_null(node)) home[node] = home[root(node)];
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

uint32_t BlockOver(const std::vector<std::shared_ptr<Target>>& legs) {
  uint32_t block = kSector;
  for (const auto& leg : legs) {
    block = std::max({block, leg->limits().block, leg->limits().logical_block});
  }
  return block;
}

// How a volume lies on legs of these sizes.
absl::StatusOr<std::unique_ptr<const Geometry>> MakeGeometry(const VolumeSpec& spec,
                                                             std::vector<uint64_t> sizes,
                                                             uint32_t block) {
  // Legs end at a whole block of the volume, so that no piece is finer than what any leg tells
  // its clients.
  for (uint64_t& size : sizes) size = AlignDown(size, block);
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
  return geometry;
}

// Cuts the legs of a concat, which have `sizes`, to what it has of them, and says that in `spec`.
absl::Status CutLegs(VolumeSpec& spec, std::vector<uint64_t>& sizes, uint32_t block) {
  if (spec.kind != VolumeSpec::Kind::kConcat) return absl::OkStatus();
  for (size_t i = 0; i + 1 < spec.legs.size(); ++i) {
    if (i == spec.leg_bytes.size()) spec.leg_bytes.push_back(AlignDown(sizes[i], block));
    const uint64_t bytes = spec.leg_bytes[i];
    if (!IsAligned(bytes, block)) {
      return Wrong(spec, "leg_bytes",
                   absl::StrCat(bytes, " of \"", spec.legs[i], "\" is no multiple of ", block,
                                ", the block size of its legs: give their disks the block size "
                                "that they had, or say a multiple"));
    }
    if (sizes[i] < bytes) {
      return Wrong(
          spec, "leg_bytes",
          absl::StrCat("\"", spec.legs[i], "\" has ", sizes[i], " bytes, less than the ", bytes,
                       " that the volume has of it: make it as long as it was, or, "
                       "if nothing behind it matters, say less in leg_bytes"));
    }
    sizes[i] = bytes;
  }
  return absl::OkStatus();
}

absl::Status CheckChildren(const VolumeSpec& spec,
                           const std::vector<std::shared_ptr<Target>>& legs) {
  size_t children = 0;
  for (const auto& leg : legs) children += 1u + leg->limits().children;
  if (children <= kMaxChildren) return absl::OkStatus();
  return Wrong(
      spec, "leg",
      absl::StrCat("a request would become ", children, " requests, more than ", kMaxChildren));
}

absl::Status WouldMove(absl::string_view volume, absl::string_view leg) {
  return absl::FailedPreconditionError(
      absl::StrCat("volume \"", volume, "\": leg \"", leg,
                   "\" would have another size, and what lies behind it move: only the last leg of "
                   "a concat may grow"));
}

// The same volume, or a slice that is longer now.
bool SameOrLonger(const VolumeSpec& old, const VolumeSpec& spec) {
  VolumeSpec as_long = old;
  if (spec.kind == VolumeSpec::Kind::kSlice && spec.size_bytes > old.size_bytes) {
    as_long.size_bytes = spec.size_bytes;
  }
  return as_long == spec;
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

std::vector<std::string> NamesOf(const TopologySpec& spec) {
  std::vector<std::string> names;
  for (const DiskSpec& disk : spec.disks) names.push_back(disk.name);
  for (const VolumeSpec& volume : spec.volumes) names.push_back(volume.name);
  return names;
}

// Where those of `names` live that are there already.
std::vector<uint16_t> HomesNow(const std::vector<std::string>& names, const Topology* topology) {
  std::vector<uint16_t> homes;
  for (const std::string& name : names) {
    const Target* there = topology == nullptr ? nullptr : topology->Find(name);
    homes.push_back(there == nullptr ? kNoHome : there->home());
  }
  return homes;
}

}  // namespace

// One Build(). What it made dies with it, last first, unless it is done.
class Topology::Builder {
 public:
  Builder(const TopologySpec& spec, const Plan& plan, std::vector<uint16_t> home,
          DiskFactory& factory, const Topology* old)
      : spec_(spec), plan_(plan), home_(std::move(home)), factory_(factory), old_(old) {}

  absl::Status Disks() {
    for (size_t i = 0; i < spec_.disks.size(); ++i) {
      if (absl::Status status = AddDisk(i); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Brings those that are elsewhere to the homes they were dealt.
  void Move() {
    for (size_t i = 0; i < home_.size(); ++i) {
      const Node* there = Old(NameOf(i));
      if (there == nullptr || home_[i] == kNoHome || there->top->home() == home_[i]) continue;
      if (there->disk == nullptr) {
        static_cast<Volume&>(*there->top).MoveTo(home_[i]);
      } else {
        factory_.Move(*there->disk, home_[i]);
      }
    }
  }

  absl::Status Volumes() {
    for (const size_t i : plan_.order) {
      if (absl::Status status = AddVolume(i); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  std::unique_ptr<const Topology> Done() { return std::move(made_); }

 private:
  const std::string& NameOf(size_t node) const {
    const size_t disks = spec_.disks.size();
    return node < disks ? spec_.disks[node].name : spec_.volumes[node - disks].name;
  }
  const Node* Old(const std::string& name) const {
    return old_ == nullptr ? nullptr : old_->FindNode(name);
  }

  std::shared_ptr<Target> Own(std::unique_ptr<Target> target,
                              std::vector<std::shared_ptr<Target>> legs) {
    const auto retire = [&factory = factory_, legs = std::move(legs)](Target* last) mutable {
      factory.Retire(std::unique_ptr<Target>(last), std::move(legs));
    };
    return std::shared_ptr<Target>(target.release(), retire);
  }
  void Keep(const std::string& name, Node node) {
    if (node.disk != nullptr) made_->targets_.push_back(node.disk);
    if (node.top != node.disk) made_->targets_.push_back(node.top);
    made_->nodes_.emplace(name, std::move(node));
  }

  absl::Status AddDisk(size_t index) {
    const DiskSpec& spec = spec_.disks[index];
    const Node* old = Old(spec.name);
    Node node;
    if (old != nullptr && old->disk != nullptr) {
      node.disk = old->disk;
      node.top = old->top;
      node.guard = old->guard;
    } else {
      auto opened = factory_.Open(spec, home_[index]);
      if (!opened.ok()) return opened.status();
      SLUICE_CHECK((*opened)->home() == home_[index] || (*opened)->home() == kNoHome);
      node.disk = node.top = Own(*std::move(opened), {});
    }
    node.slices = SlicesOf(spec_, plan_, index);
    const Limits& limits = node.disk->limits();
    const bool guarded = !node.slices.empty() && node.disk->home() != kNoHome && !limits.read_only;
    if (guarded && node.guard == nullptr) {
      if (!IsAligned(limits.size, limits.block)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "disk \"", spec.name, "\": its size of ", limits.size,
            " bytes is no multiple of its block of ", limits.block, ": it cannot have slices"));
      }
      auto guard = std::make_unique<LabelGuard>(*node.disk, node.slices);
      node.guard = guard.get();
      node.top = Own(std::move(guard), {node.disk});
    }
    node.size = limits.size;
    Keep(spec.name, std::move(node));
    return absl::OkStatus();
  }

  absl::Status AddVolume(size_t index) {
    VolumeSpec spec = spec_.volumes[index];
    Node node;
    std::vector<uint64_t> sizes;
    for (const std::string& leg : spec.legs) {
      node.legs.push_back(made_->Share(leg));
      sizes.push_back(made_->FindNode(leg)->size);
    }
    if (absl::Status status = CheckChildren(spec, node.legs); !status.ok()) return status;
    const uint32_t block = BlockOver(node.legs);
    if (absl::Status status = CutLegs(spec, sizes, block); !status.ok()) return status;
    auto geometry = MakeGeometry(spec, sizes, block);
    if (!geometry.ok()) return geometry.status();
    node.spec = spec;
    node.size = (*geometry)->size();
    const Node* old = Old(spec.name);
    if (old != nullptr && old->disk != nullptr) old = nullptr;
    if (old != nullptr) {
      if (absl::Status status = CheckStays(spec, *old); !status.ok()) return status;
    }
    if (old != nullptr && old->legs == node.legs && SameOrLonger(old->spec, spec)) {
      node.top = old->top;
    } else {
      std::vector<Target*> legs;
      for (const auto& leg : node.legs) legs.push_back(leg.get());
      node.top = Own(std::make_unique<Volume>(*std::move(geometry), std::move(legs),
                                              home_[spec_.disks.size() + index]),
                     node.legs);
    }
    Keep(spec.name, std::move(node));
    return absl::OkStatus();
  }

  // A concat that goes on, perhaps with further legs, has of each leg that it had what it had of
  // it; the last of all may be longer.
  static absl::Status CheckStays(const VolumeSpec& spec, const Node& old) {
    const std::vector<std::string>& legs = old.spec.legs;
    const bool goes_on = spec.kind == VolumeSpec::Kind::kConcat && old.spec.kind == spec.kind &&
                         legs.size() <= spec.legs.size() &&
                         std::equal(legs.begin(), legs.end(), spec.legs.begin());
    if (!goes_on) return absl::OkStatus();
    uint64_t rest = old.size;
    for (size_t i = 0; i < legs.size() && i + 1 < spec.legs.size(); ++i) {
      const uint64_t bytes = i + 1 < legs.size() ? old.spec.leg_bytes[i] : rest;
      if (spec.leg_bytes[i] != bytes) return WouldMove(spec.name, spec.legs[i]);
      rest -= bytes;
    }
    return absl::OkStatus();
  }

  const TopologySpec& spec_;
  const Plan& plan_;
  const std::vector<uint16_t> home_;
  DiskFactory& factory_;
  const Topology* const old_;
  std::unique_ptr<Topology> made_{new Topology};
};

absl::StatusOr<std::unique_ptr<const Topology>> Topology::Build(const TopologySpec& spec,
                                                                uint16_t reactors,
                                                                DiskFactory& factory,
                                                                const Topology* old) {
  SLUICE_CHECK(reactors > 0);
  const absl::StatusOr<Plan> plan = MakePlan(spec);
  if (!plan.ok()) return plan.status();
  Builder builder(spec, *plan, DealHomes(spec, *plan, reactors, HomesNow(NamesOf(spec), old)),
                  factory, old);
  if (absl::Status status = builder.Disks(); !status.ok()) return status;
  builder.Move();
  if (absl::Status status = builder.Volumes(); !status.ok()) return status;
  return builder.Done();
}

absl::StatusOr<std::vector<std::string>> Topology::MovedBy(const TopologySpec& spec,
                                                           uint16_t reactors) const {
  const absl::StatusOr<Plan> plan = MakePlan(spec);
  if (!plan.ok()) return plan.status();
  const std::vector<std::string> names = NamesOf(spec);
  const std::vector<uint16_t> now = HomesNow(names, this);
  const std::vector<uint16_t> then = DealHomes(spec, *plan, reactors, now);
  std::vector<std::string> moved;
  for (size_t i = 0; i < names.size(); ++i) {
    if (now[i] != kNoHome && now[i] != then[i]) moved.push_back(names[i]);
  }
  return moved;
}

void Topology::RecordLegs(TopologySpec& spec) const {
  for (VolumeSpec& volume : spec.volumes) volume.leg_bytes = FindNode(volume.name)->spec.leg_bytes;
}

absl::Status Topology::CheckGrowth(absl::string_view name) const {
  for (const auto& [volume, node] : nodes_) {
    const std::vector<std::string>& legs = node.spec.legs;
    if (node.disk != nullptr || std::find(legs.begin(), legs.end(), name) == legs.end()) continue;
    if (node.spec.kind == VolumeSpec::Kind::kConcat && legs.back() != name) {
      return WouldMove(volume, name);
    }
    // A slice stays as long as it is; a stripe may become longer, and so a concat.
    if (node.spec.kind == VolumeSpec::Kind::kSlice) continue;
    if (absl::Status status = CheckGrowth(volume); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void Topology::Adopt(DiskFactory& factory) const {
  for (const auto& [name, node] : nodes_) {
    if (node.guard == nullptr) continue;
    factory.RunOn(node.disk->home(),
                  [&guard = *node.guard, &slices = node.slices] { guard.SetUsed(slices); });
  }
  for (const auto& [name, node] : nodes_) {
    if (node.disk != nullptr || node.size == node.top->limits().size) continue;
    std::vector<uint64_t> sizes;
    for (const std::string& leg : node.spec.legs) sizes.push_back(FindNode(leg)->size);
    VolumeSpec spec = node.spec;
    const uint32_t block = BlockOver(node.legs);
    const absl::Status cut = CutLegs(spec, sizes, block);
    auto geometry = MakeGeometry(spec, std::move(sizes), block);
    SLUICE_CHECK(cut.ok() && geometry.ok());  // Build() made the same
    factory.RunOn(node.top->home(), [&volume = static_cast<Volume&>(*node.top), &geometry] {
      volume.Grow(*std::move(geometry));
    });
  }
}

Topology::~Topology() {
  nodes_.clear();
  while (!targets_.empty()) targets_.pop_back();
}

const Topology::Node* Topology::FindNode(absl::string_view name) const {
  const auto found = nodes_.find(std::string(name));
  return found == nodes_.end() ? nullptr : &found->second;
}

std::shared_ptr<Target> Topology::Share(absl::string_view name) const {
  const Node* node = FindNode(name);
  return node == nullptr ? nullptr : node->top;
}

std::vector<std::string> Topology::StandsOn(absl::string_view name) const {
  const Node* node = FindNode(name);
  SLUICE_CHECK(node != nullptr);
  std::vector<std::string> names{std::string(name)};
  for (const std::string& leg : node->spec.legs) {
    for (std::string& below : StandsOn(leg)) names.push_back(std::move(below));
  }
  return names;
}

std::shared_ptr<Target> Topology::Disk(absl::string_view name) const {
  const Node* node = FindNode(name);
  return node == nullptr ? nullptr : node->disk;
}

}  // namespace sluice
