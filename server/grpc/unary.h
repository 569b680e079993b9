// SPDX-License-Identifier: Apache-2.0
// One unary call of any service.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "server/grpc/call.h"

namespace sluice::rpc {

// Whether calls of that kind are ops of a session, which may wait for a drive as long as it hangs.
template <typename Request>
inline constexpr bool kIsOp =
    std::is_same_v<Request, v1::ReadRequest> || std::is_same_v<Request, v1::WriteRequest> ||
    std::is_same_v<Request, v1::WriteZeroesRequest> ||
    std::is_same_v<Request, v1::DiscardRequest> || std::is_same_v<Request, v1::FlushRequest>;

// What a call's data take, the answer's or the request's, bytes.
template <typename Request>
uint64_t DataBytesOf(const Request& request) {
  if constexpr (std::is_same_v<Request, v1::ReadRequest>) {
    return std::min<uint64_t>(request.length_bytes(), Session::kDataMax);
  } else {
    return request.ByteSizeLong();
  }
}

// One unary call, from waiting for a client to its answer. Answer() or Fail() is called once, on
// any thread, and nothing else afterwards.
template <typename Service, typename Request, typename Response>
class Unary : public Call, public std::enable_shared_from_this<Unary<Service, Request, Response>> {
 public:
  using Ask = void (Service::*)(::grpc::ServerContext*, Request*,
                                ::grpc::ServerAsyncResponseWriter<Response>*,
                                ::grpc::CompletionQueue*, ::grpc::ServerCompletionQueue*, void*);
  using Handler = void (*)(std::shared_ptr<Unary> call);

  Unary(Host& host, ::grpc::ServerCompletionQueue& cq, Service& service, Ask ask, Handler handler)
      : Call(host, kIsOp<Request> ? host.unary : host.no_ops),
        cq_(cq),
        service_(service),
        ask_(ask),
        handler_(handler),
        writer_(&context_),
        asked_(*this, &Unary::Asked),
        gone_(*this, &Unary::Gone),
        finish_(*this, &Unary::Finished) {}

  void Start() {
    context_.AsyncNotifyWhenDone(gone_.Give());
    (service_.*ask_)(&context_, &request, &writer_, &cq_, &cq_, asked_.Give());
  }

  void Answer() { writer_.Finish(response, ::grpc::Status::OK, finish_.Lend()); }
  // The request goes with it: the status may have to wait for the client to read.
  void Fail(const ::grpc::Status& status) {
    request = Request();
    Depart();
    writer_.FinishWithError(status, finish_.Lend());
  }

  // Calls `gone` once, now or later, on this thread or gRPC's, if the client does not wait for the
  // answer any more; not for sure if the answer was given before. At most once.
  void WhenGone(absl::AnyInvocable<void()> gone) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!went_) {
        when_gone_ = std::move(gone);
        return;
      }
    }
    gone();
  }

  Host& host() { return host_; }
  const ::grpc::ServerContext& context() const { return context_; }
  std::string peer() const { return context_.peer(); }

  Request request;
  Response response;

 private:
  void Asked(bool ok) {
    if (!ok) return gone_.Drop();  // the door closes: of a call that never was nobody tells the end
    std::make_shared<Unary>(host_, cq_, service_, ask_, handler_)->Start();
    const ::grpc::Status refused = Enter(context_, kUnaryBytes + DataBytesOf(request));
    if (!refused.ok()) return Fail(refused);
    handler_(this->shared_from_this());
  }
  void Gone(bool) {
    absl::AnyInvocable<void()> gone;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      went_ = true;
      gone.swap(when_gone_);
    }
    if (gone != nullptr && context_.IsCancelled()) gone();
  }
  void Finished(bool) {}

  ::grpc::ServerCompletionQueue& cq_;
  Service& service_;
  const Ask ask_;
  const Handler handler_;
  ::grpc::ServerContext context_;
  ::grpc::ServerAsyncResponseWriter<Response> writer_;
  Step<Unary> asked_, gone_, finish_;

  std::mutex mutex_;                      // guards all below
  absl::AnyInvocable<void()> when_gone_;  // once
  bool went_ = false;
};

// Makes a call of type C wait for a client, and the next one after it, and so on.
template <typename C, typename Service>
void AwaitCall(Host& host, ::grpc::ServerCompletionQueue& cq, Service& service, typename C::Ask ask,
               typename C::Handler handler) {
  std::make_shared<C>(host, cq, service, ask, handler)->Start();
}

}  // namespace sluice::rpc
