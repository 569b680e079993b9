// SPDX-License-Identifier: Apache-2.0
#include "client/control/explain.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/sdk/grpc_status.h"

namespace sluice::control {
namespace {

// What the server's text leaves unsaid.
const char* CureOf(v1::ErrorReason reason) {
  switch (reason) {
    case v1::ERROR_REASON_ALREADY_EXISTS:
      return "choose another name, or delete that one first";
    case v1::ERROR_REASON_CONFLICT:
      return "it changed meanwhile or is being changed: look at it again, then repeat";
    case v1::ERROR_REASON_OVERLOADED:
    case v1::ERROR_REASON_NO_MEMORY:
      return "the server has too much to do: try again in a while";
    case v1::ERROR_REASON_IO_ERROR:
      return "the server's log says more";
    case v1::ERROR_REASON_DISK_TIMEOUT:
      return "a drive does not answer: the server's log says which";
    case v1::ERROR_REASON_DRAINING:
      return "the server is shutting down: try again once it is back";
    default:
      return "";
  }
}

std::string WithCure(const std::string& text, const char* cure) {
  return *cure == '\0' ? text : absl::StrCat(text, ": ", cure);
}

}  // namespace

bool IsTransport(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty();
}

Status ExplainAnswer(const grpc::Status& status) {
  const internal::Failure failure = internal::FailureOf(status);
  const std::string& text = failure.status.message();
  if (failure.reason != v1::ERROR_REASON_UNSPECIFIED) {
    return Status(failure.status.code(), WithCure(text, CureOf(failure.reason)));
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNIMPLEMENTED:
      return Status(StatusCode::kUnsupported,
                    "the server does not know this call: it is older than this sluice; update it");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Status(StatusCode::kUnknownOutcome,
                    "the server did not answer in time: it may yet do it. Look at its log, and at "
                    "what it says now, before you repeat");
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return Status(StatusCode::kFailedPrecondition,
                    WithCure(text, "this user or certificate has no right to it"));
    default:
      return Status(failure.status.code(), absl::StrCat("the server says: ", text));
  }
}

}  // namespace sluice::control
