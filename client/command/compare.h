// SPDX-License-Identifier: Apache-2.0
// Whether two endpoints hold the same. Where both servers make checksums, these are compared, and
// only chunks whose sums differ are read.
#pragma once

#include <cstdint>
#include <optional>

#include "client/command/commands.h"
#include "client/command/endpoint.h"
#include "sluice/buffer.h"
#include "sluice/status.h"

namespace sluice::command {

// Where the two differ first; none if they do not. Both are `size` bytes long. Of the options:
// jobs, quiet and json.
Result<std::optional<uint64_t>> Compare(Endpoint& a, Endpoint& b, uint64_t size,
                                        const Options& options, BufferPool& buffers);

}  // namespace sluice::command
