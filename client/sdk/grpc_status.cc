// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_status.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <string>

SLUICE_SDK_BEGIN
namespace internal {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// The contents of the first field `number` of a message, which is a string, bytes or a message.
// google.rpc.Status and Any are taken apart so, since generated code of them would clash with that
// of a program which has its own.
bool FindField(const std::string& message, int number, std::string& contents) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                      static_cast<int>(message.size()));
  for (uint32_t tag = in.ReadTag(); tag != 0; tag = in.ReadTag()) {
    const bool bytes =
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (bytes && WireFormatLite::GetTagFieldNumber(tag) == number) {
      uint32_t length = 0;
      return in.ReadVarint32(&length) && in.ReadString(&contents, static_cast<int>(length));
    }
    if (!WireFormatLite::SkipField(&in, tag)) return false;
  }
  return false;
}

v1::ErrorReason ReasonOf(const ::grpc::Status& status) {
  constexpr int kDetails = 3;  // of google.rpc.Status
  constexpr int kValue = 2;    // of google.protobuf.Any
  std::string any;
  std::string packed;
  v1::BlockError error;
  if (!FindField(status.error_details(), kDetails, any) || !FindField(any, kValue, packed) ||
      !error.ParseFromString(packed)) {
    return v1::ERROR_REASON_UNSPECIFIED;
  }
  return error.reason();
}

StatusCode CodeOf(v1::ErrorReason reason) {
  switch (reason) {
    case v1::ERROR_REASON_BAD_REQUEST:
      return StatusCode::kInvalidArgument;
    case v1::ERROR_REASON_OUT_OF_BOUNDS:
      return StatusCode::kOutOfRange;
    case v1::ERROR_REASON_NOT_FOUND:
      return StatusCode::kNotFound;
    case v1::ERROR_REASON_READ_ONLY:
      return StatusCode::kReadOnly;
    case v1::ERROR_REASON_MOUNT_CONFLICT:
    case v1::ERROR_REASON_DENIED:
      return StatusCode::kFailedPrecondition;
    case v1::ERROR_REASON_STALE_EPOCH:
      return StatusCode::kFenced;
    case v1::ERROR_REASON_NO_SPACE:
      return StatusCode::kNoSpace;
    case v1::ERROR_REASON_SESSION_LOST:
    case v1::ERROR_REASON_OVERLOADED:
    case v1::ERROR_REASON_NO_MEMORY:
    case v1::ERROR_REASON_DRAINING:
    case v1::ERROR_REASON_STALE_ATTACH:
    case v1::ERROR_REASON_OVERTAKEN:
      return StatusCode::kUnavailable;
    case v1::ERROR_REASON_UNSUPPORTED:
      return StatusCode::kUnsupported;
    case v1::ERROR_REASON_OUT_OF_WINDOW:
      return StatusCode::kUnknownOutcome;
    case v1::ERROR_REASON_CANCELLED:
      return StatusCode::kCancelled;
    default:
      return StatusCode::kIoError;
  }
}

const char* TextOf(v1::ErrorReason reason) {
  switch (reason) {
    case v1::ERROR_REASON_NO_SPACE:
      return "no space is left on the server's disk";
    case v1::ERROR_REASON_OVERLOADED:
    case v1::ERROR_REASON_NO_MEMORY:
      return "the server is short of memory: lower queue_depth, or try later";
    case v1::ERROR_REASON_DISK_TIMEOUT:
      return "the server's disk does not answer";
    case v1::ERROR_REASON_CHECKSUM_MISMATCH:
      return "the data were changed on the way, again and again";
    case v1::ERROR_REASON_OUT_OF_WINDOW:
      return "the server has forgotten how it ended";
    case v1::ERROR_REASON_IO_ERROR:
      return "the server's disk failed; its log says how";
    case v1::ERROR_REASON_UNSUPPORTED:
      return "the server cannot do that";
    case v1::ERROR_REASON_READ_ONLY:
      return "the volume is read-only";
    default:
      return "the server refuses it";
  }
}

StatusCode CodeOf(::grpc::StatusCode code) {
  switch (code) {
    case ::grpc::StatusCode::INVALID_ARGUMENT:
      return StatusCode::kInvalidArgument;
    case ::grpc::StatusCode::UNAUTHENTICATED:
    case ::grpc::StatusCode::PERMISSION_DENIED:
      return StatusCode::kFailedPrecondition;
    case ::grpc::StatusCode::UNIMPLEMENTED:
      return StatusCode::kUnsupported;
    default:
      return StatusCode::kUnavailable;
  }
}

}  // namespace

Failure FailureOf(const ::grpc::Status& status) {
  const v1::ErrorReason reason = ReasonOf(status);
  const StatusCode code =
      reason == v1::ERROR_REASON_UNSPECIFIED ? CodeOf(status.error_code()) : CodeOf(reason);
  std::string text = status.error_message();
  if (status.error_code() == ::grpc::StatusCode::DEADLINE_EXCEEDED) {
    text = "the server does not answer in time";
  } else if (text.empty()) {
    text = "the server ended the connection";
  }
  return {reason, Status(code, std::move(text))};
}

Status StatusOf(v1::ErrorReason reason, const Op& op) {
  StatusCode code = CodeOf(reason);
  if (reason == v1::ERROR_REASON_DISK_TIMEOUT && op.changes()) code = StatusCode::kUnknownOutcome;
  return Status(code, std::string(TextOf(reason)) + " (" + v1::ErrorReason_Name(reason) + ")");
}

}  // namespace internal
SLUICE_SDK_END
