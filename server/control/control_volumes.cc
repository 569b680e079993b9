// SPDX-License-Identifier: Apache-2.0
// The control plane's volumes and exports.
#include "server/control/control_kinds.h"
#include "server/control/leg_record.h"

namespace sluice {

// --- volumes ---

VolumeInfo Control::Describe(const VolumeSpec& spec) const {
  VolumeInfo info;
  info.spec = spec;
  TopologySpec recorded{{}, {spec}};
  topology_->RecordLegs(recorded);
  info.spec.leg_bytes = recorded.volumes[0].leg_bytes;
  info.etag = EtagOf(absl::StrCat("volume ", spec.name));
  const Target& target = *topology_->Find(spec.name);
  info.limits = target.limits();
  if (target.home() != kNoHome) info.home = target.home();
  info.used_by = UsersOf(spec.name);
  info.made_at_run_time = made_.targets.contains(spec.name);
  return info;
}

absl::StatusOr<VolumeInfo> Control::GetVolume(const std::string& name) const {
  return Get<VolumeSpec>(name);
}

std::vector<VolumeInfo> Control::ListVolumes() const { return List<VolumeSpec>(); }

absl::StatusOr<VolumeInfo> Control::CreateVolume(const Ask& ask, const VolumeSpec& spec) {
  return Make(ask, spec);
}

absl::StatusOr<VolumeInfo> Control::GrowVolume(const Ask& ask, const std::string& name,
                                               uint64_t size_bytes,
                                               const std::vector<std::string>& add_legs) {
  const auto grow = [&](Config& next, VolumeSpec& spec) -> absl::StatusOr<VolumeInfo> {
    if (absl::Status status = CheckMade(spec, "grow"); !status.ok()) return status;
    const bool slice = spec.kind == VolumeSpec::Kind::kSlice;
    if (!slice && spec.kind != VolumeSpec::Kind::kConcat) {
      return absl::FailedPreconditionError(
          absl::StrCat("volume ", Quote(name), " is a stripe: it cannot grow"));
    }
    if (slice != add_legs.empty() || slice == (size_bytes == 0)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "volume ", Quote(name),
          slice ? " is a slice: give size_bytes alone" : " is a concat: give add_legs alone"));
    }
    if (slice && size_bytes < spec.size_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("volume ", Quote(name), ": size_bytes: ", size_bytes,
                       " is less than it has, ", spec.size_bytes, ": it only grows"));
    }
    if (slice) spec.size_bytes = size_bytes;
    spec.legs.insert(spec.legs.end(), add_legs.begin(), add_legs.end());
    if (absl::Status status = Apply(next, made_); !status.ok()) return status;
    Touch(EventKind::kVolumeChanged, "volume", name,
          absl::StrCat("has grown to ", topology_->Find(name)->limits().size, " bytes"));
    return Describe(spec);
  };
  return Change<VolumeSpec, VolumeInfo>(
      ask, absl::StrCat("grow ", size_bytes, " ", absl::StrJoin(add_legs, " ")), name, grow);
}

absl::Status Control::RecallLegs(const Config& config, VolumeSpec& volume) const {
  if (house_.state == nullptr) return absl::OkStatus();
  const auto record = LegRecord::Load(*house_.state);
  return record.ok() ? record->Recall(volume, config.topology.volumes) : record.status();
}

absl::Status Control::ForgetLegs(const std::string& volume) {
  if (house_.state == nullptr) return absl::OkStatus();
  auto record = LegRecord::Load(*house_.state);
  return record.ok() ? record->Forget(volume) : record.status();
}

absl::Status Control::DeleteVolume(const Ask& ask, const std::string& name) {
  const auto remove = [&](Config& next, VolumeSpec& volume) -> absl::StatusOr<bool> {
    absl::Status status = CheckRemovable(volume);
    // Before it is gone: what one of its name had before is not to be that of the next one.
    if (status.ok() && volume.kind == VolumeSpec::Kind::kConcat) status = ForgetLegs(name);
    if (status.ok()) status = Take(next, volume);
    if (!status.ok()) return status;
    events_.Add(EventKind::kVolumeDeleted, name, "deleted");
    return true;
  };
  return Change<VolumeSpec, bool>(ask, "delete", name, remove).status();
}

// --- exports ---

ExportStatus Control::Describe(const ExportConfig& config,
                               const std::vector<Client>& clients) const {
  ExportStatus status;
  status.exported =
      std::static_pointer_cast<const Export>(house_.exports.table()->Find(config.name));
  status.etag = EtagOf(absl::StrCat("export ", config.name));
  for (const Client& client : clients) {
    if (client.exported->name != config.name) continue;
    ++status.clients[DoorOf(client.handle)];
  }
  status.made_at_run_time = made_.exports.contains(config.name);
  return status;
}

ExportStatus Control::Describe(const ExportConfig& config) const {
  return Describe(config, AllClients());
}

absl::StatusOr<ExportStatus> Control::GetExport(const std::string& name) const {
  return Get<ExportConfig>(name);
}

std::vector<ExportStatus> Control::ListExports() const { return List<ExportConfig>(); }

absl::StatusOr<ExportStatus> Control::CreateExport(const Ask& ask, const ExportConfig& config) {
  return Make(ask, config);
}

absl::StatusOr<ExportStatus> Control::UpdateExport(const Ask& ask, const std::string& name,
                                                   const std::string& said,
                                                   absl::FunctionRef<void(ExportConfig&)> change) {
  return Change<ExportConfig, ExportStatus>(
      ask, absl::StrCat("update ", said), name,
      [&](Config& next, ExportConfig& each) -> absl::StatusOr<ExportStatus> {
        if (absl::Status status = CheckMade(each, "change"); !status.ok()) return status;
        change(each);
        if (absl::Status status = Apply(next, made_); !status.ok()) return status;
        Touch(EventKind::kExportChanged, "export", name, "updated");
        return Describe(each);
      });
}

absl::Status Control::CheckDeletable(const Config& config, const ExportConfig& each) const {
  if (absl::Status status = CheckMade(each, "remove"); !status.ok()) return status;
  if (config.exports.size() > 1) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("export ", Quote(each.name), " is the only one: create another one first"));
}

absl::Status Control::DeleteExport(const Ask& ask, const std::string& name, bool force) {
  const auto remove = [&](Config& next, ExportConfig& each) -> absl::StatusOr<bool> {
    absl::Status status = CheckDeletable(next, each);
    if (status.ok()) status = Take(next, each);
    if (!status.ok()) return status;
    events_.Add(EventKind::kExportDeleted, name, force ? "deleted by force" : "deleted");
    return true;
  };
  if (!force) return Change<ExportConfig, bool>(ask, "delete", name, remove).status();

  // Whoever has it open is fenced without the mutex, for a drive may take its time.
  return requests_
      .Once<bool>(ask.request_id, absl::StrCat("delete by force export ", name, " ", ask.etag),
                  [&]() -> absl::StatusOr<bool> {
                    const Ask again{"", ask.etag};
                    const auto withdrawn = Change<ExportConfig, bool>(
                        again, "withdraw", name,
                        [&](Config& next, ExportConfig& each) -> absl::StatusOr<bool> {
                          if (absl::Status status = CheckDeletable(next, each); !status.ok())
                            return status;
                          house_.exports.Exported(name)->withdrawn.store(true);
                          return true;
                        });
                    if (!withdrawn.ok()) return withdrawn;
                    for (ClientDoor* door : house_.doors) {
                      door->End([&](const Client& client) { return client.exported->name == name; },
                                "the export is taken away");
                    }
                    const auto removed = Change<ExportConfig, bool>(again, "delete", name, remove);
                    if (!removed.ok()) {
                      const std::lock_guard lock(mutex_);
                      Restore({name});
                    }
                    return removed;
                  })
      .status();
}

}  // namespace sluice
