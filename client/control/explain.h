// SPDX-License-Identifier: Apache-2.0
// What a server's refusal means: its text, and the cure that belongs to the reason in its details
// (proto/sluice/v1/error.proto). Any thread.
#pragma once

#include <grpcpp/support/status.h>

#include "sluice/status.h"

namespace sluice::control {

// No server answered: the connection failed or broke.
bool IsTransport(const grpc::Status& status);

// REQUIRES: !status.ok(), !IsTransport(status).
Status ExplainAnswer(const grpc::Status& status);

}  // namespace sluice::control
