// SPDX-License-Identifier: Apache-2.0
// Data for tests of volumes: each byte is a function of its offset and a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "client/bench/pattern.h"

namespace sluice {

using Bytes = std::vector<std::byte>;

inline ByteSpan Raw(std::span<std::byte> bytes) {
  return {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()};
}

inline Bytes Data(uint64_t offset, size_t length, uint64_t seed = 1) {
  Bytes bytes(length);
  bench::FillPattern(seed, offset, Raw(bytes));
  return bytes;
}

}  // namespace sluice
