// SPDX-License-Identifier: Apache-2.0
// What a killed process held is free a moment after its death: io_uring gives files and sockets
// back only when the requests that were under way on them have ended. A server started again at
// once waits for that, and then nothing of its predecessor is left to reach its disks either.
#pragma once

#include <unistd.h>

namespace sluice {

// Calls `attempt` until it returns true, every 10 ms for up to two seconds. What it left in errno
// and in its captures is of the last call. Control path; blocks.
template <typename Attempt>
void WaitForPredecessor(const Attempt& attempt) {
  for (int left = 200; !attempt() && left > 0; --left) usleep(10'000);
}

}  // namespace sluice
