// SPDX-License-Identifier: Apache-2.0
#include "sluice/status.h"

#include <cerrno>
#include <iterator>

SLUICE_SDK_BEGIN
namespace {

struct Row {
  const char* name;
  int system_errno;
};
// By the numbers of StatusCode.
constexpr Row kRows[] = {
    {"OK", 0},
    {"INVALID_ARGUMENT", EINVAL},
    {"OUT_OF_RANGE", EOVERFLOW},
    {"NOT_FOUND", ENOENT},
    {"READ_ONLY", EROFS},
    {"UNSUPPORTED", EOPNOTSUPP},
    {"NO_SPACE", ENOSPC},
    {"IO_ERROR", EIO},
    {"UNAVAILABLE", ENOTCONN},
    {"UNKNOWN_OUTCOME", ETIMEDOUT},
    {"FAILED_PRECONDITION", EBUSY},
    {"PROTOCOL_ERROR", EPROTO},
    {"CANCELLED", ECANCELED},
    {"FENCED", ESTALE},
};
static_assert(std::size(kRows) == static_cast<size_t>(StatusCode::kFenced) + 1);

const Row& RowOf(StatusCode code) { return kRows[static_cast<size_t>(code)]; }

}  // namespace

const char* StatusCodeName(StatusCode code) { return RowOf(code).name; }

const std::string& Status::message() const {
  static const std::string* const kNothing = new std::string();
  return ok() ? *kNothing : state_->message;
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return std::string(StatusCodeName(code())) + ": " + message();
}

int Status::ToErrno() const { return RowOf(code()).system_errno; }

SLUICE_SDK_END
