// SPDX-License-Identifier: Apache-2.0
// Zeroes to lend, to write and to find. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/units.h"

namespace sluice {

inline constexpr uint32_t kZeroesBytes = 256 * kKiB;

// kZeroesBytes of zeroes, aligned to a page, for as long as the process lives. They are mapped
// read-only (an iovec's base is not const: a borrower who writes is stopped) and cost no memory:
// the kernel maps its one zero page.
char* Zeroes() noexcept;

// REQUIRES: size > 0.
inline bool AllZero(const char* data, size_t size) noexcept {
  return data[0] == 0 && std::memcmp(data, data + 1, size - 1) == 0;
}

}  // namespace sluice
