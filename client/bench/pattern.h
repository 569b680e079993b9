// SPDX-License-Identifier: Apache-2.0
// Data as a function of its place and a seed, so that any read checks itself.
#pragma once

#include <cstdint>

#include "proto/bytes.h"

namespace sluice::bench {

// Fills `out` with what belongs at `offset` (any, in bytes).
void FillPattern(uint64_t seed, uint64_t offset, ByteSpan out);
// True if `bytes` are what belongs at `offset`.
bool MatchesPattern(uint64_t seed, uint64_t offset, ConstByteSpan bytes);
bool IsZero(ConstByteSpan bytes);

}  // namespace sluice::bench
