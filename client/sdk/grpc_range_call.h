// SPDX-License-Identifier: Apache-2.0
// One call that asks about a range and is told piece by piece, for an op, on the volume's I/O
// thread. Deletes itself when gRPC is done with it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/async_stream.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "client/sdk/grpc_loop.h"
#include "client/sdk/grpc_status.h"
#include "client/sdk/transport.h"

SLUICE_SDK_BEGIN
namespace internal {

// Whatever its types.
class RangeCall : protected GrpcLoop::Guest, protected GrpcLoop::Tag {
 public:
  class Owner {
   public:
    // A piece has come. False: it is not believed, and the call abandoned.
    virtual bool OnPiece() = 0;
    // By itself; `failure.status` is ok if all was told. The op says how much of it was.
    virtual void OnEnd(RangeCall& call, Op& op, const Failure& failure) = 0;

   protected:
    ~Owner() = default;
  };

  // When something came last, or the call began.
  uint64_t heard_ns() const { return heard_ns_; }
  // The owner hears nothing more of it; the op is its own again.
  Op& Abandon() {
    owner_ = nullptr;
    context_.TryCancel();
    return op_;
  }

 protected:
  RangeCall(GrpcLoop& loop, Owner& owner, Op& op) : Guest(loop), owner_(&owner), op_(op) {}
  ~RangeCall() = default;

  Owner* owner_;  // null: abandoned
  Op& op_;
  uint64_t heard_ns_ = MonotonicNs();
  ::grpc::ClientContext context_;
};

// `Response` is what is streamed.
template <typename Response>
class RangeCallOf final : public RangeCall {
 public:
  // Puts what is told into the op. Not ok: the call is of no use, for that reason.
  using Take = Failure (*)(const Response&, Op&);

  // `prepare` makes the call with a context, a queue and a tag, as the stubs' Async methods do.
  template <typename Prepare>
  static RangeCall* Start(GrpcLoop& loop, Owner& owner, Op& op, Take take, Prepare prepare) {
    auto* const call = new RangeCallOf(loop, owner, op, take);
    call->reader_ = prepare(&call->context_, &loop.queue(), static_cast<Tag*>(call));
    return call;
  }

 private:
  enum class Step : uint8_t { kStarting, kReading, kFinishing };

  RangeCallOf(GrpcLoop& loop, Owner& owner, Op& op, Take take)
      : RangeCall(loop, owner, op), take_(take) {}

  void Proceed(bool ok) override {
    if (step_ == Step::kFinishing) return Finish();
    if (ok && step_ == Step::kReading) Heard();
    if (ok && owner_ != nullptr && failure_.status.ok()) {
      step_ = Step::kReading;
      reader_->Read(&response_, static_cast<Tag*>(this));
      return;
    }
    if (!failure_.status.ok()) context_.TryCancel();
    step_ = Step::kFinishing;
    reader_->Finish(&status_, static_cast<Tag*>(this));
  }

  void Heard() {
    heard_ns_ = MonotonicNs();
    if (owner_ == nullptr || !owner_->OnPiece()) return;
    failure_ = take_(response_, op_);
  }

  void Finish() {
    const std::unique_ptr<RangeCallOf> self(this);
    if (owner_ == nullptr) return;
    if (failure_.status.ok() && !status_.ok()) failure_ = FailureOf(status_);
    owner_->OnEnd(*this, op_, failure_);
  }

  const Take take_;
  Step step_ = Step::kStarting;
  Failure failure_;
  Response response_;
  ::grpc::Status status_;
  std::unique_ptr<::grpc::ClientAsyncReader<Response>> reader_;
};

}  // namespace internal
SLUICE_SDK_END
