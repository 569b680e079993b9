// SPDX-License-Identifier: Apache-2.0
// Reasons as gRPC statuses, with a BlockError in their details: the one table of what each means
// and what a client may do (proto/sluice/v1/error.proto). Any thread.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "server/grpc/op.h"
#include "server/grpc/registry.h"
#include "sluice/v1/error.pb.h"

namespace sluice::rpc {

::grpc::Status StatusOf(Reason reason, int error = 0);
// Of a refused OpenVolume.
::grpc::Status StatusOf(const OpenAnswer& answer, const std::string& export_name);
// Of what the control plane refused; `detail` may name what is concerned.
::grpc::Status StatusOf(const absl::Status& status, v1::BlockError detail = {});
// The reason and advice alone, of what failed later.
void Describe(const absl::Status& status, v1::BlockError& error);
// Of an op on a range.
::grpc::Status StatusOf(const OpResult& result, uint64_t offset, uint64_t length);

}  // namespace sluice::rpc
