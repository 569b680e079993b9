// SPDX-License-Identifier: Apache-2.0
// What the gRPC door says went wrong, in the SDK's words.
#pragma once

#include <grpcpp/support/status.h>

#include "client/sdk/transport.h"
#include "sluice/status.h"
#include "sluice/v1/error.pb.h"

SLUICE_SDK_BEGIN
namespace internal {

struct Failure {
  v1::ErrorReason reason =
      v1::ERROR_REASON_UNSPECIFIED;  // the server gave none: gRPC's own failure
  Status status;
};

// Of a call that has failed.
Failure FailureOf(const ::grpc::Status& status);

// Of a result with a reason.
Status StatusOf(v1::ErrorReason reason, const Op& op);

}  // namespace internal
SLUICE_SDK_END
