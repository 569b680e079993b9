// SPDX-License-Identifier: Apache-2.0
// From a target's extents to what BLOCK_STATUS may say. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/target.h"
#include "proto/nbd_transmission.h"

namespace sluice::nbd {

// How extents are reported: from `offset` on, at most `length` bytes and `count_max` descriptors.
struct StatusRange {
  uint64_t offset = 0;         // a multiple of block_bytes
  uint32_t length = 0;         // > 0, a multiple of block_bytes
  uint32_t block_bytes = 512;  // power of two
  uint32_t count_max = 1;      // >= 1
};

// Clips `extents`, which start at range.offset, to the range; rounds every border to the block,
// where a block that is partly data is data; joins neighbours that are alike; replaces `status`.
// Empty only if the extents are shorter than a block.
void ToStatus(std::span<const Extent> extents, const StatusRange& range,
              std::vector<StatusExtent>& status);

}  // namespace sluice::nbd
