// SPDX-License-Identifier: Apache-2.0
// Sizes and the arithmetic of ranges. Every function is total: nothing wraps, nothing traps.
#pragma once

#include <cstdint>

namespace sluice {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;
inline constexpr uint32_t kSector = 512;  // the smallest unit a disk is addressed in, bytes

inline constexpr uint64_t kMicrosecond = 1000;  // in nanoseconds
inline constexpr uint64_t kMillisecond = 1000 * kMicrosecond;
inline constexpr uint64_t kSecond = 1000 * kMillisecond;

constexpr bool IsPowerOfTwo(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

// `align` is a power of two.
constexpr uint64_t AlignDown(uint64_t n, uint64_t align) { return n & ~(align - 1); }
constexpr uint64_t AlignUp(uint64_t n, uint64_t align) { return AlignDown(n + align - 1, align); }
constexpr bool IsAligned(uint64_t n, uint64_t align) { return (n & (align - 1)) == 0; }

// True if [offset, offset + length) lies inside [0, size). Does not wrap.
constexpr bool InRange(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

}  // namespace sluice
