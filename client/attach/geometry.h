// SPDX-License-Identifier: Apache-2.0
// What an export is, and what the kernel's nbd driver is told of it. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::attach {

// An export as its server tells it (NBD_INFO_EXPORT and NBD_INFO_BLOCK_SIZE).
struct Geometry {
  uint64_t size_bytes = 0;
  uint32_t min_block_bytes = 1;
  uint16_t flags = 0;  // transmission flags: nbd::kReadOnly ...

  bool operator==(const Geometry&) const = default;
};

// What the user wants otherwise than the export suggests.
struct Wishes {
  std::optional<uint32_t> connections = {};  // else as many as there are CPUs, at most 4, or 1
  std::optional<uint32_t> block_bytes = {};  // else the export's minimum, at least 512
  bool read_only = false;
};

// A device as it is made. A device lives longer than any connection: what it was made with stays,
// but for the size, which may grow.
struct Device {
  uint64_t size_bytes = 0;   // a multiple of block_bytes
  uint32_t block_bytes = 0;  // logical and physical, as the kernel has only one
  uint32_t connections = 1;
  uint16_t flags = 0;

  bool operator==(const Device&) const = default;
};

inline constexpr uint32_t kMaxConnections = 64;

// FailedPrecondition: the export cannot be a device of that kind; says why, and what would help.
absl::StatusOr<Device> PlanDevice(const Geometry& geometry, const Wishes& wishes, uint32_t cpus);

// What of the export the device can show: whole blocks.
uint64_t UsableBytes(const Geometry& geometry, const Device& device);

// May connections to what the export is now serve the device? A larger export may. One that is
// smaller, that has become read-only, or that cannot do what the kernel was promised may not: file
// systems on the device would be damaged. FailedPrecondition says what has changed.
absl::Status CheckSuccessor(const Device& device, const Geometry& now);

}  // namespace sluice::attach
