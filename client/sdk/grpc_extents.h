// SPDX-License-Identifier: Apache-2.0
// One GetBlockStatus call for an op, on the volume's I/O thread. Deletes itself when gRPC is done
// with it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <functional>
#include <memory>

#include "client/sdk/grpc_loop.h"
#include "client/sdk/transport.h"
#include "sluice/v1/block.grpc.pb.h"

SLUICE_SDK_BEGIN
namespace internal {

class GrpcExtents final : private GrpcLoop::Guest, private GrpcLoop::Tag {
 public:
  // The op tells how much of its range was covered.
  using Done = std::function<void(GrpcExtents&, Op&, const ::grpc::Status&)>;

  static GrpcExtents* Start(GrpcLoop& loop, v1::BlockService::Stub& stub,
                            const v1::GetBlockStatusRequest& request, Op& op, Done done);
  // Its end is not told; the op is its owner's again.
  Op& Abandon();

 private:
  enum class Step : uint8_t { kStarting, kReading, kFinishing };

  GrpcExtents(GrpcLoop& loop, Op& op, Done done) : Guest(loop), op_(op), done_(std::move(done)) {}

  void Proceed(bool ok) override;
  // False: they do not go on where the last ones ended.
  bool Take(const v1::GetBlockStatusResponse& message);

  Op& op_;
  Done done_;  // null: abandoned
  Step step_ = Step::kStarting;
  bool malformed_ = false;
  ::grpc::ClientContext context_;
  v1::GetBlockStatusResponse message_;
  ::grpc::Status status_;
  std::unique_ptr<::grpc::ClientAsyncReader<v1::GetBlockStatusResponse>> reader_;
};

}  // namespace internal
SLUICE_SDK_END
