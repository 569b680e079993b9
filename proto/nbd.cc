// SPDX-License-Identifier: Apache-2.0
#include "proto/nbd.h"

#include <cerrno>

namespace sluice::nbd {

std::string_view CommandName(Command command) {
  switch (command) {
    case Command::kRead:
      return "READ";
    case Command::kWrite:
      return "WRITE";
    case Command::kDisc:
      return "DISC";
    case Command::kFlush:
      return "FLUSH";
    case Command::kTrim:
      return "TRIM";
    case Command::kCache:
      return "CACHE";
    case Command::kWriteZeroes:
      return "WRITE_ZEROES";
    case Command::kBlockStatus:
      return "BLOCK_STATUS";
  }
  return "UNKNOWN";
}

std::string_view ErrorName(Error error) {
  switch (error) {
    case Error::kNone:
      return "OK";
    case Error::kPerm:
      return "EPERM";
    case Error::kIo:
      return "EIO";
    case Error::kNoMem:
      return "ENOMEM";
    case Error::kInval:
      return "EINVAL";
    case Error::kNoSpc:
      return "ENOSPC";
    case Error::kOverflow:
      return "EOVERFLOW";
    case Error::kNotSup:
      return "ENOTSUP";
    case Error::kShutdown:
      return "ESHUTDOWN";
  }
  return "UNKNOWN";
}

Error NbdError(int system_errno) {
  switch (system_errno) {
    case 0:
      return Error::kNone;
    case EPERM:
    case EROFS:
    case EACCES:
      return Error::kPerm;
    case ENOMEM:
      return Error::kNoMem;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Error::kNoSpc;
    case EOVERFLOW:
      return Error::kOverflow;
    case EOPNOTSUPP:
      return Error::kNotSup;
    case ESHUTDOWN:
      return Error::kShutdown;
    // What a drive, its bus or its driver says: the request was right, the medium was not.
    case EIO:
    case ENODEV:
    case ENXIO:
    case EREMOTEIO:
    case EBADMSG:
    case EILSEQ:
    case ENODATA:
    case ENOLINK:
    case ETIMEDOUT:
    case ETIME:
    case ECANCELED:
    case EAGAIN:
    case EINTR:
    case EBADF:
    case ENOMEDIUM:
      return Error::kIo;
    default:
      return Error::kInval;
  }
}

int SystemErrno(Error error) {
  switch (error) {
    case Error::kNone:
      return 0;
    case Error::kPerm:
      return EPERM;
    case Error::kIo:
      return EIO;
    case Error::kNoMem:
      return ENOMEM;
    case Error::kNoSpc:
      return ENOSPC;
    case Error::kOverflow:
      return EOVERFLOW;
    case Error::kNotSup:
      return EOPNOTSUPP;
    case Error::kShutdown:
      return ESHUTDOWN;
    case Error::kInval:
      break;
  }
  return EINVAL;
}

}  // namespace sluice::nbd
