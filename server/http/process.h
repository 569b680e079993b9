// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace sluice::http {

// What the system says of this process, under the names that every exporter gives it.
struct ProcessSnapshot {
  double cpu_seconds = 0;
  uint64_t resident_bytes = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;
};
// Blocks a little; any thread.
ProcessSnapshot TakeProcessSnapshot();

}  // namespace sluice::http
