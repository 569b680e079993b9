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
#include "server/control/control.h"
#include "server/control/paths.h"
#include "server/text.h"

namespace sluice {
namespace {

constexpr std::chrono::milliseconds kDrainLook{10};

std::string SaidOf(const DiskSpec& disk) {
  Config config;
  config.topology.disks.push_back(disk);
  return RenderParts(config);
}

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

absl::StatusOr<DiskSpec*> Control::FindDisk(Config& config, const std::string& name) {
  for (DiskSpec& disk : config.topology.disks) {
    if (disk.name == name) return &disk;
  }
  return absl::NotFoundError(absl::StrCat("disk ", Quote(name), ": there is none"));
}

DiskInfo Control::Describe(const DiskSpec& spec) const {
  DiskInfo info;
  info.spec = spec;
  info.etag = EtagOf(absl::StrCat("disk ", spec.name));
  const std::shared_ptr<Target> target = topology_->Disk(spec.name);
  info.limits = target->limits();
  info.device_block_bytes = info.limits.logical_block;
  if (target->home() != kNoHome) info.home = target->home();
  if (Disk* disk = house_.disks.AsDisk(target.get()); disk != nullptr) {
    house_.disks.RunOn(disk->home(), [&] {
      info.strategy = std::string(disk->strategy_name());
      info.depth = disk->depth();
      info.backlog = disk->backlog();
      info.device_block_bytes = disk->medium().limits().block;
      if (disk->failed()) info.state = DiskInfo::State::kFlushFailed;
    });
  }
  const auto draining = draining_.find(spec.name);
  if (draining != draining_.end() && info.state == DiskInfo::State::kOnline) {
    info.state = draining->second.state->load();
  }
  info.used_by = UsersOf(spec.name);
  info.made_at_run_time = made_.targets.contains(spec.name);
  return info;
}

absl::StatusOr<DiskInfo> Control::GetDisk(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  for (const DiskSpec& disk : config_.topology.disks) {
    if (disk.name == name) return Describe(disk);
  }
  return absl::NotFoundError(absl::StrCat("disk ", Quote(name), ": there is none"));
}

std::vector<DiskInfo> Control::ListDisks() const {
  const std::lock_guard lock(mutex_);
  std::vector<DiskInfo> all;
  for (const DiskSpec& disk : config_.topology.disks) all.push_back(Describe(disk));
  std::sort(all.begin(), all.end(),
            [](const DiskInfo& a, const DiskInfo& b) { return a.spec.name < b.spec.name; });
  return all;
}

absl::StatusOr<DiskInfo> Control::AddDisk(const Ask& ask, const DiskSpec& asked) {
  const auto add = [&]() -> absl::StatusOr<DiskInfo> {
    DiskSpec spec = asked;
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    if (spec.kind == DiskSpec::Kind::kPath) {
      auto path = PathUnder(config_.disk_roots, spec.path);
      if (!path.ok()) return path.status();
      spec.path = *std::move(path);
      spec.no_links = true;
    }
    Config next = config_;
    if (const auto there = FindDisk(next, spec.name); there.ok()) {
      if (SaidOf(**there) == SaidOf(spec)) return Describe(**there);
      return absl::AlreadyExistsError(
          absl::StrCat("disk ", Quote(spec.name), " is there and is another one"));
    }
    Made made = made_;
    made.targets.insert(spec.name);
    next.topology.disks.push_back(spec);
    if (absl::Status status = Apply(next, made); !status.ok()) return status;
    Touch(EventKind::kDiskAdded, "disk", spec.name, "added");
    return Describe(spec);
  };
  return requests_.Once<DiskInfo>(ask.request_id, "add disk " + SaidOf(asked), add);
}

// Puts a queue in place as `next` says.
absl::Status Control::ChangeQueue(const DiskSpec& next) {
  Disk* const disk = house_.disks.AsDisk(topology_->Disk(next.name).get());
  if (disk == nullptr) return NoQueue(next.name);
  auto bufq = house_.disks.MakeBufq(next);
  if (!bufq.ok()) return bufq.status();
  house_.disks.RunOn(disk->home(), [&] { *bufq = disk->SwapBufq(*std::move(bufq)); });
  return absl::OkStatus();
}

absl::StatusOr<DiskInfo> Control::SwapStrategy(const Ask& ask, const std::string& name,
                                               const std::string& strategy,
                                               uint64_t cylinder_bytes) {
  const auto swap = [&]() -> absl::StatusOr<DiskInfo> {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    const auto disk = FindDisk(next, name);
    if (!disk.ok()) return disk.status();
    if (absl::Status status = CheckEtag(ask, "disk " + name); !status.ok()) return status;
    (*disk)->bufq = strategy;
    (*disk)->cylinder_bytes = cylinder_bytes;
    if (absl::Status status = CheckParts(next); !status.ok()) return status;
    if (absl::Status status = ChangeQueue(**disk); !status.ok()) return status;
    if (absl::Status status = Save(next, made_); !status.ok()) {
      ChangeQueue(**FindDisk(config_, name)).IgnoreError();
      return status;
    }
    config_ = std::move(next);
    const DiskSpec& changed = **FindDisk(config_, name);
    Touch(EventKind::kDiskChanged, "disk", name, absl::StrCat("strategy ", strategy));
    return Describe(changed);
  };
  return requests_.Once<DiskInfo>(
      ask.request_id,
      absl::StrCat("swap strategy ", name, " ", ask.etag, " ", strategy, " ", cylinder_bytes),
      swap);
}

absl::StatusOr<DiskInfo> Control::SetDepth(const Ask& ask, const std::string& name,
                                           uint32_t depth) {
  const auto set = [&]() -> absl::StatusOr<DiskInfo> {
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    const auto spec = FindDisk(next, name);
    if (!spec.ok()) return spec.status();
    if (absl::Status status = CheckEtag(ask, "disk " + name); !status.ok()) return status;
    (*spec)->depth = depth;
    if (absl::Status status = CheckParts(next); !status.ok()) return status;
    Disk* const disk = house_.disks.AsDisk(topology_->Disk(name).get());
    if (disk == nullptr) return NoQueue(name);
    if (absl::Status status = Save(next, made_); !status.ok()) return status;
    house_.disks.RunOn(disk->home(), [&] {
      const uint32_t own = std::clamp(disk->medium().limits().depth, 1u, Disk::kDepthMax);
      disk->SetDepth(depth != 0 ? depth : own);
    });
    config_ = std::move(next);
    Touch(EventKind::kDiskChanged, "disk", name, absl::StrCat("depth ", depth));
    return Describe(**FindDisk(config_, name));
  };
  return requests_.Once<DiskInfo>(ask.request_id,
                                  absl::StrCat("set depth ", name, " ", ask.etag, " ", depth), set);
}

absl::Status Control::RemoveDisk(const Ask& ask, const std::string& name) {
  const auto remove = [&]() -> absl::StatusOr<bool> {
    std::thread drained;
    const std::lock_guard lock(mutex_);
    if (absl::Status status = CheckOpen(); !status.ok()) return status;
    Config next = config_;
    const auto disk = FindDisk(next, name);
    if (!disk.ok()) return disk.status();
    if (absl::Status status = CheckEtag(ask, "disk " + name); !status.ok()) return status;
    if (!made_.targets.contains(name)) {
      return absl::FailedPreconditionError(
          absl::StrCat("disk ", Quote(name), " is declared by the config file: remove it there"));
    }
    if (absl::Status status = CheckUnused("disk", name); !status.ok()) return status;
    const auto draining = draining_.find(name);
    if (draining != draining_.end() &&
        draining->second.state->load() == DiskInfo::State::kDraining) {
      return absl::AbortedError(
          absl::StrCat("disk ", Quote(name), " is being drained: wait for that operation"));
    }
    next.topology.disks.erase(next.topology.disks.begin() + (*disk - next.topology.disks.data()));
    Made made = made_;
    made.targets.erase(name);
    if (absl::Status status = Apply(next, made); !status.ok()) return status;
    if (draining != draining_.end()) {
      draining->second.thread.join();  // it has ended
      draining_.erase(draining);
    }
    changed_.erase("disk " + name);
    events_.Add(EventKind::kDiskRemoved, name, "removed");
    return true;
  };
  return requests_
      .Once<bool>(ask.request_id, absl::StrCat("remove disk ", name, " ", ask.etag), remove)
      .status();
}

absl::StatusOr<DiskInfo> Control::RescanDisk(const Ask& ask, const std::string& name) {
  return requests_.Once<DiskInfo>(ask.request_id, "rescan disk " + name,
                                  [&] { return Rescan(name); });
}

absl::StatusOr<DiskInfo> Control::Rescan(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  const auto spec = FindDisk(config_, name);
  if (!spec.ok()) return spec.status();
  Disk* const disk = house_.disks.AsDisk(topology_->Disk(name).get());
  if (disk == nullptr) return Describe(**spec);
  const uint64_t before = disk->medium().limits().size;
  const int64_t found = disk->medium().FindSize();
  if (found < 0) {
    return absl::ErrnoToStatus(static_cast<int>(-found),
                               absl::StrCat("disk ", Quote(name), ": its size cannot be told"));
  }
  const auto now = static_cast<uint64_t>(found);
  if (now == before) return Describe(**spec);
  if (now < before) {
    return absl::FailedPreconditionError(
        absl::StrCat("disk ", Quote(name), " has shrunk from ", before, " to ", now,
                     " bytes: what lay behind is lost; make it as long as it was"));
  }
  const absl::Status status = Apply(
      config_, made_, name, [&] { house_.disks.RunOn(disk->home(), [&] { disk->Resize(now); }); });
  if (!status.ok()) return status;
  Touch(EventKind::kDiskChanged, "disk", name, absl::StrCat("has grown to ", now, " bytes"));
  return Describe(**FindDisk(config_, name));
}

// --- draining ---

absl::StatusOr<Operation> Control::DrainDisk(const Ask& ask, const std::string& name) {
  return requests_.Once<Operation>(ask.request_id, absl::StrCat("drain disk ", name, " ", ask.etag),
                                   [&] { return BeginDrain(ask, name); });
}

absl::StatusOr<Operation> Control::BeginDrain(const Ask& ask, const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (absl::Status status = CheckOpen(); !status.ok()) return status;
  const auto spec = FindDisk(config_, name);
  if (!spec.ok()) return spec.status();
  if (absl::Status status = CheckEtag(ask, "disk " + name); !status.ok()) return status;
  const std::shared_ptr<Target> target = topology_->Disk(name);
  if (house_.disks.AsDisk(target.get()) == nullptr) return NoQueue(name);
  const auto there = draining_.find(name);
  if (there != draining_.end()) {
    if (there->second.state->load() != DiskInfo::State::kOnline) {
      return absl::FailedPreconditionError(
          absl::StrCat("disk ", Quote(name), " is drained, or being drained, already"));
    }
    there->second.thread.join();  // that one was cancelled or failed
    draining_.erase(there);
  }
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  auto begun = operations_.Begin(absl::StrCat("drain disk ", Quote(name)),
                                 [cancelled] { cancelled->store(true); });
  if (!begun.ok()) return begun.status();
  auto state = std::make_shared<std::atomic<DiskInfo::State>>(DiskInfo::State::kDraining);
  Touch(EventKind::kDiskChanged, "disk", name, "draining");
  Draining& draining = draining_[name];
  draining.state = state;
  draining.cancelled = cancelled;
  draining.thread = std::thread([this, target, id = begun->id, state, cancelled] {
    const absl::Status status = Drain(*target, id, *cancelled);
    state->store(status.ok() ? DiskInfo::State::kDrained : DiskInfo::State::kOnline);
    operations_.End(id, status);
  });
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
