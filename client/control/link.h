// SPDX-License-Identifier: Apache-2.0
// A server's control services, as commands call them: where the server is, how long an answer may
// take, and what a failure means in words that name the cure.
//
// Any thread. Opening a link does not connect: the first call does.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <memory>
#include <string>

#include "client/control/server_options.h"
#include "sluice/status.h"

namespace sluice::control {

class Link {
 public:
  static constexpr std::chrono::milliseconds kPatience{30'000};

  // InvalidArgument: what is wrong with the options, and how they are written.
  static Result<Link> Open(const ServerOptions& options);

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  const std::string& address() const { return address_; }

  // Fills in the deadline.
  static void Prepare(grpc::ClientContext& context, std::chrono::milliseconds patience = kPatience);

  // What a call's failure means. REQUIRES: !status.ok().
  Status Explain(const grpc::Status& status) const;

 private:
  Link(std::string address, std::string socket, std::shared_ptr<grpc::Channel> channel)
      : address_(std::move(address)), socket_(std::move(socket)), channel_(std::move(channel)) {}
  Status Unreachable(const std::string& why) const;

  std::string address_;
  std::string socket_;  // of a unix address: its path
  std::shared_ptr<grpc::Channel> channel_;
};

// A fresh UUID (RFC 9562, version 4): a mutating call's request_id.
std::string NewRequestId();

// One unary call: `call` is &Service::Stub::Method.
template <typename Stub, typename Request, typename Response>
Result<Response> Ask(const Link& link, Stub& stub,
                     grpc::Status (Stub::*call)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request, std::chrono::milliseconds patience = Link::kPatience) {
  grpc::ClientContext context;
  Link::Prepare(context, patience);
  Response response;
  const grpc::Status status = (stub.*call)(&context, request, &response);
  if (!status.ok()) return link.Explain(status);
  return response;
}

}  // namespace sluice::control
