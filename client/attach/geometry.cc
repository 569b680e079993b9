// SPDX-License-Identifier: Apache-2.0
#include "client/attach/geometry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "proto/nbd.h"

namespace sluice::attach {
namespace {

constexpr uint32_t kUsualConnections = 4;

// The driver takes block sizes of up to a page.
constexpr uint32_t kMaxBlockBytes = 4096;

struct Ability {
  uint16_t flag;
  const char* name;
};

// Requests the driver sends once it was told that the server understands them.
constexpr Ability kPromised[] = {
    {nbd::kSendFlush, "flush"}, {nbd::kSendFua, "FUA"}, {nbd::kSendTrim, "trim"}};

}  // namespace

absl::StatusOr<Device> PlanDevice(const Geometry& geometry, const Wishes& wishes, uint32_t cpus) {
  Device device;
  device.block_bytes =
      wishes.block_bytes.value_or(std::max<uint32_t>(geometry.min_block_bytes, kSector));
  if (!IsPowerOfTwo(device.block_bytes) || device.block_bytes < kSector ||
      device.block_bytes > kMaxBlockBytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the kernel takes blocks of 512, 1024, 2048 or 4096 bytes, not of ", device.block_bytes));
  }
  if (device.block_bytes < geometry.min_block_bytes) {
    return absl::FailedPreconditionError(absl::StrCat("the server takes blocks of at least ",
                                                      geometry.min_block_bytes,
                                                      " bytes: leave --block-size away"));
  }
  const bool several = (geometry.flags & nbd::kCanMultiConn) != 0;
  device.connections =
      wishes.connections.value_or(several ? std::clamp(cpus, 1U, kUsualConnections) : 1);
  if (device.connections < 1 || device.connections > kMaxConnections) {
    return absl::FailedPreconditionError(
        absl::StrCat("a device has 1 to ", kMaxConnections, " connections"));
  }
  if (device.connections > 1 && !several) {
    return absl::FailedPreconditionError(
        "the server does not allow several connections to this export (CAN_MULTI_CONN): leave "
        "--connections away");
  }
  device.flags = geometry.flags;
  if (wishes.read_only) device.flags |= nbd::kReadOnly;
  device.size_bytes = UsableBytes(geometry, device);
  if (device.size_bytes == 0) {
    return absl::FailedPreconditionError("the export is empty: let it grow first");
  }
  return device;
}

uint64_t UsableBytes(const Geometry& geometry, const Device& device) {
  return AlignDown(geometry.size_bytes, device.block_bytes);
}

absl::Status CheckSuccessor(const Device& device, const Geometry& now) {
  if (UsableBytes(now, device) < device.size_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the export has shrunk to ", now.size_bytes, " bytes, the device has ", device.size_bytes));
  }
  if (now.min_block_bytes > device.block_bytes) {
    return absl::FailedPreconditionError(
        absl::StrCat("the export now takes blocks of at least ", now.min_block_bytes,
                     " bytes, the device's are of ", device.block_bytes));
  }
  if ((now.flags & nbd::kReadOnly) != 0 && (device.flags & nbd::kReadOnly) == 0) {
    return absl::FailedPreconditionError("the export has become read-only, the device is not");
  }
  if (device.connections > 1 && (now.flags & nbd::kCanMultiConn) == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the export no longer allows several connections, the device has ", device.connections));
  }
  for (const Ability& ability : kPromised) {
    if ((device.flags & ability.flag) != 0 && (now.flags & ability.flag) == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("the export no longer knows ", ability.name, ", which the device sends"));
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::attach
