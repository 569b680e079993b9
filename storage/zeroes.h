// SPDX-License-Identifier: Apache-2.0
// Zeroes to lend and to write. Any thread.
#pragma once

#include <cstdint>

#include "core/units.h"

namespace sluice {

inline constexpr uint32_t kZeroesBytes = 256 * kKiB;

// kZeroesBytes of zeroes, aligned to a page, for as long as the process lives. They are mapped
// read-only (an iovec's base is not const: a borrower who writes is stopped) and cost no memory:
// the kernel maps its one zero page.
char* Zeroes() noexcept;

}  // namespace sluice
