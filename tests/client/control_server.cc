// SPDX-License-Identifier: Apache-2.0
#include "tests/client/control_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "google/rpc/status.pb.h"
#include "sluice/v1/error.pb.h"

namespace sluice::control {

ControlServer::ControlServer() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
  builder.RegisterService(&disks);
  builder.RegisterService(&exports);
  builder.RegisterService(&operations);
  builder.RegisterService(&stats);
  server_ = builder.BuildAndStart();
}

ControlServer::~ControlServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  unlink(path_.c_str());
}

Link ControlServer::link() const {
  auto link = Link::Open({.address = address()});
  EXPECT_TRUE(link.ok()) << link.status().ToString();
  return *std::move(link);
}

grpc::Status Refusal(grpc::StatusCode code, v1::ErrorReason reason, const std::string& text) {
  v1::BlockError error;
  error.set_reason(reason);
  google::rpc::Status envelope;
  envelope.set_code(code);
  envelope.set_message(text);
  envelope.add_details()->PackFrom(error);
  return grpc::Status(code, text, envelope.SerializeAsString());
}

}  // namespace sluice::control
