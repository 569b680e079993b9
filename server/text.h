// SPDX-License-Identifier: Apache-2.0
// Text that came from outside, on its way into a message or a name.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace sluice {

// In double quotes; everything but printable ASCII escaped (as in C) and cut to 200 characters:
// safe in one log line.
std::string Quote(absl::string_view bytes);

// True for well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates) without control
// characters (below 0x20, 0x7f).
bool IsPlainText(absl::string_view bytes);

}  // namespace sluice
