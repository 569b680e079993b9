// SPDX-License-Identifier: Apache-2.0
// crc32c (Castagnoli, RFC 3720 B.4) by ISA-L. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::client {

// Of `size` bytes behind those that `before` is the sum of; 0: there are none before.
uint32_t Crc32c(const void* data, size_t size, uint32_t before = 0);
// The same, and copies them. The sum is of what arrives at `to`, whatever becomes of `from`.
uint32_t CopyWithCrc32c(void* to, const void* from, size_t size, uint32_t before = 0);

}  // namespace sluice::client
