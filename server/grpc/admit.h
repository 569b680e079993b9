// SPDX-License-Identifier: Apache-2.0
// Who may control the server: the one place where a call of a control service is let in. Any
// thread.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "absl/strings/str_cat.h"
#include "server/grpc/call.h"
#include "server/grpc/status.h"

namespace sluice::rpc {

// Callers who are administrators (server/access.h); others are told so.
inline ::grpc::Status Admit(const Host& host, const ::grpc::ServerContext& context) {
  const Caller caller = host.callers.Find(context.peer());
  if (caller.identity.admin) return ::grpc::Status::OK;
  return StatusOf(absl::PermissionDeniedError(absl::StrCat(
      caller.text, " may not control this server: grpc.tls.admin of its config names who may")));
}

}  // namespace sluice::rpc
