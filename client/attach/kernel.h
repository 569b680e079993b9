// SPDX-License-Identifier: Apache-2.0
// The kernel's nbd driver as a keeper needs it: a seam. NetlinkKernel is the real one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "client/attach/geometry.h"

namespace sluice::attach {

// Beyond what a device is: how patient it is and whose.
struct Patience {
  // A request unanswered for so long has its connection closed and goes out again on another one.
  uint32_t request_timeout_s = 0;
  // Requests wait so long for a connection when there is none; then they fail with EIO.
  uint32_t dead_connection_timeout_s = 0;
};

// A change of a device that exists. Empty: only asks whether it is there.
struct Change {
  std::span<const int> sockets = {};  // each takes the place of a dead one; too many are ignored
  std::optional<uint64_t> size_bytes = {};  // the new size
  std::optional<Patience> patience = {};
};

// Kernels show the identifier in a page of sysfs.
inline constexpr size_t kMaxIdentifierBytes = 1024;

// One thread. Errors name what cures them: PermissionDenied without CAP_SYS_ADMIN, AlreadyExists
// for a device that is taken, NotFound for one that is not attached.
class Kernel {
 public:
  virtual ~Kernel() = default;

  // Makes device `index`, or one that is free, of connections in transmission phase. `identifier`
  // is kept by kernels since 5.14, which then let only those who know it change the device. The
  // device's index.
  virtual absl::StatusOr<uint32_t> Connect(std::optional<uint32_t> index, const Device& device,
                                           const Patience& patience, const std::string& identifier,
                                           std::span<const int> sockets) = 0;
  virtual absl::Status Reconfigure(uint32_t index, const std::string& identifier,
                                   const Change& change) = 0;
  // Sends DISC, fails what is outstanding with EIO and frees the device once nobody has it open.
  virtual absl::Status Disconnect(uint32_t index) = 0;

  // Mounted, or otherwise held exclusively, as a whole or one of its partitions.
  virtual bool InUse(uint32_t index) = 0;
  // How many connections of device `index` the driver has given up since the last call.
  virtual int TakeDeadLinks(uint32_t index) = 0;
};

}  // namespace sluice::attach
