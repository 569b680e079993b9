// SPDX-License-Identifier: Apache-2.0
// The control plane's disks.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <latch>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "core/unix_time.h"
#include "server/control/control_kinds.h"
#include "server/control/paths.h"
#include "server/text.h"
#include "storage/label_guard.h"

namespace sluice {
namespace {

constexpr std::chrono::milliseconds kDrainLook{10};

absl::Status NoQueue(const std::string& name) {
  return absl::FailedPreconditionError(
      absl::StrCat("disk ", Quote(name), " is a null disk: it has no queue"));
}

// Flushes `target`; an errno.
int Flush(ReactorSet& reactors, Target& target) {
  struct Job {
    Bio bio;
    Callback callback;
    std::latch done{1};
  };
  Job job;
  job.bio.op = Op::kFlush;
  job.bio.target = &target;
  job.callback.context = &job;
  job.callback.run = [](Bio&, void*) noexcept {};
  // The last that is done with it: after this nobody touches the job.
  job.bio.release = [](Bio& bio) noexcept { reinterpret_cast<Job&>(bio).done.count_down(); };
  reactors.at(target.home()).Post([&job] {
    PushCallback(job.bio, job.callback);
    Submit(job.bio);
  });
  job.done.wait();
  return job.bio.error;
}

}  // namespace

DiskInfo Control::Describe(const DiskSpec& spec) const {
  DiskInfo info;
  info.spec = spec;
  info.etag = EtagOf(absl::StrCat("disk ", spec.name));
  const std::shared_ptr<Target> target = topology_->Disk(spec.name);
  info.limits = target->limits();
  info.device_block_bytes = info.limits.logical_block;
  if (target->home() != kNoHome) info.home = target->home();
  uint64_t failed_ns = 0;
  uint64_t hung_ns = 0;
  if (Disk* disk = house_.disks.AsDisk(target.get()); disk != nullptr) {
    house_.disks.RunOn(disk->home(), [&] {
      info.strategy = std::string(disk->strategy_name());
      info.depth = disk->depth();
      info.backlog = disk->backlog();
      info.device_block_bytes = disk->medium().limits().block;
      failed_ns = disk->failed() ? disk->failed_ns() : 0;
      hung_ns = disk->hung_since_ns();
    });
  }
  info.since_unix_ns = opened_.at(spec.name);
  const auto became = [&info](DiskInfo::State state, int64_t since_unix_ns, const char* reason) {
    info.state = state;
    info.since_unix_ns = since_unix_ns;
    info.reason = reason;
  };
  const auto unix = [this](uint64_t at_ns) {
    return UnixNowNs() - static_cast<int64_t>(house_.clock.NowNs() - at_ns);
  };
  const auto draining = draining_.find(spec.name);
  if (draining != draining_.end()) {
    const Draining::Shared& shared = *draining->second.shared;
    const DiskInfo::State state = shared.state.load();
    became(state, shared.since_unix_ns.load(),
           state == DiskInfo::State::kOnline ? "" : "an operator drains or drained it");
  }
  if (failed_ns != 0) {
    became(DiskInfo::State::kFlushFailed, unix(failed_ns),
           "a flush failed, and what it was to save may be lost: see the log, check the drive, "
           "start the server anew");
  } else if (hung_ns != 0) {
    became(DiskInfo::State::kHung, unix(hung_ns),
           "the device does not answer: requests that it has end with EIO after io_timeout_s");
  }
  info.used_by = UsersOf(spec.name);
  info.made_at_run_time = made_.targets.contains(spec.name);
  return info;
}

absl::StatusOr<DiskInfo> Control::GetDisk(const std::string& name) const {
  return Get<DiskSpec>(name);
}

std::vector<DiskInfo> Control::ListDisks() const { return List<DiskSpec>(); }

absl::StatusOr<DiskInfo> Control::AddDisk(const Ask& ask, const DiskSpec& asked) {
  if (asked.kind != DiskSpec::Kind::kPath) return Make(ask, asked);
  auto path = PathUnder(disk_roots_, asked.path);
  if (!path.ok()) return path.status();
  DiskSpec spec = asked;
  spec.path = *std::move(path);
  spec.no_links = true;
  return Make(ask, spec);
}

// Puts a queue in place as `next` says.
absl::StatusOr<uint32_t> Control::ChangeQueue(const DiskSpec& next) {
  Disk* const disk = house_.disks.AsDisk(topology_->Disk(next.name).get());
  if (disk == nullptr) return NoQueue(next.name);
  auto bufq = house_.disks.MakeBufq(next);
  if (!bufq.ok()) return bufq.status();
  uint32_t moved = 0;
  house_.disks.RunOn(disk->home(), [&] {
    moved = static_cast<uint32_t>(disk->queued());
    *bufq = disk->SwapBufq(*std::move(bufq));
  });
  return moved;
}

absl::StatusOr<Swapped> Control::SwapStrategy(const Ask& ask, const std::string& name,
                                              const std::string& strategy,
                                              uint64_t cylinder_bytes) {
  return Change<DiskSpec, Swapped>(
      ask, absl::StrCat("swap strategy ", strategy, " ", cylinder_bytes), name,
      [&](Config& next, DiskSpec& disk) -> absl::StatusOr<Swapped> {
        const DiskSpec before = disk;
        disk.bufq = strategy;
        disk.cylinder_bytes = cylinder_bytes;
        if (absl::Status status = CheckParts(next); !status.ok()) return status;
        const auto moved = ChangeQueue(disk);
        if (!moved.ok()) return moved.status();
        if (absl::Status status = Save(next, made_); !status.ok()) {
          ChangeQueue(before).IgnoreError();
          return status;
        }
        config_ = next;
        Touch(EventKind::kDiskChanged, "disk", name, absl::StrCat("strategy ", strategy));
        return Swapped{Describe(disk), *moved};
      });
}

absl::StatusOr<DiskInfo> Control::SetDepth(const Ask& ask, const std::string& name,
                                           uint32_t depth) {
  return Change<DiskSpec, DiskInfo>(
      ask, absl::StrCat("set depth ", depth), name,
      [&](Config& next, DiskSpec& spec) -> absl::StatusOr<DiskInfo> {
        spec.depth = depth;
        if (absl::Status status = CheckParts(next); !status.ok()) return status;
        Disk* const disk = house_.disks.AsDisk(topology_->Disk(name).get());
        if (disk == nullptr) return NoQueue(name);
        if (absl::Status status = Save(next, made_); !status.ok()) return status;
        house_.disks.RunOn(disk->home(), [&] {
          const uint32_t own = std::clamp(disk->medium().limits().depth, 1u, Disk::kDepthMax);
          disk->SetDepth(depth != 0 ? depth : own);
        });
        config_ = next;
        Touch(EventKind::kDiskChanged, "disk", name, absl::StrCat("depth ", depth));
        return Describe(spec);
      });
}

absl::Status Control::RemoveDisk(const Ask& ask, const std::string& name) {
  return Change<DiskSpec, bool>(
             ask, "remove", name,
             [&](Config& next, DiskSpec& disk) -> absl::StatusOr<bool> {
               if (absl::Status status = CheckRemovable(disk); !status.ok()) return status;
               const auto draining = draining_.find(name);
               if (draining != draining_.end() &&
                   draining->second.shared->state.load() == DiskInfo::State::kDraining) {
                 return absl::AbortedError(absl::StrCat(
                     "disk ", Quote(name), " is being drained: wait for that operation"));
               }
               if (absl::Status status = Take(next, disk); !status.ok()) return status;
               if (draining != draining_.end()) {
                 draining->second.thread.join();  // it has ended
                 draining_.erase(draining);
               }
               events_.Add(EventKind::kDiskRemoved, name, "removed");
               return true;
             })
      .status();
}

absl::StatusOr<Rescanned> Control::RescanDisk(const Ask& ask, const std::string& name) {
  return Change<DiskSpec, Rescanned>(
      ask, "rescan", name, [&](Config& next, DiskSpec& spec) { return Rescan(next, spec); });
}

// False: its guard is at work.
bool Control::Grow(Disk& disk, uint64_t bytes) {
  Target* const top = topology_->Find(disk.name());
  auto* const guard = top == &disk ? nullptr : static_cast<LabelGuard*>(top);
  bool grown = false;
  house_.disks.RunOn(disk.home(), [&] {
    if (guard != nullptr && !guard->idle()) return;
    disk.Grow(bytes);
    if (guard != nullptr) guard->Follow();
    grown = true;
  });
  return grown;
}

absl::StatusOr<Rescanned> Control::Rescan(const Config& config, const DiskSpec& spec) {
  const std::string& name = spec.name;
  Disk* const disk = house_.disks.AsDisk(topology_->Disk(name).get());
  if (disk == nullptr) return Rescanned{Describe(spec), topology_->Disk(name)->limits().size};
  const uint64_t before = disk->medium().limits().size;
  const int64_t found = disk->medium().FindSize();
  if (found < 0) {
    return absl::ErrnoToStatus(static_cast<int>(-found),
                               absl::StrCat("disk ", Quote(name), ": its size cannot be told"));
  }
  const auto now = static_cast<uint64_t>(found);
  if (now == before && !behind_.contains(name)) return Rescanned{Describe(spec), before};
  if (now < before) {
    return absl::FailedPreconditionError(
        absl::StrCat("disk ", Quote(name), " has shrunk from ", before, " to ", now,
                     " bytes: what lay behind is lost; make it as long as it was"));
  }
  // What stands on it must be able to follow: that is seen before anything grows.
  if (absl::Status status = topology_->CheckGrowth(name); !status.ok()) return status;
  if (!Grow(*disk, now)) {
    return absl::AbortedError(absl::StrCat(
        "disk ", Quote(name), ": a request that may change its label is under way: ask again"));
  }
  behind_.insert(name);
  if (absl::Status status = Apply(config, made_); !status.ok()) return status;
  behind_.erase(name);
  Touch(EventKind::kDiskChanged, "disk", name, absl::StrCat("has grown to ", now, " bytes"));
  return Rescanned{Describe(spec), before};
}

// --- draining ---

absl::StatusOr<Operation> Control::DrainDisk(const Ask& ask, const std::string& name) {
  return Change<DiskSpec, Operation>(ask, "drain", name,
                                     [&](Config&, DiskSpec&) { return BeginDrain(name); });
}

absl::StatusOr<Operation> Control::BeginDrain(const std::string& name) {
  const std::shared_ptr<Target> target = topology_->Disk(name);
  if (house_.disks.AsDisk(target.get()) == nullptr) return NoQueue(name);
  const auto there = draining_.find(name);
  if (there != draining_.end()) {
    if (there->second.shared->state.load() != DiskInfo::State::kOnline) {
      return absl::FailedPreconditionError(
          absl::StrCat("disk ", Quote(name), " is drained, or being drained, already"));
    }
    there->second.thread.join();  // that one was cancelled or failed
    draining_.erase(there);
  }
  Draining draining;
  const auto shared = draining.shared;
  shared->since_unix_ns.store(UnixNowNs());
  auto begun = operations_.Begin(absl::StrCat("drain disk ", Quote(name)),
                                 [shared] { shared->cancelled.store(true); });
  if (!begun.ok()) return begun.status();
  Touch(EventKind::kDiskChanged, "disk", name, "draining");
  draining.thread = std::thread([this, target, id = begun->id, shared] {
    const absl::Status status = Drain(*target, id, shared->cancelled);
    shared->since_unix_ns.store(UnixNowNs());
    shared->state.store(status.ok() ? DiskInfo::State::kDrained : DiskInfo::State::kOnline);
    operations_.End(id, status);
  });
  draining_.emplace(name, std::move(draining));
  return begun;
}

// On a thread of its own. The disk is closed if this succeeds, else open as before.
absl::Status Control::Drain(Target& target, const std::string& operation,
                            const std::atomic<bool>& cancelled) {
  Disk& disk = *house_.disks.AsDisk(&target);
  const auto close = [&](bool closed) {
    house_.disks.RunOn(disk.home(), [&] { disk.SetClosed(closed); });
  };
  close(true);
  size_t most = 0;
  for (;;) {
    bool idle = false;
    size_t left = 0;
    house_.disks.RunOn(disk.home(), [&] {
      idle = disk.idle();
      left = disk.backlog();
    });
    most = std::max(most, left);
    operations_.Progress(operation, most - left, most);
    if (cancelled.load()) {
      close(false);
      return absl::CancelledError("cancelled: the disk is open again");
    }
    if (idle) break;
    std::this_thread::sleep_for(kDrainLook);
  }
  const int error = Flush(house_.reactors, target);
  if (error == 0) return absl::OkStatus();
  close(false);
  return absl::ErrnoToStatus(error, absl::StrCat("the flush failed: ", std::strerror(error)));
}

}  // namespace sluice
