// SPDX-License-Identifier: Apache-2.0
// Assertions for our own mistakes. They stay on in release builds (promise A7): a broken invariant
// stops the process before it harms data, and a supervised restart is safe because nothing
// unwritten was ever answered. Input from outside is validated where it enters and must never reach
// one.
#pragma once

namespace sluice {

// Prints `FILE:LINE: check failed: TEXT` to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* text) noexcept;

}  // namespace sluice

#define SLUICE_CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::sluice::CheckFailed(__FILE__, __LINE__, #condition))
