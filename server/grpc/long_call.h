// SPDX-License-Identifier: Apache-2.0
// A call that a client makes once and that answers as things happen: a server stream, or a unary
// call that waits. It ends when it has said all, when the client goes, or when the door drains.
#pragma once

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <utility>

#include "server/grpc/call.h"

namespace sluice::rpc {

// Responder: ::grpc::ServerAsyncWriter<R> or ::grpc::ServerAsyncResponseWriter<R>.
template <typename Service, typename Request, typename Responder>
class LongCall : public Call,
                 public DrainListener,
                 public std::enable_shared_from_this<LongCall<Service, Request, Responder>> {
 public:
  using Ask = void (Service::*)(::grpc::ServerContext*, Request*, Responder*,
                                ::grpc::CompletionQueue*, ::grpc::ServerCompletionQueue*, void*);

  LongCall(Host& host, Quota& quota, ::grpc::ServerCompletionQueue& cq, Service& service, Ask ask)
      : Call(host, quota),
        cq_(cq),
        service_(service),
        ask_(ask),
        responder_(&context_),
        asked_(*this, &LongCall::Asked),
        written_(*this, &LongCall::Written),
        gone_(*this, &LongCall::Gone),
        ended_(*this, &LongCall::Ended),
        nudged_(*this, &LongCall::Nudged),
        due_(*this, &LongCall::Due) {}

  // Makes it wait for a client.
  void Start() {
    context_.AsyncNotifyWhenDone(gone_.Give());
    (service_.*ask_)(&context_, &request_, &responder_, &cq_, &cq_, asked_.Give());
  }

 protected:
  using Lock = std::unique_lock<std::mutex>;

  // Another one like this, not started.
  virtual std::shared_ptr<LongCall> Another() = 0;
  // A client has come. Without the lock, before anything else.
  virtual void Begin() {}
  // Says what there is to say, by one Write() or Finish(), or nothing. Under the lock.
  virtual void Advance() = 0;
  // The time of WakeAt() has come. Without the lock.
  virtual void OnTime() { Turn(); }
  // It is over; who could call Nudge() is told so. Without the lock.
  virtual void End() {}

  // Advances if nothing is being written. Any thread, without the lock.
  void Turn() {
    const Lock lock(mutex_);
    if (writing_ || finishing_) return;
    if (went_) return Over(::grpc::Status::CANCELLED);
    Advance();
  }
  // Turns soon, on the queue's thread. Any thread, under whatever lock; not after End().
  void Nudge() {
    if (!nudging_.exchange(true)) {
      nudge_.Set(&cq_, gpr_now(GPR_CLOCK_MONOTONIC), nudged_.Give());
    }
  }
  // OnTime() once, then; before that another one may not be asked for. Under the lock.
  void WakeAt(std::chrono::steady_clock::time_point when) {
    const std::chrono::nanoseconds left = when - std::chrono::steady_clock::now();
    alarm_.Set(
        &cq_,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left.count(), GPR_TIMESPAN)),
        due_.Give());
  }

  // Under the lock; each at most once in Advance().
  template <typename Message>
  void Write(const Message& message) {
    writing_ = true;
    responder_.Write(message, written_.Lend());
  }
  // Ends it: a stream without, a unary call with its answer.
  void Over(const ::grpc::Status& status) {
    if constexpr (requires { responder_.FinishWithError(status, nullptr); }) {
      Close([&] { responder_.FinishWithError(status, ended_.Lend()); });
    } else {
      Close([&] { responder_.Finish(status, ended_.Lend()); });
    }
  }
  template <typename Message>
  void Answer(const Message& message) {
    Close([&] { responder_.Finish(message, ::grpc::Status::OK, ended_.Lend()); });
  }
  bool draining() const { return host_.draining.load(); }

  Request request_;
  ::grpc::ServerContext context_;
  ::grpc::ServerCompletionQueue& cq_;
  Service& service_;
  const Ask ask_;
  std::mutex mutex_;

 private:
  void Asked(bool ok) {
    if (!ok) return gone_.Drop();  // of a call that never was nobody tells the end
    Another()->Start();
    if (const ::grpc::Status refused = Enter(context_); !refused.ok()) {
      const Lock lock(mutex_);
      return Over(refused);
    }
    Begin();
    host_.at_drain.Add(this->shared_from_this());
    Turn();
  }
  void OnDrain() override { Turn(); }
  void Written(bool ok) {
    {
      const Lock lock(mutex_);
      writing_ = false;
      went_ |= !ok;
    }
    Turn();
  }
  void Gone(bool) {
    {
      const Lock lock(mutex_);
      went_ = true;
    }
    Turn();
  }
  void Nudged(bool) {
    nudging_.store(false);
    Turn();
  }
  void Due(bool ok) {
    if (ok) OnTime();
  }
  template <typename F>
  void Close(F finish) {
    finishing_ = true;
    alarm_.Cancel();
    finish();
  }
  void Ended(bool) { End(); }

  Responder responder_;
  Step<LongCall> asked_, written_, gone_, ended_, nudged_, due_;
  ::grpc::Alarm nudge_;
  ::grpc::Alarm alarm_;
  std::atomic<bool> nudging_{false};

  // Guarded by mutex_.
  bool writing_ = false;
  bool finishing_ = false;
  bool went_ = false;  // the client
};

}  // namespace sluice::rpc
