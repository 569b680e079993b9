// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/check.h"

#include <cerrno>

#include "core/units.h"
#include "server/nbd/handshake.h"

namespace sluice::nbd {
namespace {

// FUA is legal on every command of an export that offers it.
uint16_t LegalFlags(Command command, uint16_t offered) {
  uint16_t legal = kFlagFua;
  switch (command) {
    case Command::kRead:
      if ((offered & kSendDf) != 0) legal |= kFlagDf;
      break;
    case Command::kWriteZeroes:
      if ((offered & kSendWriteZeroes) != 0) legal |= kFlagNoHole;
      if ((offered & kSendFastZero) != 0) legal |= kFlagFastZero;
      break;
    case Command::kBlockStatus:
      legal |= kFlagReqOne;
      break;
    default:
      break;
  }
  return legal;
}

bool IsKnown(Command command) { return command <= Command::kBlockStatus; }

// The command as such: would it be legal on some range?
Refusal CheckCommand(const Request& request, const Terms& terms) {
  if (!IsKnown(request.command)) return {EINVAL, "unknown command"};
  const bool read_only = (terms.flags & kReadOnly) != 0;
  if (read_only && IsWriteType(request.command)) return {EPERM, "the export is read-only"};
  if ((request.flags & ~LegalFlags(request.command, terms.flags)) != 0) {
    return {EINVAL, "a flag is unknown, not offered or not for this command"};
  }
  switch (request.command) {
    case Command::kTrim:
      if ((terms.flags & kSendTrim) == 0) return {EINVAL, "the export does not offer TRIM"};
      break;
    case Command::kWriteZeroes:
      if ((terms.flags & kSendWriteZeroes) == 0) {
        return {EINVAL, "the export does not offer WRITE_ZEROES"};
      }
      break;
    case Command::kBlockStatus:
      if (!terms.allocation_context) return {EINVAL, "no meta context was selected"};
      if (request.length == 0) return {EINVAL, "BLOCK_STATUS of no bytes"};
      break;
    case Command::kRead:
      if (request.length > kAcceptedPayloadBytes) {
        return {EOVERFLOW, "READ is longer than the payload limit"};
      }
      break;
    default:
      break;
  }
  return {};
}

}  // namespace

Refusal Check(const Request& request, const Terms& terms) {
  const Refusal refusal = CheckCommand(request, terms);
  if (refusal.error != 0) return refusal;
  if (request.command == Command::kFlush) {
    const bool plain = request.offset == 0 && request.length == 0;
    return plain ? Refusal{} : Refusal{EINVAL, "FLUSH takes neither offset nor length"};
  }
  if (!InRange(request.offset, request.length, terms.size_bytes)) {
    const bool grows =
        request.command == Command::kWrite || request.command == Command::kWriteZeroes;
    return {grows ? ENOSPC : EINVAL, "the range passes the end of the export"};
  }
  if (request.length == 0) return {};
  if (!IsAligned(request.offset | request.length, terms.block_bytes)) {
    return {EINVAL, "the range is not aligned to the minimum block size"};
  }
  return {};
}

}  // namespace sluice::nbd
