// SPDX-License-Identifier: Apache-2.0
#include "server/disk_factory.h"

#include <latch>
#include <string>

#include "absl/strings/str_cat.h"
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
  disks_.push_back(disk.get());
  return disk;
}

void ConfiguredDisks::Attach() {
  std::latch attached(static_cast<ptrdiff_t>(disks_.size()));
  for (Disk* disk : disks_) {
    reactors_.at(disk->home()).Post([disk, &attached] {
      disk->medium().Attach(disk->home());
      attached.count_down();
    });
  }
  attached.wait();
}

}  // namespace sluice
