// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/status.h"

#include <utility>

#include "google/rpc/status.pb.h"

namespace sluice::rpc {
namespace {

using ::grpc::StatusCode;

struct Meaning {
  StatusCode code;
  v1::RetryAdvice retry;
};

Meaning MeaningOf(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return {StatusCode::OK, v1::RETRY_ADVICE_UNSPECIFIED};
    case Reason::kBadRequest:
      return {StatusCode::INVALID_ARGUMENT, v1::RETRY_ADVICE_NEVER};
    case Reason::kOutOfBounds:
      return {StatusCode::OUT_OF_RANGE, v1::RETRY_ADVICE_NEVER};
    case Reason::kNotFound:
      return {StatusCode::NOT_FOUND, v1::RETRY_ADVICE_NEVER};
    case Reason::kAlreadyExists:
      return {StatusCode::ALREADY_EXISTS, v1::RETRY_ADVICE_NEVER};
    case Reason::kDenied:
    case Reason::kReadOnly:
      return {StatusCode::PERMISSION_DENIED, v1::RETRY_ADVICE_NEVER};
    case Reason::kMountConflict:
      return {StatusCode::FAILED_PRECONDITION, v1::RETRY_ADVICE_AFTER_DELAY};
    case Reason::kStaleEpoch:
    case Reason::kSessionLost:
      return {StatusCode::ABORTED, v1::RETRY_ADVICE_AFTER_REOPEN};
    case Reason::kConflict:
      return {StatusCode::ABORTED, v1::RETRY_ADVICE_NEVER};
    case Reason::kFailedPrecondition:
      return {StatusCode::FAILED_PRECONDITION, v1::RETRY_ADVICE_NEVER};
    case Reason::kNoSpace:
      return {StatusCode::RESOURCE_EXHAUSTED, v1::RETRY_ADVICE_NEVER};
    case Reason::kOverloaded:
    case Reason::kNoMemory:
      return {StatusCode::RESOURCE_EXHAUSTED, v1::RETRY_ADVICE_AFTER_DELAY};
    case Reason::kIoError:
      return {StatusCode::INTERNAL, v1::RETRY_ADVICE_NEVER};
    case Reason::kChecksumMismatch:
      return {StatusCode::ABORTED, v1::RETRY_ADVICE_SAME_SESSION};
    case Reason::kDiskTimeout:
      return {StatusCode::DEADLINE_EXCEEDED, v1::RETRY_ADVICE_NEVER};
    case Reason::kDraining:
      return {StatusCode::UNAVAILABLE, v1::RETRY_ADVICE_AFTER_DELAY};
    case Reason::kUnsupported:
      return {StatusCode::UNIMPLEMENTED, v1::RETRY_ADVICE_NEVER};
    case Reason::kOutOfWindow:
    case Reason::kStaleAttach:
    case Reason::kOvertaken:
      return {StatusCode::ABORTED, v1::RETRY_ADVICE_NEVER};
    case Reason::kCancelled:
      return {StatusCode::CANCELLED, v1::RETRY_ADVICE_SAME_SESSION};
  }
  return {StatusCode::UNKNOWN, v1::RETRY_ADVICE_NEVER};
}

::grpc::Status Pack(Reason reason, const std::string& text, v1::BlockError error) {
  const Meaning meaning = MeaningOf(reason);
  if (meaning.code == StatusCode::OK) return ::grpc::Status::OK;
  error.set_reason(static_cast<v1::ErrorReason>(reason));
  error.set_retry(meaning.retry);
  google::rpc::Status packed;
  packed.set_code(meaning.code);
  packed.set_message(text);
  packed.add_details()->PackFrom(error);
  return {meaning.code, text, packed.SerializeAsString()};
}

// What the control plane refuses with.
Reason ReasonOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return Reason::kNone;
    case absl::StatusCode::kInvalidArgument:
      return Reason::kBadRequest;
    case absl::StatusCode::kOutOfRange:
      return Reason::kOutOfBounds;
    case absl::StatusCode::kNotFound:
      return Reason::kNotFound;
    case absl::StatusCode::kAlreadyExists:
      return Reason::kAlreadyExists;
    case absl::StatusCode::kPermissionDenied:
      return Reason::kDenied;
    case absl::StatusCode::kFailedPrecondition:
      return Reason::kFailedPrecondition;
    case absl::StatusCode::kAborted:
      return Reason::kConflict;
    case absl::StatusCode::kResourceExhausted:
      return Reason::kOverloaded;
    case absl::StatusCode::kDeadlineExceeded:
      return Reason::kDiskTimeout;
    case absl::StatusCode::kUnavailable:
      return Reason::kDraining;
    case absl::StatusCode::kUnimplemented:
      return Reason::kUnsupported;
    case absl::StatusCode::kCancelled:
      return Reason::kCancelled;
    default:
      return Reason::kIoError;
  }
}

}  // namespace

std::string NameOf(Reason reason) {
  const std::string& name = v1::ErrorReason_Name(static_cast<v1::ErrorReason>(reason));
  constexpr size_t kPrefix = sizeof("ERROR_REASON_") - 1;
  return name.size() > kPrefix ? name.substr(kPrefix) : "OTHER";
}

::grpc::Status StatusOf(const absl::Status& status, v1::BlockError detail) {
  return Pack(ReasonOf(status.code()), std::string(status.message()), std::move(detail));
}

void Describe(const absl::Status& status, v1::BlockError& error) {
  const Reason reason = ReasonOf(status.code());
  error.set_reason(static_cast<v1::ErrorReason>(reason));
  error.set_retry(MeaningOf(reason).retry);
}

::grpc::Status StatusOf(Reason reason, int error) {
  v1::BlockError detail;
  detail.set_errno_code(error);
  return Pack(reason, TextOf(reason), std::move(detail));
}

::grpc::Status StatusOf(const OpenAnswer& answer, const std::string& export_name) {
  v1::BlockError detail;
  detail.set_export_name(export_name);
  detail.set_holder_client_id(answer.holder);
  detail.set_holder_lease_ms(answer.holder_lease_ms);
  detail.set_retry_after_ms(static_cast<uint32_t>(answer.holder_lease_ms));
  return Pack(answer.refused, answer.text, std::move(detail));
}

::grpc::Status StatusOf(const OpResult& result, uint64_t offset, uint64_t length) {
  v1::BlockError detail;
  detail.set_errno_code(result.error);
  detail.set_offset_bytes(offset);
  detail.set_length_bytes(length);
  return Pack(result.reason, TextOf(result.reason), std::move(detail));
}

}  // namespace sluice::rpc
