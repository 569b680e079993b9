// SPDX-License-Identifier: Apache-2.0
// One unary call of any service.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <memory>
#include <string>

#include "server/grpc/call.h"

namespace sluice::rpc {

// One unary call, from waiting for a client to its answer. Answer() or Fail() is called once, on
// any thread, and nothing else afterwards.
template <typename Service, typename Request, typename Response>
class Unary : public Call, public std::enable_shared_from_this<Unary<Service, Request, Response>> {
 public:
  using Ask = void (Service::*)(::grpc::ServerContext*, Request*,
                                ::grpc::ServerAsyncResponseWriter<Response>*,
                                ::grpc::CompletionQueue*, ::grpc::ServerCompletionQueue*, void*);
  using Handler = void (*)(std::shared_ptr<Unary> call);

  Unary(Host& host, Doorway& doorway, ::grpc::ServerCompletionQueue& cq, Service& service, Ask ask,
        Handler handler)
      : Call(host, doorway),
        cq_(cq),
        service_(service),
        ask_(ask),
        handler_(handler),
        writer_(&context_),
        asked_(*this, &Unary::Asked),
        finish_(*this, &Unary::Finished) {}

  void Start() { (service_.*ask_)(&context_, &request, &writer_, &cq_, &cq_, asked_.Give()); }

  void Answer() { writer_.Finish(response, ::grpc::Status::OK, finish_.Lend()); }
  void Fail(const ::grpc::Status& status) { writer_.FinishWithError(status, finish_.Lend()); }

  Host& host() { return host_; }
  const ::grpc::ServerContext& context() const { return context_; }
  std::string peer() const { return context_.peer(); }

  Request request;
  Response response;

 private:
  void Asked(bool ok) {
    if (!ok) return;  // the door closes
    Enter([&host = host_, &doorway = doorway_, &cq = cq_, &service = service_, ask = ask_,
           handler = handler_] {
      std::make_shared<Unary>(host, doorway, cq, service, ask, handler)->Start();
    });
    handler_(this->shared_from_this());
  }
  void Finished(bool) {}

  ::grpc::ServerCompletionQueue& cq_;
  Service& service_;
  const Ask ask_;
  const Handler handler_;
  ::grpc::ServerContext context_;
  ::grpc::ServerAsyncResponseWriter<Response> writer_;
  Step<Unary> asked_, finish_;
};

// Makes a call of type C wait for a client, and the next one after it, and so on.
template <typename C, typename Service>
void AwaitCall(Host& host, ::grpc::ServerCompletionQueue& cq, Service& service, typename C::Ask ask,
               typename C::Handler handler) {
  Doorway& doorway = host.doorways.emplace_back(kUnaryMax);
  std::make_shared<C>(host, doorway, cq, service, ask, handler)->Start();
}

}  // namespace sluice::rpc
