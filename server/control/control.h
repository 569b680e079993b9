// SPDX-License-Identifier: Apache-2.0
// The control plane: changes what is served while it is served, keeps it over a restart, and tells
// what there is.
//
// Any thread but a reactor's; calls block, on a mutex, on reactors that pass, on drives whose
// requests end. Nothing of it runs on the data path. A change is checked by the rules of the
// config, built beside what is there, saved, and only then put in force: a refused one leaves
// everything as it was. Clients of an export whose target must be replaced, moved or resized stand
// in the way of such a change (FailedPrecondition, which names them).
//
// What the config file declares stays the file's: its strategy and depth can be changed until the
// server ends, everything else is refused with that reason.
//
// Errors: InvalidArgument (no such value, in the config's words), NotFound, AlreadyExists,
// FailedPrecondition (in use; cannot be), Aborted (the etag is another one; a request under way),
// Unavailable (the server is draining), ResourceExhausted, and what storage reports.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/clock.h"
#include "server/config.h"
#include "server/control/clients.h"
#include "server/control/event_log.h"
#include "server/control/live_exports.h"
#include "server/control/operations.h"
#include "server/control/request_log.h"
#include "server/disk_factory.h"
#include "server/state_dir.h"
#include "storage/topology.h"

namespace sluice {

// What every mutating call takes; both may be empty.
struct Ask {
  std::string request_id;
  std::string etag;  // as read from the resource; empty: whatever it is now
};

struct DiskInfo {
  // Numbered as DiskState of proto/sluice/v1/disk.proto.
  enum class State : uint8_t {
    kOnline = 1,
    kDraining = 2,
    kDrained = 3,
    kFlushFailed = 4,
    kHung = 5
  };

  DiskSpec spec;
  std::string etag;
  State state = State::kOnline;
  std::string reason;         // why it is in that state; empty: online
  int64_t since_unix_ns = 0;  // when it came into it, as far as anybody looked
  Limits limits;
  uint32_t device_block_bytes = 0;
  std::string strategy;              // in use; empty: a null disk has none
  uint32_t depth = 0;                // in use
  int32_t home = -1;                 // -1: on all reactors
  size_t backlog = 0;                // runs that wait or are at the device
  std::vector<std::string> used_by;  // volumes and exports, by name
  bool made_at_run_time = false;
};

struct Swapped {
  DiskInfo disk;
  uint32_t moved = 0;  // requests that waited and moved over
};

struct Rescanned {
  DiskInfo disk;
  uint64_t old_size_bytes = 0;
};

struct VolumeInfo {
  VolumeSpec spec;
  std::string etag;
  Limits limits;
  int32_t home = -1;
  std::vector<std::string> used_by;
  bool made_at_run_time = false;
};

struct ExportStatus {
  std::shared_ptr<const Export> exported;
  std::string etag;
  std::map<std::string, uint32_t> clients;  // by DoorOf()
  bool made_at_run_time = false;
};

class Control {
 public:
  // What it works on; all outlive it.
  struct House {
    ReactorSet& reactors;
    ConfiguredDisks& disks;
    LiveExports& exports;
    std::vector<ClientDoor*> doors;
    StateDir* state;  // null: what is made is lost at exit
    Clock& clock;
  };

  // The disks, volumes and exports that were made at run time and saved are added to `config`,
  // before anything is opened. Errors name the file of the state and what is wrong with it:
  // corrupt, newer, at odds with the config file. `made` are their names, for the constructor.
  struct Made {
    std::set<std::string> targets;  // disks and volumes
    std::set<std::string> exports;
  };
  static absl::StatusOr<Made> AddSaved(StateDir& state, Config& config);

  // What was added has been built: what only then is known of it, and is to be the same at the next
  // start, is said in `config` and saved. Before the constructor.
  static absl::Status SaveBuilt(StateDir& state, Config& config, const Made& made,
                                const Topology& topology);

  // The number of this start of a server with that state: 1, 2 ... Durable when this returns.
  static absl::StatusOr<uint32_t> CountStart(StateDir& state);

  // What is served now: a checked config with what was added, its topology, as in house.exports.
  // `epoch`: CountStart().
  Control(House house, Config config, Made made, std::shared_ptr<const Topology> topology,
          uint32_t epoch);
  ~Control();  // REQUIRES: Close() returned true
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // From now on changes are refused. Any thread, does not block; false: one is under way, ask
  // again. True: nothing changes any more, and topology() stays.
  bool Close();
  std::shared_ptr<const Topology> topology() const;
  bool closing() const { return closing_.load(); }

  EventLog& events() { return events_; }
  Operations& operations() { return operations_; }

  // The path of a new disk must lie under a disk_root when all links are resolved.
  absl::StatusOr<DiskInfo> AddDisk(const Ask& ask, const DiskSpec& spec);
  absl::StatusOr<DiskInfo> GetDisk(const std::string& name) const;
  std::vector<DiskInfo> ListDisks() const;  // by name, as the lists below
  absl::StatusOr<Swapped> SwapStrategy(const Ask& ask, const std::string& name,
                                       const std::string& strategy, uint64_t cylinder_bytes);
  absl::StatusOr<DiskInfo> SetDepth(const Ask& ask, const std::string& name, uint32_t depth);
  // Flushes it and lets nothing new reach it; cancelling the operation opens it again.
  absl::StatusOr<Operation> DrainDisk(const Ask& ask, const std::string& name);
  absl::Status RemoveDisk(const Ask& ask, const std::string& name);
  // Sees whether the device has grown.
  absl::StatusOr<Rescanned> RescanDisk(const Ask& ask, const std::string& name);

  absl::StatusOr<VolumeInfo> CreateVolume(const Ask& ask, const VolumeSpec& spec);
  absl::StatusOr<VolumeInfo> GetVolume(const std::string& name) const;
  std::vector<VolumeInfo> ListVolumes() const;
  // A slice: to `size_bytes`; a concat: by `add_legs`.
  absl::StatusOr<VolumeInfo> GrowVolume(const Ask& ask, const std::string& name,
                                        uint64_t size_bytes,
                                        const std::vector<std::string>& add_legs);
  absl::Status DeleteVolume(const Ask& ask, const std::string& name);

  absl::StatusOr<ExportStatus> CreateExport(const Ask& ask, const ExportConfig& config);
  absl::StatusOr<ExportStatus> GetExport(const std::string& name) const;
  std::vector<ExportStatus> ListExports() const;
  // `change` sets the fields that `said` tells of in full; name and volume stay. Whoever has it
  // open stands in the way.
  absl::StatusOr<ExportStatus> UpdateExport(const Ask& ask, const std::string& name,
                                            const std::string& said,
                                            absl::FunctionRef<void(ExportConfig&)> change);
  // `force`: fences whoever has it open; else they stand in the way.
  absl::Status DeleteExport(const Ask& ask, const std::string& name, bool force);

  std::vector<Client> ListClients() const;
  // Fences one: nothing of it reaches a drive when this returns. NotFound.
  absl::Status EndClient(const Ask& ask, const std::string& handle);

 private:
  struct Draining {
    struct Shared {
      std::atomic<DiskInfo::State> state{DiskInfo::State::kDraining};  // online: it came to nothing
      std::atomic<int64_t> since_unix_ns{0};
      std::atomic<bool> cancelled{false};
    };
    std::shared_ptr<Shared> shared = std::make_shared<Shared>();
    std::thread thread;
  };
  // Disks, volumes and exports are made, found, changed and taken away alike (control_kinds.h).
  template <typename Spec>
  struct Kind;

  // --- without the mutex ---
  // A change, carried out once a request id: `work`, an absl::StatusOr<Answer> (Config& next), is
  // called with the mutex held, if changes are open, on a copy of the config. `what` says in full
  // what is asked for, but for the etag.
  template <typename Answer, typename Work>
  absl::StatusOr<Answer> Once(const Ask& ask, const std::string& what, Work&& work);
  // One of something that is there and has the etag that the caller knows: `work` is an
  // absl::StatusOr<Answer> (Config& next, Spec& its part of it).
  template <typename Spec, typename Answer, typename Work>
  absl::StatusOr<Answer> Change(const Ask& ask, const std::string& what, const std::string& name,
                                Work&& work);
  template <typename Spec>
  absl::StatusOr<typename Kind<Spec>::Info> Make(const Ask& ask, const Spec& spec);
  template <typename Spec>
  absl::StatusOr<typename Kind<Spec>::Info> Get(const std::string& name) const;
  template <typename Spec>
  std::vector<typename Kind<Spec>::Info> List() const;
  absl::Status Drain(Target& target, const std::string& operation,
                     const std::atomic<bool>& cancelled);
  std::vector<Client> AllClients() const;

  // --- with mutex_ held ---
  // Puts `next` in force.
  absl::Status Apply(const Config& next, const Made& made);
  // What is there, as `asked` would have asked for it: without what was left to the server.
  template <typename Spec>
  Spec AsAsked(const Spec& there, const Spec& asked) const;
  // Puts `next` in force without `spec`, a part of it that was made at run time.
  template <typename Spec>
  absl::Status Take(Config& next, const Spec& spec);
  // It can be taken away: made at run time, used by nothing.
  template <typename Spec>
  absl::Status CheckRemovable(const Spec& spec) const;
  template <typename Spec>
  absl::Status CheckMade(const Spec& spec, const char* instead) const;
  // Keeps new clients from these exports; refused if there are clients already.
  absl::Status Withdraw(const std::set<std::string>& exports);
  void Restore(const std::set<std::string>& exports);
  absl::Status Save(const Config& config, const Made& made);
  // Says in `volume`, which is to stand beside those of `config`, what it had of its legs.
  absl::Status RecallLegs(const Config& config, VolumeSpec& volume) const;
  absl::Status ForgetLegs(const std::string& volume);
  std::shared_ptr<const ExportTable> TableOf(const Config& config, const Topology& topology) const;
  void Reweigh(const ExportTable& table);
  void NoteOpened();
  // The requests that moved over.
  absl::StatusOr<uint32_t> ChangeQueue(const DiskSpec& next);
  std::set<std::string> ExportsOn(const std::set<std::string>& targets) const;
  std::vector<std::string> UsersOf(const std::string& target) const;
  absl::Status CheckOpen() const;
  static absl::Status CheckParts(Config config);
  absl::Status CheckEtag(const Ask& ask, const std::string& resource) const;
  void Touch(EventKind kind, const std::string& resource, const std::string& name,
             const std::string& text);
  std::string EtagOf(const std::string& resource) const;
  DiskInfo Describe(const DiskSpec& spec) const;
  VolumeInfo Describe(const VolumeSpec& spec) const;
  ExportStatus Describe(const ExportConfig& config) const;
  ExportStatus Describe(const ExportConfig& config, const std::vector<Client>& clients) const;
  bool Grow(Disk& disk, uint64_t bytes);
  absl::StatusOr<Rescanned> Rescan(const Config& config, const DiskSpec& spec);
  absl::StatusOr<Operation> BeginDrain(const std::string& name);
  absl::Status CheckDeletable(const Config& config, const ExportConfig& each) const;

  const House house_;
  EventLog events_;
  const uint64_t start_;  // the revision before all of this start
  Operations operations_;
  RequestLog requests_;
  const std::vector<std::string> disk_roots_;
  std::atomic<bool> closing_{false};

  mutable std::mutex mutex_;  // guards all below
  Config config_;             // what is served now
  Made made_;
  std::shared_ptr<const Topology> topology_;
  std::map<std::string, uint64_t> changed_;  // "disk NAME" -> revision of its last change
  std::map<std::string, Draining> draining_;
  std::set<std::string> behind_;  // disks that have grown, and what stands on them has not yet
  std::map<std::string, int64_t> opened_;  // disks, and when; nanoseconds since 1970 UTC
};

}  // namespace sluice
