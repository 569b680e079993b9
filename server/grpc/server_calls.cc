// SPDX-License-Identifier: Apache-2.0
// ServerService, and OperationService but for WaitOperation.
#include "core/units.h"
#include "server/grpc/control_convert.h"
#include "server/grpc/control_services.h"
#include "server/log.h"

namespace sluice::rpc {
namespace {

constexpr uint32_t kDrainMaxMs = 3'600'000;

absl::Status Info(Host& host, const v1::GetServerInfoRequest&, v1::GetServerInfoResponse& to) {
  const ServerFacts& facts = host.control->management.facts;
  to.set_version(facts.version);
  to.set_instance(facts.instance);
  to.set_began_unix_ns(facts.began_unix_ns);
  to.mutable_features()->Assign(facts.features.begin(), facts.features.end());
  v1::ServerLimits& limits = *to.mutable_limits();
  limits.set_nbd_connections(facts.nbd_connections);
  limits.set_grpc_connections(facts.grpc_connections);
  limits.set_max_message_bytes(kMessageMax);
  limits.set_pool_bytes(facts.pool_bytes);
  to.set_reactors(host.control->management.reactors.size());
  to.set_draining(host.control->management.control.closing());
  return absl::OkStatus();
}

absl::Status SetLogLevel(Host&, const v1::SetLogLevelRequest& from, v1::SetLogLevelResponse& to) {
  // Severities are numbered as LogLevel, from 1.
  if (from.least() < v1::SEVERITY_DEBUG || from.least() > v1::SEVERITY_ERROR) {
    return absl::InvalidArgumentError("least: give DEBUG, INFO, WARNING or ERROR");
  }
  const LogLevel before = SetLeastLogged(static_cast<LogLevel>(from.least() - 1));
  to.set_before(static_cast<v1::Severity>(static_cast<int>(before) + 1));
  return absl::OkStatus();
}

using DrainCall = Unary<v1::ServerService::AsyncService, v1::DrainRequest, v1::DrainResponse>;

void Drain(std::shared_ptr<DrainCall> call) {
  if (const ::grpc::Status refused = Admit(call->host(), call->context()); !refused.ok()) {
    return call->Fail(refused);
  }
  Management& management = call->host().control->management;
  if (call->request.timeout_ms() > kDrainMaxMs) {
    return call->Fail(
        StatusOf(absl::InvalidArgumentError("timeout_ms: give at most 3600000, or 0")));
  }
  const uint32_t timeout_ms = call->request.timeout_ms();
  call->Answer();
  management.drain(timeout_ms != 0 ? timeout_ms : management.facts.drain_timeout_ms);
}

absl::Status Get(Host& host, const v1::GetOperationRequest& from, v1::GetOperationResponse& to) {
  const auto found = host.control->management.control.operations().Get(from.id());
  if (found.ok()) Describe(*found, *to.mutable_operation());
  return found.status();
}

// By number, the newest first: a page goes on below its token.
std::string PageKey(const Operation& operation) {
  return absl::StrCat(absl::Hex(~std::stoull(operation.id), absl::kZeroPad16));
}

absl::Status List(Host& host, const v1::ListOperationsRequest& from,
                  v1::ListOperationsResponse& to) {
  return Page(
      from, host.control->management.control.operations().List(), PageKey,
      [&to](const Operation& each) { Describe(each, *to.add_operations()); }, to);
}

absl::Status Cancel(Host& host, const v1::CancelOperationRequest& from,
                    v1::CancelOperationResponse& to) {
  const auto found = host.control->management.control.operations().Cancel(from.id());
  if (found.ok()) Describe(*found, *to.mutable_operation());
  return found.status();
}

}  // namespace

void AwaitServer(Host& host, ::grpc::ServerCompletionQueue& cq) {
  using Server = v1::ServerService::AsyncService;
  Server& server = host.control->server;
  AwaitControl<Info>(host, cq, server, &Server::RequestGetServerInfo);
  AwaitControl<SetLogLevel>(host, cq, server, &Server::RequestSetLogLevel);
  AwaitCall<DrainCall>(host, cq, server, &Server::RequestDrain, Drain);
}

void AwaitOperations(Host& host, ::grpc::ServerCompletionQueue& cq) {
  using Operations = v1::OperationService::AsyncService;
  Operations& operations = host.control->operation;
  AwaitControl<Get>(host, cq, operations, &Operations::RequestGetOperation);
  AwaitControl<List>(host, cq, operations, &Operations::RequestListOperations);
  AwaitControl<Cancel>(host, cq, operations, &Operations::RequestCancelOperation);
}

}  // namespace sluice::rpc
