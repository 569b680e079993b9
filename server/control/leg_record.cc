// SPDX-License-Identifier: Apache-2.0
#include "server/control/leg_record.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/log.h"
#include "server/config.h"
#include "server/text.h"

namespace sluice {
namespace {

constexpr char kName[] = "layout";
constexpr uint32_t kVersion = 1;

bool IsConcat(const VolumeSpec& volume) { return volume.kind == VolumeSpec::Kind::kConcat; }

bool IsRecord(const VolumeSpec& volume) {
  return IsConcat(volume) && !volume.leg_bytes.empty() && volume.legs.size() <= kMaxLegs &&
         volume.leg_bytes.size() + 1 == volume.legs.size() &&
         std::count(volume.leg_bytes.begin(), volume.leg_bytes.end(), uint64_t{0}) == 0;
}

// One of the two has the legs of the other, perhaps with others behind them. A single leg says too
// little to know a concat by.
bool HaveSameLegs(const VolumeSpec& volume, const VolumeSpec& record) {
  const size_t both = std::min(volume.legs.size(), record.legs.size());
  return IsConcat(volume) && both > 1 &&
         std::equal(record.legs.begin(), record.legs.begin() + static_cast<std::ptrdiff_t>(both),
                    volume.legs.begin());
}

// The concat `name` among `volumes`; their end if there is none.
template <typename Volumes>
auto FindConcat(Volumes& volumes, const std::string& name) {
  return std::find_if(volumes.begin(), volumes.end(),
                      [&](const VolumeSpec& each) { return IsConcat(each) && each.name == name; });
}

// As a config would say it.
std::string Said(const std::vector<uint64_t>& leg_bytes) {
  return absl::StrCat("leg_bytes: [", absl::StrJoin(leg_bytes, ", "), "]");
}

std::string Named(const VolumeSpec& volume) {
  return absl::StrCat("volume ", Quote(volume.name), ": ");
}

void Warn(const VolumeSpec& volume, absl::string_view what) {
  Log(LogLevel::kWarning, absl::StrCat(Named(volume), what));
}

// `volume` has other legs than `record` from the one at `index` on, which both have.
absl::Status CheckOtherLegs(const VolumeSpec& volume, const VolumeSpec& record, size_t index) {
  const std::string stands = absl::StrCat("leg: ", Quote(volume.legs[index]), " stands where ",
                                          Quote(record.legs[index]), " stood");
  if (volume.leg_bytes.size() + 1 >= volume.legs.size()) {
    Warn(volume, absl::StrCat(stands, ", and what its legs hold now is what it holds; it had ",
                              Said(record.leg_bytes)));
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      Named(volume), stands,
      ", and what lies behind might move: put the legs back as they were, give a new volume "
      "another name, or say what it is to have of all but the last; it had ",
      Said(record.leg_bytes)));
}

void WarnOfOtherBytes(const VolumeSpec& volume, const VolumeSpec& record) {
  const auto& had = record.leg_bytes;
  for (size_t i = 0; i < std::min(volume.leg_bytes.size(), had.size()); ++i) {
    if (volume.leg_bytes[i] == had[i]) continue;
    Warn(volume, absl::StrCat("leg_bytes: ", volume.leg_bytes[i], " of ", Quote(volume.legs[i]),
                              ", of which it had ", had[i],
                              ": what lies behind is not where it was written; say ", Said(had),
                              " to have it there"));
    return;
  }
}

}  // namespace

absl::StatusOr<LegRecord> LegRecord::Load(StateDir& state) {
  const auto body = state.Load(kName, kVersion);
  if (!body.ok()) return body.status();
  LegRecord record(state);
  record.saved_ = body->value_or("");
  const std::string file = absl::StrCat(state.path(), "/", kName);
  auto kept = ParseParts(file, record.saved_);
  if (!kept.ok()) return kept.status();
  record.records_ = std::move(kept->topology.volumes);
  for (const VolumeSpec& each : record.records_) {
    if (IsRecord(each)) continue;
    return absl::DataLossError(absl::StrCat(file, ": ", Named(each),
                                            "no concat with all its leg_bytes: put a good copy ",
                                            "back, or move it away to go on without what it held"));
  }
  return record;
}

const VolumeSpec* LegRecord::Find(const VolumeSpec& volume,
                                  const std::vector<VolumeSpec>& all) const {
  const auto named = FindConcat(records_, volume.name);
  if (named != records_.end() && HaveSameLegs(volume, *named)) return &*named;
  const auto legs = std::find_if(records_.rbegin(), records_.rend(), [&](const VolumeSpec& record) {
    return HaveSameLegs(volume, record);
  });
  if (legs != records_.rend()) return &*legs;
  if (named == records_.end()) return nullptr;
  const bool goes_on_elsewhere = std::any_of(
      all.begin(), all.end(), [&](const VolumeSpec& other) { return HaveSameLegs(other, *named); });
  return goes_on_elsewhere ? nullptr : &*named;
}

absl::Status LegRecord::Recall(VolumeSpec& volume, const std::vector<VolumeSpec>& all) const {
  const VolumeSpec* const record = IsConcat(volume) ? Find(volume, all) : nullptr;
  if (record == nullptr || volume.legs.empty()) return absl::OkStatus();
  const auto& had = record->leg_bytes;
  const auto differ = std::mismatch(volume.legs.begin(), volume.legs.end(), record->legs.begin(),
                                    record->legs.end());
  const bool has_less = differ.first == volume.legs.end();
  if (!has_less && differ.second != record->legs.end()) {
    return CheckOtherLegs(volume, *record, static_cast<size_t>(differ.first - volume.legs.begin()));
  }
  if (has_less && differ.second != record->legs.end()) {
    Warn(volume, absl::StrCat("leg: ", Quote(*differ.second),
                              " is none any more, and what lies there is not served; to have it "
                              "again where it was, add it with ",
                              Said(had)));
  }
  WarnOfOtherBytes(volume, *record);
  const size_t said = volume.leg_bytes.size();
  for (size_t i = said; i < std::min(had.size(), volume.legs.size() - 1); ++i) {
    volume.leg_bytes.push_back(had[i]);
  }
  if (volume.leg_bytes.size() > said && volume.name != record->name) {
    Warn(volume, absl::StrCat("has the legs that ", Quote(record->name),
                              " had, and of them what that had: ", Said(volume.leg_bytes)));
  }
  return absl::OkStatus();
}

absl::Status LegRecord::Keep(const TopologySpec& spec, const std::set<std::string>& made) {
  std::erase_if(records_, [&](const VolumeSpec& record) {
    return FindConcat(spec.volumes, record.name) != spec.volumes.end();
  });
  while (records_.size() > kUndeclaredMax) {
    const VolumeSpec& oldest = records_.front();
    Warn(oldest, absl::StrCat("is not declared, and only ", kUndeclaredMax,
                              " such are remembered: forgotten is ", Said(oldest.leg_bytes), " of ",
                              Quote(absl::StrJoin(oldest.legs, " "))));
    records_.erase(records_.begin());
  }
  for (const VolumeSpec& volume : spec.volumes) {
    if (IsRecord(volume) && !made.contains(volume.name)) records_.push_back(volume);
  }
  return Save();
}

absl::Status LegRecord::Forget(const std::string& name) {
  std::erase_if(records_, [&](const VolumeSpec& record) { return record.name == name; });
  return Save();
}

absl::Status LegRecord::Save() {
  Config kept;
  kept.topology.volumes = records_;
  std::string body = RenderParts(kept);
  if (body == saved_) return absl::OkStatus();
  if (absl::Status status = state_->Save(kName, kVersion, body); !status.ok()) return status;
  saved_ = std::move(body);
  return absl::OkStatus();
}

}  // namespace sluice
