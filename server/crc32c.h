// SPDX-License-Identifier: Apache-2.0
// crc32c (Castagnoli, RFC 3720 B.4) by ISA-L. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice {

// Of `size` bytes behind those that `before` is the sum of; 0: there are none before.
uint32_t Crc32c(const void* data, size_t size, uint32_t before = 0) noexcept;

}  // namespace sluice
