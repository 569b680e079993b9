// SPDX-License-Identifier: Apache-2.0
// One unary call, on the volume's I/O thread. Deletes itself when gRPC is done with it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "client/sdk/grpc_loop.h"

SLUICE_SDK_BEGIN
namespace internal {

// What can be given up, whatever its types.
class PendingCall {
 public:
  // Its outcome is not told.
  virtual void Abandon() = 0;

 protected:
  ~PendingCall() = default;
};

template <typename Response>
class UnaryCall final : public PendingCall, private GrpcLoop::Guest, private GrpcLoop::Tag {
 public:
  using Done = std::function<void(const ::grpc::Status&, const Response&)>;

  // `prepare` makes the call with a context and a queue, as the stubs' Async methods do.
  template <typename Prepare>
  static PendingCall* Start(GrpcLoop& loop, uint64_t timeout_ms, Prepare prepare, Done done) {
    auto* const call = new UnaryCall(loop, std::move(done));
    call->context_.set_deadline(std::chrono::system_clock::now() +
                                std::chrono::milliseconds(timeout_ms));
    call->reader_ = prepare(&call->context_, &loop.queue());
    call->reader_->Finish(&call->response_, &call->status_, static_cast<Tag*>(call));
    return call;
  }

  void Abandon() override {
    done_ = nullptr;
    context_.TryCancel();
  }

 private:
  UnaryCall(GrpcLoop& loop, Done done) : Guest(loop), done_(std::move(done)) {}

  void Proceed(bool) override {
    const std::unique_ptr<UnaryCall> self(this);
    if (done_) done_(status_, response_);
  }

  Done done_;
  ::grpc::ClientContext context_;
  Response response_;
  ::grpc::Status status_;
  std::unique_ptr<::grpc::ClientAsyncResponseReader<Response>> reader_;
};

}  // namespace internal
SLUICE_SDK_END
