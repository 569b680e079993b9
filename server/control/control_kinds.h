// SPDX-License-Identifier: Apache-2.0
// What disks, volumes and exports have in common in the control plane. For its sources alone.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/control/control.h"
#include "server/text.h"

namespace sluice {

// kName and In(): what it is called, and where those of a config lie. Info: what is told of one.
template <>
struct Control::Kind<DiskSpec> {
  using Info = DiskInfo;
  static constexpr char kName[] = "disk";
  static constexpr EventKind kMade = EventKind::kDiskAdded;
  static auto& In(auto& config) { return config.topology.disks; }
  static auto& MadeOf(auto& made) { return made.targets; }
};
template <>
struct Control::Kind<VolumeSpec> {
  using Info = VolumeInfo;
  static constexpr char kName[] = "volume";
  static constexpr EventKind kMade = EventKind::kVolumeCreated;
  static auto& In(auto& config) { return config.topology.volumes; }
  static auto& MadeOf(auto& made) { return made.targets; }
};
template <>
struct Control::Kind<ExportConfig> {
  using Info = ExportStatus;
  static constexpr char kName[] = "export";
  static constexpr EventKind kMade = EventKind::kExportCreated;
  static auto& In(auto& config) { return config.exports; }
  static auto& MadeOf(auto& made) { return made.exports; }
};

// In full, as text: two are the same if that is.
template <typename Spec, typename Kind>
std::string SaidOf(const Spec& spec) {
  Config config;
  Kind::In(config).push_back(spec);
  return RenderParts(config);
}

template <typename Spec>
Spec Control::AsAsked(const Spec& there, const Spec& asked) const {
  Spec same = there;
  if constexpr (std::is_same_v<Spec, VolumeSpec>) {
    same.leg_bytes.resize(std::min(there.leg_bytes.size(), asked.leg_bytes.size()));
  }
  if constexpr (std::is_same_v<Spec, DiskSpec>) {
    // A file has the size that it was to be made with, or need not be made.
    const bool fits =
        asked.size_bytes == 0 || asked.size_bytes == topology_->Disk(there.name)->limits().size;
    if (there.kind == DiskSpec::Kind::kPath && fits) same.size_bytes = asked.size_bytes;
  }
  return same;
}

template <typename Answer, typename Work>
absl::StatusOr<Answer> Control::Once(const Ask& ask, const std::string& what, Work&& work) {
  return requests_.Once<Answer>(ask.request_id, absl::StrCat(what, " ", ask.etag),
                                [&]() -> absl::StatusOr<Answer> {
                                  const std::lock_guard lock(mutex_);
                                  if (absl::Status status = CheckOpen(); !status.ok()) {
                                    return status;
                                  }
                                  Config next = config_;
                                  return work(next);
                                });
}

// The one of that name in `config`; the end if there is none.
template <typename Kind>
auto FindIn(auto& config, const std::string& name) {
  auto& all = Kind::In(config);
  return std::find_if(all.begin(), all.end(), [&](const auto& each) { return each.name == name; });
}

template <typename Kind>
absl::Status ThereIsNone(const std::string& name) {
  return absl::NotFoundError(absl::StrCat(Kind::kName, " ", Quote(name), ": there is none"));
}

template <typename Spec, typename Answer, typename Work>
absl::StatusOr<Answer> Control::Change(const Ask& ask, const std::string& what,
                                       const std::string& name, Work&& work) {
  using K = Kind<Spec>;
  const std::string resource = absl::StrCat(K::kName, " ", name);
  return Once<Answer>(ask, absl::StrCat(what, " ", resource),
                      [&](Config& next) -> absl::StatusOr<Answer> {
                        const auto found = FindIn<K>(next, name);
                        if (found == K::In(next).end()) return ThereIsNone<K>(name);
                        if (absl::Status status = CheckEtag(ask, resource); !status.ok()) {
                          return status;
                        }
                        return work(next, *found);
                      });
}

template <typename Spec>
absl::StatusOr<typename Control::Kind<Spec>::Info> Control::Make(const Ask& ask, const Spec& spec) {
  using K = Kind<Spec>;
  using Info = typename K::Info;
  const std::string said = SaidOf<Spec, K>(spec);
  return Once<Info>(ask, absl::StrCat("make ", said), [&](Config& next) -> absl::StatusOr<Info> {
    const auto there = FindIn<K>(next, spec.name);
    if (there != K::In(next).end()) {
      if (SaidOf<Spec, K>(AsAsked(*there, spec)) == said) return Describe(*there);
      return absl::AlreadyExistsError(
          absl::StrCat(K::kName, " ", Quote(spec.name), " is there and is another one"));
    }
    Spec whole = spec;
    if constexpr (std::is_same_v<Spec, VolumeSpec>) {
      if (absl::Status status = RecallLegs(next, whole); !status.ok()) return status;
    }
    K::In(next).push_back(std::move(whole));
    Made made = made_;
    K::MadeOf(made).insert(spec.name);
    if (absl::Status status = Apply(next, made); !status.ok()) return status;
    Touch(K::kMade, K::kName, spec.name, "made");
    return Describe(spec);
  });
}

template <typename Spec>
absl::StatusOr<typename Control::Kind<Spec>::Info> Control::Get(const std::string& name) const {
  using K = Kind<Spec>;
  const std::lock_guard lock(mutex_);
  const auto found = FindIn<K>(config_, name);
  if (found == K::In(config_).end()) return ThereIsNone<K>(name);
  return Describe(*found);
}

template <typename Spec>
std::vector<typename Control::Kind<Spec>::Info> Control::List() const {
  using K = Kind<Spec>;
  const std::lock_guard lock(mutex_);
  std::vector<Spec> specs = K::In(config_);
  std::sort(specs.begin(), specs.end(),
            [](const Spec& a, const Spec& b) { return a.name < b.name; });
  std::vector<typename K::Info> all;
  if constexpr (std::is_same_v<Spec, ExportConfig>) {
    const std::vector<Client> clients = AllClients();
    for (const Spec& each : specs) all.push_back(Describe(each, clients));
  } else {
    for (const Spec& each : specs) all.push_back(Describe(each));
  }
  return all;
}

template <typename Spec>
absl::Status Control::CheckMade(const Spec& spec, const char* instead) const {
  using K = Kind<Spec>;
  if (K::MadeOf(made_).contains(spec.name)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      K::kName, " ", Quote(spec.name), " is declared by the config file: ", instead, " it there"));
}

template <typename Spec>
absl::Status Control::CheckRemovable(const Spec& spec) const {
  if (absl::Status status = CheckMade(spec, "remove"); !status.ok()) return status;
  std::vector<std::string> users = UsersOf(spec.name);
  if (users.empty()) return absl::OkStatus();
  for (std::string& user : users) user = Quote(user);
  return absl::FailedPreconditionError(absl::StrCat(Kind<Spec>::kName, " ", Quote(spec.name),
                                                    " is used by ", absl::StrJoin(users, ", "),
                                                    ": delete these first"));
}

template <typename Spec>
absl::Status Control::Take(Config& next, const Spec& spec) {
  using K = Kind<Spec>;
  const std::string name = spec.name;
  K::In(next).erase(FindIn<K>(next, name));
  Made made = made_;
  K::MadeOf(made).erase(name);
  if (absl::Status status = Apply(next, made); !status.ok()) return status;
  changed_.erase(absl::StrCat(K::kName, " ", name));
  return absl::OkStatus();
}

}  // namespace sluice
