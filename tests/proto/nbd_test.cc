// SPDX-License-Identifier: Apache-2.0
#include "proto/nbd.h"

#include <cerrno>
#include <set>

#include <gtest/gtest.h>

namespace sluice::nbd {
namespace {

TEST(NbdError, MapsEveryErrnoTheProtocolNames) {
  EXPECT_EQ(NbdError(0), Error::kNone);
  EXPECT_EQ(NbdError(EPERM), Error::kPerm);
  EXPECT_EQ(NbdError(EROFS), Error::kPerm);
  EXPECT_EQ(NbdError(ENOSPC), Error::kNoSpc);
  EXPECT_EQ(NbdError(EDQUOT), Error::kNoSpc);
  EXPECT_EQ(NbdError(EFBIG), Error::kNoSpc);
  EXPECT_EQ(NbdError(EOVERFLOW), Error::kOverflow);
  EXPECT_EQ(NbdError(ENOTSUP), Error::kNotSup);
  EXPECT_EQ(NbdError(EOPNOTSUPP), Error::kNotSup);
  EXPECT_EQ(NbdError(ESHUTDOWN), Error::kShutdown);
  EXPECT_EQ(NbdError(ENOMEM), Error::kNoMem);
}

TEST(NbdError, AMediumsErrorIsEioAndAnythingElseEinval) {
  for (const int media : {EIO, ENODEV, ENXIO, EREMOTEIO, EBADMSG, EILSEQ, ETIMEDOUT, ENOMEDIUM}) {
    EXPECT_EQ(NbdError(media), Error::kIo) << media;
  }
  for (const int other : {EINVAL, EFAULT, ENOENT, ENAMETOOLONG, 100000, -1}) {
    EXPECT_EQ(NbdError(other), Error::kInval) << other;
  }
}

TEST(NbdError, NothingElseGoesOnTheWire) {  // R20
  const std::set<Error> wire = {Error::kPerm,  Error::kIo,       Error::kNoMem,  Error::kInval,
                                Error::kNoSpc, Error::kOverflow, Error::kNotSup, Error::kShutdown};
  std::set<Error> seen;
  for (int e = 1; e < 200; ++e) seen.insert(NbdError(e));
  EXPECT_EQ(seen, wire);
}

TEST(NbdError, RoundTripsThroughTheClientsTable) {
  for (const Error error : {Error::kNone, Error::kPerm, Error::kIo, Error::kNoMem, Error::kInval,
                            Error::kNoSpc, Error::kOverflow, Error::kNotSup, Error::kShutdown}) {
    EXPECT_EQ(NbdError(SystemErrno(error)), error);
  }
  EXPECT_EQ(SystemErrno(static_cast<Error>(4711)), EINVAL);
}

TEST(CommandName, NamesEveryCommandAndNothingElse) {
  EXPECT_EQ(CommandName(Command::kRead), "READ");
  EXPECT_EQ(CommandName(Command::kBlockStatus), "BLOCK_STATUS");
  EXPECT_EQ(CommandName(static_cast<Command>(8)), "UNKNOWN");
}

TEST(ErrorName, NamesEveryErrorAndNothingElse) {
  EXPECT_EQ(ErrorName(Error::kNone), "OK");
  EXPECT_EQ(ErrorName(Error::kIo), "EIO");
  EXPECT_EQ(ErrorName(Error::kShutdown), "ESHUTDOWN");
  EXPECT_EQ(ErrorName(static_cast<Error>(4711)), "UNKNOWN");
}

}  // namespace
}  // namespace sluice::nbd
