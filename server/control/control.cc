// SPDX-License-Identifier: Apache-2.0
#include "server/control/control.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/check.h"
#include "core/unix_time.h"
#include "server/control/leg_record.h"
#include "server/control/paths.h"
#include "server/text.h"

namespace sluice {
namespace {

constexpr char kStateName[] = "served";
constexpr char kStartsName[] = "starts";
constexpr uint32_t kStateVersion = 2;  // since 2 a concat says what it has of its legs
constexpr uint32_t kStartsVersion = 1;
constexpr size_t kEventsKept = 4096;

// The parts of `config` that were made at run time.
Config PartsOf(const Config& config, const Control::Made& made) {
  Config parts;
  for (const DiskSpec& disk : config.topology.disks) {
    if (!made.targets.contains(disk.name)) continue;
    parts.topology.disks.push_back(disk);
    // It was made when it was added, and may have grown since.
    if (disk.kind == DiskSpec::Kind::kPath) parts.topology.disks.back().size_bytes = 0;
  }
  for (const VolumeSpec& volume : config.topology.volumes) {
    if (made.targets.contains(volume.name)) parts.topology.volumes.push_back(volume);
  }
  for (const ExportConfig& each : config.exports) {
    if (made.exports.contains(each.name)) parts.exports.push_back(each);
  }
  return parts;
}

// A problem in the words of somebody who never saw the config: disk[3].depth -> disk "d3": depth.
absl::Status Explain(const ConfigProblem& problem, const Config& config) {
  const auto named = [&](absl::string_view kind, const auto& all) -> std::string {
    for (size_t i = 0; i < all.size(); ++i) {
      const std::string prefix = absl::StrCat(kind, "[", i, "]");
      if (!problem.key.starts_with(prefix)) continue;
      std::string rest = problem.key.substr(prefix.size());
      if (rest.starts_with('.')) rest.erase(0, 1);
      return absl::StrCat(kind, " ", Quote(all[i].name), ": ", rest, rest.empty() ? "" : ": ");
    }
    return "";
  };
  std::string where = named("disk", config.topology.disks);
  if (where.empty()) where = named("volume", config.topology.volumes);
  if (where.empty()) where = named("export", config.exports);
  if (where.empty()) where = problem.key + ": ";
  return absl::InvalidArgumentError(where + problem.text);
}

// The first of `saved` that is `declared` too, or an empty string.
template <typename Each>
std::string Clash(const std::vector<Each>& saved, const std::set<std::string>& declared) {
  for (const Each& each : saved) {
    if (declared.contains(each.name)) return each.name;
  }
  return "";
}

// What a concat of that name among `volumes` has of its legs is to be said where it is declared.
std::string DeclareAs(const std::vector<VolumeSpec>& volumes, const std::string& name) {
  for (const VolumeSpec& volume : volumes) {
    if (volume.name != name || volume.leg_bytes.empty()) continue;
    return absl::StrCat(" and declare it with leg_bytes: [", absl::StrJoin(volume.leg_bytes, ", "),
                        "], for it has these");
  }
  return "";
}

// What was made at run time and saved goes into `config`.
absl::StatusOr<Control::Made> AddMade(StateDir& state, Config& config) {
  const auto body = state.Load(kStateName, kStateVersion);
  if (!body.ok()) return body.status();
  Control::Made made;
  if (!body->has_value()) return made;
  const std::string file = absl::StrCat(state.path(), "/", kStateName);
  auto saved = ParseParts(file, **body);
  if (!saved.ok()) return saved.status();

  std::set<std::string> targets;
  std::set<std::string> exports;
  for (const DiskSpec& disk : config.topology.disks) targets.insert(disk.name);
  for (const VolumeSpec& volume : config.topology.volumes) targets.insert(volume.name);
  for (const ExportConfig& each : config.exports) exports.insert(each.name);
  std::string clash = Clash(saved->topology.disks, targets);
  if (clash.empty()) clash = Clash(saved->topology.volumes, targets);
  if (clash.empty()) clash = Clash(saved->exports, exports);
  if (!clash.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, ": ", Quote(clash),
                     " was made at run time, and the config file declares it too: rename it there, "
                     "or start without it, delete what was made",
                     DeclareAs(saved->topology.volumes, clash)));
  }
  for (DiskSpec& disk : saved->topology.disks) {
    if (disk.kind == DiskSpec::Kind::kPath) {
      auto path = PathUnder(config.disk_roots, disk.path);
      if (!path.ok()) {
        return absl::FailedPreconditionError(
            absl::StrCat(file, ": disk ", Quote(disk.name), ": ", path.status().message()));
      }
      disk.no_links = true;
    }
    made.targets.insert(disk.name);
    config.topology.disks.push_back(std::move(disk));
  }
  for (VolumeSpec& volume : saved->topology.volumes) {
    made.targets.insert(volume.name);
    config.topology.volumes.push_back(std::move(volume));
  }
  for (ExportConfig& each : saved->exports) {
    made.exports.insert(each.name);
    config.exports.push_back(std::move(each));
  }
  if (const auto problem = CompleteAndCheck(config)) {
    const absl::Status why = Explain(*problem, config);
    return absl::FailedPreconditionError(
        absl::StrCat(file, ": does not go with the config file: ", why.message()));
  }
  return made;
}

// `cure`: for more than a file holds.
absl::Status SaveMade(StateDir& state, const std::string& body, absl::string_view cure) {
  const absl::Status status = state.Save(kStateName, kStateVersion, body);
  if (!absl::IsResourceExhausted(status)) return status;
  return absl::ResourceExhaustedError(absl::StrCat(status.message(), ": ", cure));
}

}  // namespace

absl::StatusOr<Control::Made> Control::AddSaved(StateDir& state, Config& config) {
  const auto made = AddMade(state, config);
  if (!made.ok()) return made;
  const auto record = LegRecord::Load(state);
  if (!record.ok()) return record.status();
  for (VolumeSpec& volume : config.topology.volumes) {
    if (made->targets.contains(volume.name)) continue;
    if (absl::Status status = record->Recall(volume, config.topology.volumes); !status.ok()) {
      return status;
    }
  }
  return made;
}

absl::Status Control::SaveBuilt(StateDir& state, Config& config, const Made& made,
                                const Topology& topology) {
  const std::string before = RenderParts(PartsOf(config, made));
  topology.RecordLegs(config.topology);
  const std::string body = RenderParts(PartsOf(config, made));
  if (body != before) {
    const absl::Status status =
        SaveMade(state, body, "delete something with the sluiced that wrote it");
    if (!status.ok()) return status;
  }
  auto record = LegRecord::Load(state);
  if (!record.ok()) return record.status();
  return record->Keep(config.topology, made.targets);
}

absl::StatusOr<uint32_t> Control::CountStart(StateDir& state) {
  const auto body = state.Load(kStartsName, kStartsVersion);
  if (!body.ok()) return body.status();
  uint32_t starts = 0;
  if (body->has_value() && !absl::SimpleAtoi(**body, &starts)) {
    return absl::DataLossError(
        absl::StrCat(state.path(), "/", kStartsName, ": is no number: move it away"));
  }
  starts = (starts + 1) & INT32_MAX;
  if (absl::Status status = state.Save(kStartsName, kStartsVersion, absl::StrCat(starts));
      !status.ok()) {
    return status;
  }
  return starts;
}

Control::Control(House house, Config config, Made made, std::shared_ptr<const Topology> topology,
                 uint32_t epoch)
    : house_(std::move(house)),
      events_(epoch, kEventsKept),
      start_(events_.newest()),
      operations_(house_.clock,
                  [this](const Operation& each) {
                    events_.Add(EventKind::kOperationChanged, each.id, each.title);
                  }),
      requests_(house_.clock),
      disk_roots_(config.disk_roots),
      config_(std::move(config)),
      made_(std::move(made)),
      topology_(std::move(topology)) {
  NoteOpened();
}

Control::~Control() {
  for (auto& [name, draining] : draining_) {
    if (draining.thread.joinable()) draining.thread.join();
  }
}

bool Control::Close() {
  if (!closing_.exchange(true)) events_.Add(EventKind::kDrainBegan, "", "the server shuts down");
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return false;
  for (auto& [name, draining] : draining_) draining.shared->cancelled.store(true);
  return true;
}

std::shared_ptr<const Topology> Control::topology() const {
  const std::lock_guard lock(mutex_);
  return topology_;
}

// --- what a change is made of ---

absl::Status Control::CheckOpen() const {
  if (!closing_.load()) return absl::OkStatus();
  return absl::UnavailableError("the server is shutting down: nothing is changed any more");
}

absl::Status Control::CheckParts(Config config) {
  const auto problem = CompleteAndCheck(config);
  return problem ? Explain(*problem, config) : absl::OkStatus();
}

absl::Status Control::CheckEtag(const Ask& ask, const std::string& resource) const {
  if (ask.etag.empty() || ask.etag == EtagOf(resource)) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("etag: ", Quote(ask.etag), " is not that of ",
                                         resource.substr(0, resource.find(' ')), " now, ",
                                         Quote(EtagOf(resource)), " is: read it again"));
}

std::string Control::EtagOf(const std::string& resource) const {
  const auto found = changed_.find(resource);
  return absl::StrCat(absl::Hex(found == changed_.end() ? start_ : found->second));
}

void Control::Touch(EventKind kind, const std::string& resource, const std::string& name,
                    const std::string& text) {
  changed_[absl::StrCat(resource, " ", name)] = events_.Add(kind, name, text);
}

std::vector<std::string> Control::UsersOf(const std::string& target) const {
  std::vector<std::string> users;
  for (const VolumeSpec& volume : config_.topology.volumes) {
    if (std::count(volume.legs.begin(), volume.legs.end(), target) > 0) {
      users.push_back(volume.name);
    }
  }
  for (const ExportConfig& each : config_.exports) {
    if (each.volume == target) users.push_back(each.name);
  }
  return users;
}

std::set<std::string> Control::ExportsOn(const std::set<std::string>& targets) const {
  std::set<std::string> exports;
  for (const ExportConfig& each : config_.exports) {
    if (targets.contains(each.volume)) exports.insert(each.name);
  }
  return exports;
}

std::vector<Client> Control::AllClients() const {
  std::vector<Client> all;
  for (ClientDoor* door : house_.doors) {
    std::vector<Client> part = door->List();
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  return all;
}

absl::Status Control::Withdraw(const std::set<std::string>& exports) {
  if (exports.empty()) return absl::OkStatus();
  for (const std::string& name : exports) {
    house_.exports.Exported(name)->withdrawn.store(true);
  }
  std::set<std::string> held;
  for (const Client& client : AllClients()) {
    if (exports.contains(client.exported->name)) {
      held.insert(absl::StrCat(Quote(client.exported->name), " (", client.peer, ")"));
    }
  }
  if (held.empty()) return absl::OkStatus();
  Restore(exports);
  return absl::FailedPreconditionError(
      absl::StrCat("clients have open what this would replace, move or take away: export ",
                   absl::StrJoin(held, ", "), ": end these sessions first"));
}

void Control::Restore(const std::set<std::string>& exports) {
  for (const std::string& name : exports) {
    const auto exported = house_.exports.Exported(name);
    if (exported != nullptr) exported->withdrawn.store(false);
  }
}

std::shared_ptr<const ExportTable> Control::TableOf(const Config& config,
                                                    const Topology& topology) const {
  std::vector<ExportTable::Entry> entries;
  for (const ExportConfig& each : config.exports) {
    auto target = topology.Share(each.volume);
    Target* const raw = target.get();
    entries.push_back({each, raw, std::move(target), topology.StandsOn(each.volume)});
  }
  return std::make_shared<const ExportTable>(entries, config.nbd.default_export,
                                             house_.exports.table().get());
}

absl::Status Control::Save(const Config& config, const Made& made) {
  if (house_.state == nullptr) return absl::OkStatus();
  return SaveMade(*house_.state, RenderParts(PartsOf(config, made)), "delete something first");
}

absl::Status Control::Apply(const Config& wanted, const Made& made) {
  if (absl::Status status = CheckParts(wanted); !status.ok()) return status;
  Config next = wanted;
  const auto moved = topology_->MovedBy(next.topology, house_.reactors.size());
  if (!moved.ok()) return moved.status();
  std::set<std::string> disturbed = ExportsOn({moved->begin(), moved->end()});
  if (absl::Status status = Withdraw(disturbed); !status.ok()) return status;

  absl::Status status;
  auto built =
      Topology::Build(next.topology, house_.reactors.size(), house_.disks, topology_.get());
  if (!built.ok()) status = built.status();
  if (status.ok()) {
    (*built)->RecordLegs(next.topology);
    std::set<std::string> replaced;
    for (const ExportConfig& each : config_.exports) {
      const auto now = std::find_if(next.exports.begin(), next.exports.end(),
                                    [&](const ExportConfig& e) { return e.name == each.name; });
      const bool stays = now != next.exports.end() && *now == each &&
                         (*built)->Find(now->volume) == topology_->Find(each.volume);
      if (!stays && !disturbed.contains(each.name)) replaced.insert(each.name);
    }
    status = Withdraw(replaced);
    if (status.ok()) {
      disturbed.merge(replaced);
      status = Save(next, made);
    }
  }
  if (!status.ok()) {
    Restore(disturbed);
    return status;
  }
  (*built)->Adopt(house_.disks);
  const auto before = house_.exports.table();
  std::map<std::string, uint64_t> sizes;
  for (const auto& info : before->List()) sizes[info->name] = info->size_bytes;
  const auto table = TableOf(next, **built);
  house_.exports.Publish(table);
  Restore(disturbed);
  topology_ = *std::move(built);
  config_ = std::move(next);
  made_ = made;
  NoteOpened();
  for (const std::string& name : disturbed) {
    if (table->Find(name) == before->Find(name) || table->Find(name) == nullptr) continue;
    Touch(EventKind::kExportChanged, "export", name, "what it serves has changed");
  }
  for (const auto& info : table->List()) {
    const auto size = sizes.find(info->name);
    if (before->Find(info->name) != info || size->second == info->size_bytes) continue;
    Touch(EventKind::kExportChanged, "export", info->name,
          absl::StrCat("has grown to ", uint64_t{info->size_bytes}, " bytes"));
    for (ClientDoor* door : house_.doors) door->OnGrown(house_.exports.Exported(info->name));
  }
  Reweigh(*table);
  return absl::OkStatus();
}

void Control::NoteOpened() {
  std::map<std::string, int64_t> opened;
  for (const DiskSpec& disk : config_.topology.disks) {
    const auto before = opened_.find(disk.name);
    opened[disk.name] = before != opened_.end() ? before->second : UnixNowNs();
  }
  opened_ = std::move(opened);
}

// Queues of `fair` learn what the flows weigh.
void Control::Reweigh(const ExportTable& table) {
  house_.disks.SetFlowWeights(table.Weights());
  for (const DiskSpec& spec : config_.topology.disks) {
    if (spec.bufq == "fair") ChangeQueue(spec).IgnoreError();
  }
}

std::vector<Client> Control::ListClients() const { return AllClients(); }

absl::Status Control::EndClient(const Ask& ask, const std::string& handle) {
  const auto ended = requests_.Once<bool>(
      ask.request_id, absl::StrCat("end client ", handle), [&]() -> absl::StatusOr<bool> {
        bool found = false;
        for (const Client& client : AllClients()) found |= client.handle == handle;
        if (!found) {
          return absl::NotFoundError(absl::StrCat("session ", Quote(handle), ": there is none"));
        }
        for (ClientDoor* door : house_.doors) {
          door->End([&](const Client& client) { return client.handle == handle; },
                    "revoked by an operator");
        }
        return true;
      });
  return ended.status();
}

}  // namespace sluice
