// SPDX-License-Identifier: Apache-2.0
// Sizes as people write them.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

// A decimal number of bytes, with an optional suffix: K, M, G, T, P, E or KiB ... EiB (powers of
// 1024), "B" alone too. No sign, no fraction, no blank. InvalidArgument for anything else and for
// 2^63 bytes or more.
absl::StatusOr<uint64_t> ParseSize(absl::string_view text);

}  // namespace sluice
