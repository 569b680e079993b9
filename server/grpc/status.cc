// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/status.h"

#include "google/rpc/status.pb.h"
#include "sluice/v1/error.pb.h"

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
    case Reason::kReadOnly:
      return {StatusCode::PERMISSION_DENIED, v1::RETRY_ADVICE_NEVER};
    case Reason::kMountConflict:
      return {StatusCode::FAILED_PRECONDITION, v1::RETRY_ADVICE_AFTER_DELAY};
    case Reason::kStaleEpoch:
    case Reason::kSessionLost:
      return {StatusCode::ABORTED, v1::RETRY_ADVICE_AFTER_REOPEN};
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

}  // namespace

std::string NameOf(Reason reason) {
  const std::string& name = v1::ErrorReason_Name(static_cast<v1::ErrorReason>(reason));
  constexpr size_t kPrefix = sizeof("ERROR_REASON_") - 1;
  return name.size() > kPrefix ? name.substr(kPrefix) : "OTHER";
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
