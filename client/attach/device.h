// SPDX-License-Identifier: Apache-2.0
// The kernel's nbd devices as sysfs shows them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice::attach {

inline constexpr char kSysBlock[] = "/sys/block";

// "nbd3" and "/dev/nbd3" are 3. InvalidArgument for anything else, partitions included.
absl::StatusOr<uint32_t> ParseDevice(absl::string_view text);
std::string DevicePath(uint32_t index);

struct DeviceView {
  uint32_t index = 0;
  bool attached = false;
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 0;
  bool read_only = false;
  std::string identifier = {};  // empty: the kernel has none, or is older than 5.14
};

// What cannot be read is left at its default.
DeviceView LookAtDevice(uint32_t index, const std::string& sys_block = kSysBlock);
// All that are attached, by index.
std::vector<DeviceView> AttachedDevices(const std::string& sys_block = kSysBlock);

}  // namespace sluice::attach
