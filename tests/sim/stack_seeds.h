// SPDX-License-Identifier: Apache-2.0
// Seeds under which the stack test once failed; they are run for ever.
#pragma once

#include <cstdint>

namespace sluice::sim {

inline constexpr uint64_t kStackSeeds[] = {289468347673};

}  // namespace sluice::sim
