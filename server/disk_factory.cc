// SPDX-License-Identifier: Apache-2.0
#include "server/disk_factory.h"

#include <algorithm>
#include <latch>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/units.h"
#include "server/text.h"
#include "storage/bufq.h"
#include "storage/disk.h"
#include "storage/medium_file.h"
#include "storage/medium_memory.h"
#include "storage/null_disk.h"

namespace sluice {
namespace {

absl::Status Named(const DiskSpec& spec, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("disk ", Quote(spec.name), ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Medium>> ConfiguredDisks::OpenMedium(const DiskSpec& spec) {
  if (spec.kind == DiskSpec::Kind::kPath) {
    FileOptions options;
    options.path = spec.path;
    options.read_only = spec.read_only;
    options.buffered = spec.buffered;
    options.create_bytes = spec.size_bytes;
    options.no_links = spec.no_links;
    options.depth = spec.depth;
    return FileMedium::Open(options, worker_);
  }
  MemoryOptions options;
  options.size = spec.size_bytes;
  options.loans_max = shared_.credits * reactors_.size();
  return MemoryMedium::Create(options);
}

absl::StatusOr<std::unique_ptr<Target>> ConfiguredDisks::Open(const DiskSpec& spec, uint16_t home) {
  if (spec.kind == DiskSpec::Kind::kNull) {
    return std::make_unique<NullDisk>(
        spec.size_bytes, spec.block_size != 0 ? spec.block_size : kSector, spec.read_only);
  }
  auto medium = OpenMedium(spec);
  if (!medium.ok()) return Named(spec, medium.status());
  auto bufq = MakeBufq(spec);
  if (!bufq.ok()) return bufq.status();
  DiskOptions options;
  options.name = spec.name;
  options.depth = spec.depth;
  options.gather = spec.gather;
  options.io_timeout_ns =
      uint64_t{spec.io_timeout_s != 0 ? spec.io_timeout_s : shared_.io_timeout_s} * kSecond;
  options.bios_max = size_t{shared_.credits} * reactors_.size();
  options.logical_block = spec.block_size;
  options.read_only = spec.read_only;
  auto disk =
      std::make_unique<Disk>(options, *std::move(medium), *std::move(bufq), reactors_.at(home));
  if (disk->limits().size == 0) {
    return Named(spec, absl::InvalidArgumentError("is smaller than one block: nothing to serve"));
  }
  if (running_.load()) {
    RunOn(home, [&] { disk->medium().Attach(home); });
  }
  const std::lock_guard lock(mutex_);
  disks_.push_back(disk.get());
  return disk;
}

absl::StatusOr<std::unique_ptr<Bufq>> ConfiguredDisks::MakeBufq(const DiskSpec& spec) const {
  BufqOptions ordering;
  ordering.flow_weights = shared_.flow_weights;
  if (spec.cylinder_bytes != 0) {
    ordering.sort = BufqSort::kCylinder;
    ordering.cylinder_bytes = spec.cylinder_bytes;
  }
  const bool chosen = !spec.bufq.empty();
  auto bufq = Bufq::Alloc(chosen ? absl::string_view(spec.bufq) : kBufqDiskDefault,
                          chosen ? uint8_t{kBufqExact} : uint8_t{0}, ordering);
  if (!bufq.ok()) return Named(spec, bufq.status());
  return bufq;
}

void ConfiguredDisks::Attach() {
  running_.store(true);
  for (Disk* disk : disks()) {
    RunOn(disk->home(), [disk] { disk->medium().Attach(disk->home()); });
  }
}

void ConfiguredDisks::Stop() {
  std::latch idle(1);
  running_.store(false);
  worker_.Run([&idle] { idle.count_down(); });
  idle.wait();
  for (;;) {
    Ending last;
    {
      const std::lock_guard lock(mutex_);
      if (endings_.empty()) return;
      last = std::move(endings_.front());
      endings_.pop_front();
    }
    last.target.reset();  // before the legs
  }
}

void ConfiguredDisks::RunOn(uint16_t home, absl::FunctionRef<void()> work) {
  if (!running_.load()) return work();
  SLUICE_CHECK(Reactor::Current() == nullptr);
  std::latch done(1);
  reactors_.at(home).Post([&] {
    work();
    done.count_down();
  });
  done.wait();
}

void ConfiguredDisks::Move(Target& target, uint16_t home) {
  Disk& disk = *AsDisk(&target);
  RunOn(disk.home(), [&] { disk.Leave(); });
  RunOn(home, [&] { disk.Arrive(reactors_.at(home)); });
}

void ConfiguredDisks::Retire(std::unique_ptr<Target> target,
                             std::vector<std::shared_ptr<Target>> legs) {
  const uint16_t home = target->home();
  Disk* const disk = AsDisk(target.get());
  std::list<Ending>::iterator ending;
  {
    const std::lock_guard lock(mutex_);
    std::erase(disks_, disk);
    ending = endings_.insert(endings_.end(), Ending{std::move(target), std::move(legs)});
  }
  if (!running_.load()) return End(ending);
  const auto end = [this, ending] { worker_.Run([this, ending] { End(ending); }); };
  if (home == kNoHome) return end();
  reactors_.at(home).Post([disk, end] {
    if (disk != nullptr) disk->Leave();
    end();
  });
}

void ConfiguredDisks::End(std::list<Ending>::iterator ending) {
  Ending last;
  {
    const std::lock_guard lock(mutex_);
    last = std::move(*ending);
    endings_.erase(ending);
  }
  last.target.reset();  // before the legs
}

Disk* ConfiguredDisks::AsDisk(const Target* target) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(disks_.begin(), disks_.end(), target);
  return found == disks_.end() ? nullptr : *found;
}

// A disk is taken off the list, with the mutex held, before it ends.
void ConfiguredDisks::ForEach(absl::FunctionRef<void(const Disk&)> look) const {
  const std::lock_guard lock(mutex_);
  for (const Disk* disk : disks_) look(*disk);
}

std::vector<Disk*> ConfiguredDisks::disks() const {
  const std::lock_guard lock(mutex_);
  return disks_;
}

}  // namespace sluice
