// SPDX-License-Identifier: Apache-2.0
// The control plane's volumes and exports.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/control/control.h"
#include "server/text.h"

namespace sluice {
namespace {

std::string SaidOf(const VolumeSpec& volume) {
  Config config;
  config.topology.volumes.push_back(volume);
  return RenderParts(config);
}

std::string SaidOf(const ExportConfig& each) {
  Config config;
  config.exports.push_back(each);
  return RenderParts(config);
}

absl::Status Declared(const char* kind, const std::string& name, const char* instead) {
  return absl::FailedPreconditionError(absl::StrCat(
      kind, " ", Quote(name), " is declared by the config file: ", instead, " it there"));
}

}  // namespace

absl::StatusOr<VolumeSpec*> Control::FindVolume(Config& config, const std::string& name) {
  for (VolumeSpec& volume : config.topology.volumes) {
    if (volume.name == name) return &volume;
  }
  return absl::NotFoundError(absl::StrCat("volume ", Quote(name), ": there is none"));
}

absl::StatusOr<ExportConfig*> Control::FindExport(Config& config, const std::string& name) {
  for (ExportConfig& each : config.exports) {
    if (each.name == name) return &each;
  }
  return absl::NotFoundError(absl::StrCat("export ", Quote(name), ": there is none"));
}

// --- volumes ---

VolumeInfo Control::Describe(const VolumeSpec& spec) const {
  VolumeInfo info;
  info.spec = spec;
  info.etag = EtagOf(absl::StrCat("volume ", spec.name));
  const Target& target = *topology_->Find(spec.name);
  info.limits = target.limits();
  if (target.home() != kNoHome) info.home = target.home();
  info.used_by = UsersOf(spec.name);
  info.made_at_run_time = made_.targets.contains(spec.name);
  return info;
}

absl::StatusOr<VolumeInfo> Control::GetVolume(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  for (const VolumeSpec& volume : config_.topology.volumes) {
    if (volume.name == name) return Describe(volume);
  }
  return absl::NotFoundError(absl::StrCat("volume ", Quote(name), ": there is none"));
}

std::vector<VolumeInfo> Control::ListVolumes() const {
  const std::lock_guard lock(mutex_);
  std::vector<VolumeInfo> all;
  for (const VolumeSpec& volume : config_.topology.volumes) all.push_back(Describe(volume));
  std::sort(all.begin(), all.end(),
            [](const VolumeInfo& a, const VolumeInfo& b) { return a.spec.name < b.spec.name; });
  return all;
}

absl::StatusOr<VolumeInfo> Control::CreateVolume(const Ask& ask, const VolumeSpec& spec) {
  const auto create = [&]() -> absl::StatusOr<VolumeInfo> {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    if (const auto there = FindVolume(next, spec.name); there.ok()) {
      if (**there == spec) return Describe(**there);
      return absl::AlreadyExistsError(
          absl::StrCat("volume ", Quote(spec.name), " is there and is another one"));
    }
    next.topology.volumes.push_back(spec);
    Made made = made_;
    made.targets.insert(spec.name);
    if (absl::Status status = Apply(next, made); !status.ok()) return status;
    Touch(EventKind::kVolumeCreated, "volume", spec.name, "created");
    return Describe(spec);
  };
  return requests_.Once<VolumeInfo>(ask.request_id, "create volume " + SaidOf(spec), create);
}

absl::StatusOr<VolumeInfo> Control::GrowVolume(const Ask& ask, const std::string& name,
                                               uint64_t size_bytes,
                                               const std::vector<std::string>& add_legs) {
  const auto grow = [&]() -> absl::StatusOr<VolumeInfo> {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    const auto volume = FindVolume(next, name);
    if (!volume.ok()) return volume.status();
    if (absl::Status status = CheckEtag(ask, "volume " + name); !status.ok()) return status;
    if (!made_.targets.contains(name)) return Declared("volume", name, "grow");
    VolumeSpec& spec = **volume;
    const bool slice = spec.kind == VolumeSpec::Kind::kSlice;
    const bool concat = spec.kind == VolumeSpec::Kind::kConcat;
    if (!slice && !concat) {
      return absl::FailedPreconditionError(
          absl::StrCat("volume ", Quote(name), " is a stripe: it cannot grow"));
    }
    if (slice != add_legs.empty() || concat != (size_bytes == 0)) {
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
    const VolumeInfo info = Describe(**FindVolume(config_, name));
    Touch(EventKind::kVolumeChanged, "volume", name,
          absl::StrCat("has grown to ", info.limits.size, " bytes"));
    return Describe(info.spec);
  };
  return requests_.Once<VolumeInfo>(ask.request_id,
                                    absl::StrCat("grow volume ", name, " ", ask.etag, " ",
                                                 size_bytes, " ", absl::StrJoin(add_legs, " ")),
                                    grow);
}

absl::Status Control::DeleteVolume(const Ask& ask, const std::string& name) {
  const auto remove = [&]() -> absl::StatusOr<bool> {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    const auto volume = FindVolume(next, name);
    if (!volume.ok()) return volume.status();
    if (absl::Status status = CheckEtag(ask, "volume " + name); !status.ok()) return status;
    if (!made_.targets.contains(name)) return Declared("volume", name, "remove");
    if (absl::Status status = CheckUnused("volume", name); !status.ok()) return status;
    next.topology.volumes.erase(next.topology.volumes.begin() +
                                (*volume - next.topology.volumes.data()));
    Made made = made_;
    made.targets.erase(name);
    if (absl::Status status = Apply(next, made); !status.ok()) return status;
    changed_.erase("volume " + name);
    events_.Add(EventKind::kVolumeDeleted, name, "deleted");
    return true;
  };
  return requests_
      .Once<bool>(ask.request_id, absl::StrCat("delete volume ", name, " ", ask.etag), remove)
      .status();
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
    ++status.clients[client.handle.substr(0, client.handle.find('-'))];
  }
  status.made_at_run_time = made_.exports.contains(config.name);
  return status;
}

absl::StatusOr<ExportStatus> Control::GetExport(const std::string& name) const {
  for (ExportStatus& each : ListExports()) {
    if (each.exported->name == name) return std::move(each);
  }
  return absl::NotFoundError(absl::StrCat("export ", Quote(name), ": there is none"));
}

std::vector<ExportStatus> Control::ListExports() const {
  const std::lock_guard lock(mutex_);
  const std::vector<Client> clients = AllClients();
  std::vector<ExportStatus> all;
  for (const ExportConfig& each : config_.exports) all.push_back(Describe(each, clients));
  std::sort(all.begin(), all.end(), [](const ExportStatus& a, const ExportStatus& b) {
    return a.exported->name < b.exported->name;
  });
  return all;
}

absl::StatusOr<ExportStatus> Control::CreateExport(const Ask& ask, const ExportConfig& config) {
  const auto create = [&]() -> absl::StatusOr<ExportStatus> {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    if (const auto there = FindExport(next, config.name); there.ok()) {
      if (**there == config) return Describe(config, AllClients());
      return absl::AlreadyExistsError(
          absl::StrCat("export ", Quote(config.name), " is there and is another one"));
    }
    next.exports.push_back(config);
    Made made = made_;
    made.exports.insert(config.name);
    if (absl::Status status = Apply(next, made); !status.ok()) return status;
    Touch(EventKind::kExportCreated, "export", config.name, "created");
    return Describe(config, {});
  };
  return requests_.Once<ExportStatus>(ask.request_id, "create export " + SaidOf(config), create);
}

absl::Status Control::DeleteExport(const Ask& ask, const std::string& name, bool force) {
  const auto check = [&](Config& config) -> absl::Status {
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    if (const auto found = FindExport(config, name); !found.ok()) return found.status();
    if (absl::Status status = CheckEtag(ask, "export " + name); !status.ok()) return status;
    if (!made_.exports.contains(name)) return Declared("export", name, "remove");
    if (config.exports.size() == 1) {
      return absl::FailedPreconditionError(
          absl::StrCat("export ", Quote(name), " is the only one: create another one first"));
    }
    return absl::OkStatus();
  };
  const auto remove = [&]() -> absl::StatusOr<bool> {
    if (force) {
      {
        const std::lock_guard lock(mutex_);
        if (absl::Status status = check(config_); !status.ok()) return status;
        static_cast<const Export&>(*house_.exports.table()->Find(name)).withdrawn.store(true);
      }
      // Without the mutex: a drive may take its time.
      for (ClientDoor* door : house_.doors) {
        door->End([&](const Client& client) { return client.exported->name == name; },
                  "the export is taken away");
      }
    }
    const std::lock_guard lock(mutex_);
    Config next = config_;
    absl::Status status = check(next);
    if (status.ok()) {
      next.exports.erase(next.exports.begin() + (*FindExport(next, name) - next.exports.data()));
      Made made = made_;
      made.exports.erase(name);
      status = Apply(next, made);
    }
    if (!status.ok()) {
      Restore({name});
      return status;
    }
    changed_.erase("export " + name);
    events_.Add(EventKind::kExportDeleted, name, force ? "deleted by force" : "deleted");
    return true;
  };
  return requests_
      .Once<bool>(ask.request_id,
                  absl::StrCat("delete export ", name, " ", ask.etag, force ? " by force" : ""),
                  remove)
      .status();
}

}  // namespace sluice
