// SPDX-License-Identifier: Apache-2.0
#include "server/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace sluice {

uint32_t Crc32c(const void* data, size_t size, uint32_t before) noexcept {
  // ISA-L takes an int's worth at a time, and leaves both inversions to its caller.
  constexpr size_t kPiece = size_t{1} << 30;
  const auto* at = static_cast<const unsigned char*>(data);
  uint32_t sum = ~before;
  while (size > 0) {
    const size_t piece = std::min(size, kPiece);
    sum = crc32_iscsi(const_cast<unsigned char*>(at), static_cast<int>(piece), sum);
    at += piece;
    size -= piece;
  }
  return ~sum;
}

}  // namespace sluice
