// SPDX-License-Identifier: Apache-2.0
// The control services: how a call of one comes in, is carried out and answered. Calls of the
// control plane block, so they are made at the desk.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/grpc/admit.h"
#include "server/grpc/desk.h"
#include "server/grpc/management.h"
#include "server/grpc/status.h"
#include "server/grpc/unary.h"
#include "sluice/v1/disk.grpc.pb.h"
#include "sluice/v1/export.grpc.pb.h"
#include "sluice/v1/operation.grpc.pb.h"
#include "sluice/v1/server.grpc.pb.h"
#include "sluice/v1/stats.grpc.pb.h"
#include "sluice/v1/volume.grpc.pb.h"

namespace sluice::rpc {

struct ControlServices {
  // A hung drive holds up who waits for it; so many more are served meanwhile.
  static constexpr uint32_t kDeskThreads = 4;
  static constexpr size_t kDeskWaiting = 64;

  explicit ControlServices(Management its_management) : management(std::move(its_management)) {}

  Management management;
  v1::DiskService::AsyncService disk;
  v1::VolumeService::AsyncService volume;
  v1::ExportService::AsyncService exports;
  v1::SessionService::AsyncService session;
  v1::OperationService::AsyncService operation;
  v1::StatsService::AsyncService stats;
  v1::ServerService::AsyncService server;
  Desk desk{kDeskThreads, kDeskWaiting};
};

// What a call is about, by its name, as far as its request tells.
template <typename Service, typename Request>
v1::BlockError Concerned(const Request& request) {
  v1::BlockError detail;
  if constexpr (requires { request.name(); }) {
    if constexpr (std::is_base_of_v<v1::DiskService::Service, Service>) {
      detail.set_disk(request.name());
    } else if constexpr (std::is_base_of_v<v1::VolumeService::Service, Service>) {
      detail.set_volume(request.name());
    } else {
      detail.set_export_name(request.name());
    }
  }
  return detail;
}

// Carries out kWork, an `absl::Status (Host&, const Request&, Response&)` that may block.
template <auto kWork, typename Service, typename Request, typename Response>
void AtDesk(std::shared_ptr<Unary<Service, Request, Response>> call) {
  if (const ::grpc::Status refused = Admit(call->host(), call->context()); !refused.ok()) {
    return call->Fail(refused);
  }
  const bool taken = call->host().control->desk.Run([call] {
    const absl::Status status = kWork(call->host(), call->request, call->response);
    if (status.ok()) return call->Answer();
    call->Fail(StatusOf(status, Concerned<Service>(call->request)));
  });
  if (!taken) call->Fail(StatusOf(Reason::kOverloaded));
}

// Makes calls of one kind wait for clients; the last argument is the service's Request... function.
template <auto kWork, typename Service, typename Base, typename Request, typename Response>
void AwaitControl(Host& host, ::grpc::ServerCompletionQueue& cq, Service& service,
                  void (Base::*ask)(::grpc::ServerContext*, Request*,
                                    ::grpc::ServerAsyncResponseWriter<Response>*,
                                    ::grpc::CompletionQueue*, ::grpc::ServerCompletionQueue*,
                                    void*)) {
  using C = Unary<Service, Request, Response>;
  AwaitCall<C>(host, cq, service, ask, AtDesk<kWork, Service, Request, Response>);
}

// The part of `all`, which is in the order of its keys, that a request asks for, and the token of
// the next one. `key`: the text by which an element is found again.
inline constexpr uint32_t kPageMax = 1000;
inline constexpr uint32_t kPageDefault = 100;
template <typename Request, typename Response, typename All, typename Key, typename Add>
absl::Status Page(const Request& request, const All& all, const Key& key, const Add& add,
                  Response& response) {
  if (request.page_size() > kPageMax) {
    return absl::InvalidArgumentError("page_size: give 1 to 1000, or 0 for 100");
  }
  const uint32_t size = request.page_size() == 0 ? kPageDefault : request.page_size();
  uint32_t taken = 0;
  std::string last;
  for (const auto& each : all) {
    const std::string own = key(each);
    if (!request.page_token().empty() && own <= request.page_token()) continue;
    if (taken == size) {
      response.set_next_page_token(last);
      break;
    }
    add(each);
    last = own;
    ++taken;
  }
  return absl::OkStatus();
}

template <typename Request>
Ask AskOf(const Request& request) {
  Ask ask;
  ask.request_id = request.request_id();
  if constexpr (requires { request.etag(); }) ask.etag = request.etag();
  return ask;
}

// Make the calls of each service wait for clients. Before the queue's thread runs.
void AwaitDisks(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitVolumes(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitExports(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitOperations(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitWaiters(Host& host, ::grpc::ServerCompletionQueue& cq);  // WatchEvents, WaitOperation
void AwaitStats(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitServer(Host& host, ::grpc::ServerCompletionQueue& cq);

}  // namespace sluice::rpc
