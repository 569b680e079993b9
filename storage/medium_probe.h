// SPDX-License-Identifier: Apache-2.0
// What an open file or block device is and can do, found out without changing a byte of it. Control
// path.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "storage/medium.h"

namespace sluice {

// A block device's queue as sysfs tells it (Documentation/ABI/stable/sysfs-block); what is missing
// there keeps its default.
struct QueueFacts {
  bool found = false;
  uint32_t nr_requests = 64;
  uint32_t max_sectors_kb = 1024;
  uint32_t max_segments = 1024;
  uint32_t physical_block_size = 512;
  bool rotational = false;
  uint64_t discard_max_bytes = 0;
  uint64_t write_zeroes_max_bytes = 0;
  uint64_t write_zeroes_unmap_max_hw_bytes = 0;
};

// The queue of block device `device`, or of the disk that it is a partition of. `sysfs` is "/sys".
QueueFacts ReadQueue(const std::string& sysfs, dev_t device);

// How an operation without data is carried out.
enum class Effect : uint8_t {
  kNone,       // -EOPNOTSUPP
  kPunch,      // fallocate(PUNCH_HOLE | KEEP_SIZE): deallocates, reads back zero
  kZeroRange,  // fallocate(ZERO_RANGE | KEEP_SIZE): zeroes, stays allocated
  kDiscard,    // ioctl(BLKDISCARD): deallocates, reads back anything
};

struct FileFacts {
  bool device = false;  // a block device; else a regular file
  bool direct = false;  // O_DIRECT
  bool tmpfs = false;   // its bytes are in memory
  MediumLimits limits;
  Effect trim = Effect::kNone;
  Effect zero = Effect::kNone;          // kZero that may leave a hole
  Effect zero_no_hole = Effect::kNone;  // kNoHole
  Effect fast_zero = Effect::kNone;     // kFastZero: quicker than writing, or -EOPNOTSUPP
  Effect fast_zero_no_hole = Effect::kNone;
  uint32_t tail_bytes = 0;   // at the end, less than a block: not part of the disk
  std::string why_buffered;  // if O_DIRECT was wanted and is not possible: the reason
};

struct ProbeOptions {
  bool read_only = false;
  bool buffered = false;  // the page cache is wanted
  uint32_t depth = 0;     // 0: min(nr_requests, 128)
  std::string sysfs = "/sys";
};

// Turns O_DIRECT on in `fd`, unless the page cache is wanted or O_DIRECT is impossible. A file
// whose size is no multiple of the O_DIRECT block is read and written through the page cache, in
// sectors: a padded write of its tail would make it grow. InvalidArgument for what is neither a
// file nor a block device, or is empty.
absl::StatusOr<FileFacts> ProbeFile(int fd, const ProbeOptions& options);

}  // namespace sluice
