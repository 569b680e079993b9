// SPDX-License-Identifier: Apache-2.0
// The wall clock, for what is told to humans and programs. Any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace sluice {

// Nanoseconds since 1970 UTC.
inline int64_t UnixNowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace sluice
