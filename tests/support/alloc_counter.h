// SPDX-License-Identifier: Apache-2.0
// Counts the allocations of the whole process, so that a test can show that a path makes none. A
// binary that wants it links `alloc_counter`: the C library's allocator is wrapped there, so
// operator new, C libraries and strdup() count alike; under a sanitizer its own hook counts.
#pragma once

#include <cstdint>

namespace sluice {

// Calls of malloc and its kin since the process began, by all threads.
uint64_t AllocationsSoFar() noexcept;

}  // namespace sluice
