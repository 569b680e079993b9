// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_probe.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/pool.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr uint32_t kTransferMax = 1024 * 1024;
constexpr uint32_t kDepthMax = 128;  // beyond it waiting costs more than it brings; it can be set
constexpr unsigned kLoopMajor = 7;
constexpr uint32_t kXfsMagic = 0x58465342;
// statx(2) gained it in Linux 6.1; Debian 12's C library does not name it.
constexpr unsigned kStatxDioAlign = 0x2000;

absl::Status Errno(absl::string_view what) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, ": ", strerror(errno)));
}

template <typename T>
void ReadNumber(const std::string& path, T& value) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char text[32];
  const ssize_t size = read(fd, text, sizeof(text));
  close(fd);
  uint64_t number = 0;
  if (size <= 0 || !absl::SimpleAtoi(absl::string_view(text, static_cast<size_t>(size)), &number)) {
    return;
  }
  value = static_cast<T>(std::min<uint64_t>(number, std::numeric_limits<T>::max()));
}

// Alignment of O_DIRECT: of memory and of ranges, bytes. `block` 0: O_DIRECT is not possible.
struct DirectAlign {
  uint32_t memory = 0;
  uint32_t block = 0;
};

// Kernels before 6.1 and some file systems do not say: the smallest aligned read that works.
DirectAlign TryDirectReads(int fd) {
  constexpr uint32_t kLargest = 4096;
  void* memory =
      mmap(nullptr, kLargest, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return {kLargest, kLargest};
  DirectAlign align;
  for (uint32_t block = kSector; block <= kLargest && align.block == 0; block *= 8) {
    if (pread(fd, memory, block, 0) >= 0) align = {block, block};
  }
  munmap(memory, kLargest);
  return align;
}

// Leaves O_DIRECT on in `fd` only if it is possible.
DirectAlign TurnDirectOn(int fd, const struct statx& facts) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return {};
  DirectAlign align{facts.stx_dio_mem_align, facts.stx_dio_offset_align};
  if ((facts.stx_mask & kStatxDioAlign) == 0) align = TryDirectReads(fd);
  if (align.block == 0) fcntl(fd, F_SETFL, flags);
  return align;
}

// Decides how `fd` is read and written: facts.direct, block and mem_align.
void ChooseAccess(int fd, const struct statx& facts, bool want_buffered, uint32_t device_block,
                  FileFacts& out) {
  MediumLimits& limits = out.limits;
  const int flags = fcntl(fd, F_GETFL);
  DirectAlign align;
  if (!want_buffered) {
    align = TurnDirectOn(fd, facts);
    if (align.block == 0) {
      out.why_buffered = "its file system has no O_DIRECT";
    } else if (align.block > 64 * kKiB || align.memory > 4096) {
      out.why_buffered = absl::StrCat("O_DIRECT would need blocks of ", align.block,
                                      " bytes and memory aligned to ", align.memory);
    } else if (limits.size % align.block != 0) {
      out.why_buffered = absl::StrCat("its size of ", limits.size,
                                      " bytes is no multiple of O_DIRECT's ", align.block);
    }
  }
  out.direct = !want_buffered && out.why_buffered.empty();
  if (out.direct) {
    limits.block = std::max({align.block, device_block, kSector});
    limits.mem_align = std::max<uint32_t>(align.memory, 1);
    return;
  }
  fcntl(fd, F_SETFL, flags & ~O_DIRECT);
  limits.block = std::max(device_block, kSector);
  limits.mem_align = 1;
}

void FillFromQueue(const QueueFacts& queue, uint32_t depth, FileFacts& out) {
  MediumLimits& limits = out.limits;
  limits.rotational = queue.rotational;
  limits.depth = depth != 0 ? depth : std::clamp(queue.nr_requests, 1U, kDepthMax);
  limits.transfer_max = kTransferMax;
  limits.segments_max = IOV_MAX;
  if (!out.direct) return;
  const uint64_t sectors = std::min<uint64_t>(queue.max_sectors_kb * kKiB, kTransferMax);
  limits.transfer_max =
      static_cast<uint32_t>(std::max<uint64_t>(AlignDown(sectors, limits.block), limits.block));
  // More than the device takes is no error: the kernel splits. A bio's own list must always do.
  limits.segments_max = std::clamp<uint32_t>(queue.max_segments, kListSegments, IOV_MAX);
}

// A device is taken at its word; nothing can be tried on it without changing it.
void ProbeDeviceEffects(const QueueFacts& queue, dev_t device, FileFacts& out) {
  // Punching is write-zeroes with leave to deallocate. Only where that is known to deallocate is it
  // a discard too: a loop device punches its file.
  const bool loop = major(device) == kLoopMajor && queue.discard_max_bytes > 0;
  const bool punches = loop || queue.write_zeroes_unmap_max_hw_bytes > 0;
  if (queue.discard_max_bytes > 0) out.trim = Effect::kDiscard;
  if (punches) out.trim = Effect::kPunch;
  // ZERO_RANGE always works: the kernel writes zeroes if the device has nothing quicker. Punching
  // fails instead, so it is the fast one (block/fops.c, blkdev_fallocate).
  out.zero = punches ? Effect::kPunch : Effect::kZeroRange;
  out.zero_no_hole = Effect::kZeroRange;
  if (punches || queue.write_zeroes_max_bytes > 0) out.fast_zero = Effect::kPunch;
}

bool IsHonestFileSystem(uint32_t magic) {
  return magic == EXT4_SUPER_MAGIC || magic == kXfsMagic || magic == BTRFS_SUPER_MAGIC;
}

void ProbeFileEffects(int fd, uint32_t magic, FileFacts& out) {
  const auto size = static_cast<off_t>(out.limits.size);
  // Beyond the end there is nothing to change.
  const bool punches = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, size, 4096) == 0;
  // ZERO_RANGE there would allocate, so it is not tried: where it may work the first answer tells.
  const bool zeroes = magic != TMPFS_MAGIC;
  if (punches) out.trim = Effect::kPunch;
  if (zeroes) out.zero_no_hole = Effect::kZeroRange;
  out.zero = punches ? Effect::kPunch : out.zero_no_hole;
  // Quick for certain only where it changes the map alone; elsewhere it may write.
  if (punches && (IsHonestFileSystem(magic) || magic == TMPFS_MAGIC)) {
    out.fast_zero = Effect::kPunch;
  }
  if (IsHonestFileSystem(magic)) out.fast_zero_no_hole = Effect::kZeroRange;
}

absl::StatusOr<uint64_t> SizeOf(int fd, const struct statx& facts) {
  uint64_t size = facts.stx_size;
  if (S_ISBLK(facts.stx_mode)) {
    if (ioctl(fd, BLKGETSIZE64, &size) != 0) return Errno("BLKGETSIZE64");
  } else if (!S_ISREG(facts.stx_mode)) {
    return absl::InvalidArgumentError("is neither a regular file nor a block device");
  }
  if (size == 0) return absl::InvalidArgumentError("is empty: a disk needs a size");
  return size;
}

}  // namespace

QueueFacts ReadQueue(const std::string& sysfs, dev_t device) {
  const std::string self = absl::StrCat(sysfs, "/dev/block/", major(device), ":", minor(device));
  QueueFacts facts;
  for (const char* queue : {"/queue/", "/../queue/"}) {
    const std::string folder = self + queue;
    if (access(folder.c_str(), F_OK) != 0) continue;
    facts.found = true;
    ReadNumber(folder + "nr_requests", facts.nr_requests);
    ReadNumber(folder + "max_sectors_kb", facts.max_sectors_kb);
    ReadNumber(folder + "max_segments", facts.max_segments);
    ReadNumber(folder + "physical_block_size", facts.physical_block_size);
    ReadNumber(folder + "rotational", facts.rotational);
    ReadNumber(folder + "discard_max_bytes", facts.discard_max_bytes);
    ReadNumber(folder + "write_zeroes_max_bytes", facts.write_zeroes_max_bytes);
    ReadNumber(folder + "write_zeroes_unmap_max_hw_bytes", facts.write_zeroes_unmap_max_hw_bytes);
    break;
  }
  return facts;
}

absl::StatusOr<FileFacts> ProbeFile(int fd, const ProbeOptions& options) {
  struct statx facts {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | kStatxDioAlign, &facts) != 0) {
    return Errno("statx");
  }
  const absl::StatusOr<uint64_t> size = SizeOf(fd, facts);
  if (!size.ok()) return size.status();
  FileFacts out;
  MediumLimits& limits = out.limits;
  out.device = S_ISBLK(facts.stx_mode);
  limits.size = *size;
  limits.read_only = options.read_only;

  int device_block = 0;
  if (out.device && ioctl(fd, BLKSSZGET, &device_block) != 0) return Errno("BLKSSZGET");
  ChooseAccess(fd, facts, options.buffered, static_cast<uint32_t>(device_block), out);
  out.tail_bytes = static_cast<uint32_t>(limits.size % limits.block);
  limits.size -= out.tail_bytes;
  if (limits.size == 0) return absl::InvalidArgumentError("is smaller than one block");

  const dev_t device = out.device ? makedev(facts.stx_rdev_major, facts.stx_rdev_minor)
                                  : makedev(facts.stx_dev_major, facts.stx_dev_minor);
  const QueueFacts queue = ReadQueue(options.sysfs, device);
  FillFromQueue(queue, options.depth, out);
  unsigned physical = queue.physical_block_size;
  if (out.device) {
    ioctl(fd, BLKPBSZGET, &physical);
  } else if (IsPowerOfTwo(facts.stx_blksize) && facts.stx_blksize <= 64 * kKiB) {
    physical = std::max(physical, facts.stx_blksize);
  }
  limits.physical_block = std::max<uint32_t>(physical, limits.block);

  struct statfs fs {};
  const uint32_t magic = fstatfs(fd, &fs) == 0 ? static_cast<uint32_t>(fs.f_type) : 0;
  out.tmpfs = !out.device && magic == TMPFS_MAGIC;
  limits.volatile_cache = true;
  limits.page_cache = !out.direct;
  limits.native_fua = out.device || IsHonestFileSystem(magic);
  if (!options.read_only) {
    if (out.device) {
      ProbeDeviceEffects(queue, device, out);
    } else {
      ProbeFileEffects(fd, magic, out);
    }
  }
  limits.can_trim = out.trim != Effect::kNone;
  limits.can_zero = out.zero != Effect::kNone;
  limits.can_fast_zero = out.fast_zero != Effect::kNone;
  return out;
}

}  // namespace sluice
