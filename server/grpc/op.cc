// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/op.h"

#include <cerrno>

namespace sluice::rpc {

Reason ReasonOf(int error) noexcept {
  switch (error) {
    case 0:
      return Reason::kNone;
    case EINVAL:
      return Reason::kBadRequest;
    case EPERM:
    case EROFS:
      return Reason::kReadOnly;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Reason::kNoSpace;
    case ENOMEM:
      return Reason::kNoMemory;
    case EOPNOTSUPP:
      return Reason::kUnsupported;
    case ETIMEDOUT:
      return Reason::kDiskTimeout;
    case ESHUTDOWN:
      return Reason::kDraining;
    case ECANCELED:
      return Reason::kCancelled;
    default:
      return Reason::kIoError;
  }
}

const char* TextOf(Reason reason) noexcept {
  switch (reason) {
    case Reason::kNone:
      return "done";
    case Reason::kBadRequest:
      return "the request is malformed, misaligned or not for this export";
    case Reason::kOutOfBounds:
      return "the range passes the end of the export";
    case Reason::kNotFound:
      return "there is no such export";
    case Reason::kAlreadyExists:
      return "the name is taken";
    case Reason::kReadOnly:
      return "the export or the session is read-only";
    case Reason::kMountConflict:
      return "somebody else holds the export";
    case Reason::kStaleEpoch:
      return "the session was fenced: another client holds the export, or it was revoked";
    case Reason::kSessionLost:
      return "there is no such session: its lease ended or the server was started anew";
    case Reason::kConflict:
      return "it was changed since it was read, or is being changed";
    case Reason::kNoSpace:
      return "no space is left on the drive";
    case Reason::kOverloaded:
      return "more is outstanding than the limits allow";
    case Reason::kNoMemory:
      return "the server has no memory for it";
    case Reason::kIoError:
      return "the drive failed";
    case Reason::kChecksumMismatch:
      return "the data do not have the checksum that was sent";
    case Reason::kDiskTimeout:
      return "the drive does not answer";
    case Reason::kDraining:
      return "the server is shutting down";
    case Reason::kUnsupported:
      return "the export cannot do this";
    case Reason::kOutOfWindow:
      return "the op id is below the window: its result is forgotten";
    case Reason::kStaleAttach:
      return "a newer attach of the session closed this stream";
    case Reason::kCancelled:
      return "cancelled, or its time was up, while it waited";
    case Reason::kDenied:
      return "not allowed";
    case Reason::kOvertaken:
      return "a later op on the same bytes has begun";
    case Reason::kFailedPrecondition:
      return "something stands in the way";
  }
  return "unknown";
}

}  // namespace sluice::rpc
