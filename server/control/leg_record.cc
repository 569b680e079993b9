// SPDX-License-Identifier: Apache-2.0
#include "server/control/leg_record.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/config.h"

namespace sluice {
namespace {

constexpr char kName[] = "layout";
constexpr uint32_t kVersion = 1;

}  // namespace

absl::Status RecallLegs(StateDir& state, TopologySpec& spec) {
  const auto body = state.Load(kName, kVersion);
  if (!body.ok()) return body.status();
  if (!body->has_value()) return absl::OkStatus();
  const auto kept = ParseParts(absl::StrCat(state.path(), "/", kName), **body);
  if (!kept.ok()) return kept.status();
  for (VolumeSpec& volume : spec.volumes) {
    const auto& all = kept->topology.volumes;
    const auto found = std::find_if(all.begin(), all.end(), [&](const VolumeSpec& each) {
      return each.name == volume.name && each.kind == volume.kind;
    });
    if (found == all.end() || !volume.leg_bytes.empty()) continue;
    for (size_t i = 0; i < found->leg_bytes.size() && i + 1 < volume.legs.size(); ++i) {
      if (volume.legs[i] != found->legs[i]) break;
      volume.leg_bytes.push_back(found->leg_bytes[i]);
    }
  }
  return absl::OkStatus();
}

absl::Status SaveLegs(StateDir& state, const TopologySpec& spec,
                      const std::set<std::string>& made) {
  Config kept;
  for (const VolumeSpec& volume : spec.volumes) {
    if (volume.leg_bytes.empty() || made.contains(volume.name)) continue;
    kept.topology.volumes.push_back(volume);
  }
  const std::string body = RenderParts(kept);
  const auto before = state.Load(kName, kVersion);
  if (!before.ok()) return before.status();
  if (before->value_or("") == body) return absl::OkStatus();
  return state.Save(kName, kVersion, body);
}

}  // namespace sluice
