// SPDX-License-Identifier: Apache-2.0
// How commands say things.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "sluice/status.h"

namespace sluice::command {

// A JSON string with its quotes (RFC 8259, 7); UTF-8 goes out as it is.
std::string JsonText(absl::string_view text);
// "512 B", "1.5 MiB".
std::string SizeText(uint64_t bytes);
// Puts "sluice: WHAT: message" on stderr; 1.
int Failed(absl::string_view what, const Status& status);

}  // namespace sluice::command
