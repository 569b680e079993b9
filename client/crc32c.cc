// SPDX-License-Identifier: Apache-2.0
#include "client/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstring>

namespace sluice::client {
namespace {

// Small enough to be summed out of the first cache that it was copied through.
constexpr size_t kPiece = 16 * 1024;

}  // namespace

uint32_t Crc32c(const void* data, size_t size, uint32_t before) {
  // ISA-L takes an int's worth at a time, and leaves both inversions to its caller.
  constexpr size_t kMost = size_t{1} << 30;
  const auto* at = static_cast<const unsigned char*>(data);
  uint32_t sum = ~before;
  while (size > 0) {
    const size_t piece = std::min(size, kMost);
    sum = crc32_iscsi(const_cast<unsigned char*>(at), static_cast<int>(piece), sum);
    at += piece;
    size -= piece;
  }
  return ~sum;
}

uint32_t CopyWithCrc32c(void* to, const void* from, size_t size, uint32_t before) {
  auto* const into = static_cast<unsigned char*>(to);
  const auto* const out_of = static_cast<const unsigned char*>(from);
  uint32_t sum = before;
  for (size_t at = 0; at < size; at += kPiece) {
    const size_t piece = std::min(size - at, kPiece);
    std::memcpy(into + at, out_of + at, piece);
    sum = Crc32c(into + at, piece, sum);
  }
  return sum;
}

}  // namespace sluice::client
