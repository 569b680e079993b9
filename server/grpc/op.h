// SPDX-License-Identifier: Apache-2.0
// Ops of the gRPC door as plain structs, and what can become of them. The wire's shape of them is
// proto/sluice/v1/block.proto, where the rules stand; nothing here knows gRPC or protobuf.
#pragma once

#include <cstdint>
#include <string>

#include "core/bio.h"

namespace sluice::rpc {

// As sluice.v1.ErrorReason, by number.
enum class Reason : uint8_t {
  kNone = 0,
  kBadRequest = 1,
  kOutOfBounds = 2,
  kNotFound = 3,
  kAlreadyExists = 4,
  kReadOnly = 5,
  kMountConflict = 6,
  kStaleEpoch = 7,
  kSessionLost = 8,
  kConflict = 9,
  kNoSpace = 10,
  kOverloaded = 11,
  kNoMemory = 12,
  kIoError = 13,
  kChecksumMismatch = 14,
  kDiskTimeout = 15,
  kDraining = 16,
  kUnsupported = 17,
  kOutOfWindow = 18,
  kStaleAttach = 19,
  kCancelled = 20,
  kDenied = 21,
  kOvertaken = 22,
  kFailedPrecondition = 23,
};

// What storage reported, as the client is told it.
Reason ReasonOf(int error) noexcept;
// For humans; one line.
const char* TextOf(Reason reason) noexcept;
// Its name in error.proto, without the prefix: "OUT_OF_BOUNDS"; "OTHER" for a number that is none.
std::string NameOf(Reason reason);

struct OpRequest {
  uint64_t op_id = 0;
  Op op = Op::kRead;  // kRead, kWrite, kZero, kTrim or kFlush
  uint8_t flags = 0;  // kFua, kNoHole, kFastZero
  uint64_t offset = 0;
  uint64_t length = 0;
  const char* data = nullptr;      // kWrite: `length` bytes
  uint32_t timeout_ms = 0;         // from its arrival at the session; 0: none
  bool omit_zeroes = false;        // kRead: data that are all zeroes need not be sent
  bool unnumbered = false;         // a read of the door's own: outside the window
  Reason refused = Reason::kNone;  // what arrival found wrong with it: it is only to be answered
  // The session's own.
  uint64_t due_ns = 0;    // when its time is up; 0: never
  bool answered = false;  // before it began: it never does
};

constexpr uint64_t DataBytes(const OpRequest& op) { return HasData(op.op) ? op.length : 0; }

struct OpResult {
  uint64_t op_id = 0;
  uint64_t data_bytes = 0;  // DataBytes() of the op
  Reason reason = Reason::kNone;
  int error = 0;  // errno, 0: none
  uint32_t service_us = 0;
  bool all_zero = false;  // of a kRead with omit_zeroes, and its data are not told
};

}  // namespace sluice::rpc
