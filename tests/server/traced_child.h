// SPDX-License-Identifier: Apache-2.0
// Runs a piece of code in a child process, a system call at a time (ptrace(2)): kills it at one,
// lets one fail, or notes them all. So what a crash or an error leaves behind is tried at every
// step of the code as it is.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace sluice {

struct TracedChild {
  enum class At : uint8_t { kNothing, kKill, kFail };  // what is done at a system call

  int exit_status = -1;         // of the child; -1: it was killed
  bool reached = false;         // there were so many calls
  std::vector<long> completed;  // numbers of the calls that came to their end, in order

  // The child runs prepare(), then, traced, body(), whose result is its exit status. At call
  // `step` (from 0) of body() it is killed, once that call was entered, or the call fails with EIO
  // without being carried out.
  static TracedChild Run(const std::function<void()>& prepare, const std::function<int()>& body,
                         At at = At::kNothing, int step = -1);
};

}  // namespace sluice
