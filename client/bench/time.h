// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <time.h>

#include <cstdint>

#include "core/units.h"

namespace sluice::bench {

inline uint64_t ClockNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}
inline uint64_t NowNs() { return ClockNs(CLOCK_MONOTONIC); }

}  // namespace sluice::bench
