// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/call.h"

#include "server/grpc/status.h"

namespace sluice::rpc {

::grpc::Status Call::Enter(const ::grpc::ServerContext& context, uint64_t amount) {
  absl::StatusOr<Quota::Ticket> place =
      quota_.Enter(host_.callers.Find(context.peer()).identity, amount);
  if (!place.ok()) return StatusOf(place.status());
  place_ = *std::move(place);
  return ::grpc::Status::OK;
}

}  // namespace sluice::rpc
