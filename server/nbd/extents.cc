// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/extents.h"

#include <algorithm>

#include "core/units.h"

namespace sluice::nbd {
namespace {

uint32_t StatusOf(const Extent& extent) {
  return (extent.hole ? kStateHole : 0) | (extent.zero ? kStateZero : 0);
}

// False: there is no room for one more.
bool Append(std::vector<StatusExtent>& status, uint64_t length, uint32_t bits, uint32_t count_max) {
  if (length == 0) return true;
  if (!status.empty() && status.back().status == bits) {
    status.back().length += static_cast<uint32_t>(length);
    return true;
  }
  if (status.size() == count_max) return false;
  status.push_back({static_cast<uint32_t>(length), bits});
  return true;
}

}  // namespace

void ToStatus(std::span<const Extent> extents, const StatusRange& range,
              std::vector<StatusExtent>& status) {
  status.clear();
  uint64_t at = 0;          // end of what is looked at, relative to the range
  uint64_t mixed = 0;       // bytes before `at` of a block that is not yet complete
  uint32_t mixed_bits = 0;  // what all of them have in common
  for (const Extent& extent : extents) {
    uint64_t left = std::min(extent.length, range.length - at);
    at += left;
    const uint32_t bits = StatusOf(extent);
    if (mixed > 0) {
      const uint64_t part = std::min(left, range.block_bytes - mixed);
      mixed += part;
      mixed_bits &= bits;
      left -= part;
      if (mixed < range.block_bytes) continue;
      if (!Append(status, mixed, mixed_bits, range.count_max)) return;
    }
    const uint64_t whole = AlignDown(left, range.block_bytes);
    if (!Append(status, whole, bits, range.count_max)) return;
    mixed = left - whole;
    mixed_bits = bits;
  }
}

}  // namespace sluice::nbd
