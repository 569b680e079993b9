// SPDX-License-Identifier: Apache-2.0
// The rules a request must keep before it may reach storage. Pure; any thread.
#pragma once

#include <cstdint>

#include "proto/nbd_transmission.h"

namespace sluice::nbd {

// What was agreed with the client, and what the export is.
struct Terms {
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 512;  // power of two: offsets and lengths are multiples of it
  uint16_t flags = 0;          // transmission flags, SEND_DF only with structured replies
  bool allocation_context = false;
};

// Why a request is not carried out. `error` is an errno, 0 if it is to be carried out.
struct Refusal {
  int error = 0;
  const char* text = "";
};

// Checks everything but the payload limit of WRITE (which costs the connection) and DISC. A request
// of length 0 that passes is a success without effect, FLUSH excepted.
Refusal Check(const Request& request, const Terms& terms);

// True if the command changes what the export holds.
constexpr bool IsWriteType(Command command) {
  return command == Command::kWrite || command == Command::kTrim ||
         command == Command::kWriteZeroes;
}

}  // namespace sluice::nbd
