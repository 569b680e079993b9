// SPDX-License-Identifier: Apache-2.0
// Counts what the data path must not do. Linking it replaces the global operator new.
#pragma once

#include <cstdint>

namespace sluice {

// Calls of any operator new so far, by any thread.
uint64_t Allocations() noexcept;

}  // namespace sluice
