// SPDX-License-Identifier: Apache-2.0
// A gRPC server on a unix socket whose control services answer as a test says.
#pragma once

#include <grpcpp/server.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>

#include "client/control/link.h"
#include "sluice/v1/disk.grpc.pb.h"
#include "sluice/v1/export.grpc.pb.h"
#include "sluice/v1/operation.grpc.pb.h"
#include "sluice/v1/stats.grpc.pb.h"

namespace sluice::control {

// What a call does; one that is not set is UNIMPLEMENTED.
template <typename Request, typename Response>
using Answer = std::function<grpc::Status(const Request&, Response&)>;

template <typename Request, typename Response>
grpc::Status Do(const Answer<Request, Response>& answer, const Request& request,
                Response& response) {
  if (!answer) return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  return answer(request, response);
}

struct FakeDisks final : v1::DiskService::Service {
  Answer<v1::ListDisksRequest, v1::ListDisksResponse> list;
  Answer<v1::DrainDiskRequest, v1::DrainDiskResponse> drain;
  Answer<v1::SwapStrategyRequest, v1::SwapStrategyResponse> swap;

  grpc::Status ListDisks(grpc::ServerContext*, const v1::ListDisksRequest* request,
                         v1::ListDisksResponse* response) override {
    return Do(list, *request, *response);
  }
  grpc::Status DrainDisk(grpc::ServerContext*, const v1::DrainDiskRequest* request,
                         v1::DrainDiskResponse* response) override {
    return Do(drain, *request, *response);
  }
  grpc::Status SwapStrategy(grpc::ServerContext*, const v1::SwapStrategyRequest* request,
                            v1::SwapStrategyResponse* response) override {
    return Do(swap, *request, *response);
  }
};

struct FakeExports final : v1::ExportService::Service {
  Answer<v1::UpdateExportRequest, v1::UpdateExportResponse> update;

  grpc::Status UpdateExport(grpc::ServerContext*, const v1::UpdateExportRequest* request,
                            v1::UpdateExportResponse* response) override {
    return Do(update, *request, *response);
  }
};

struct FakeOperations final : v1::OperationService::Service {
  Answer<v1::WaitOperationRequest, v1::WaitOperationResponse> wait;

  grpc::Status WaitOperation(grpc::ServerContext*, const v1::WaitOperationRequest* request,
                             v1::WaitOperationResponse* response) override {
    return Do(wait, *request, *response);
  }
};

struct FakeStats final : v1::StatsService::Service {
  Answer<v1::GetStatsRequest, v1::GetStatsResponse> get;
  std::function<void(grpc::ServerContext&, uint64_t since,
                     grpc::ServerWriter<v1::WatchEventsResponse>&)>
      watch;

  grpc::Status GetStats(grpc::ServerContext*, const v1::GetStatsRequest* request,
                        v1::GetStatsResponse* response) override {
    return Do(get, *request, *response);
  }
  grpc::Status WatchEvents(grpc::ServerContext* context, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::WatchEventsResponse>* writer) override {
    watch(*context, request->since_revision(), *writer);
    return grpc::Status::OK;
  }
};

class ControlServer {
 public:
  ControlServer();
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  std::string address() const { return "unix:" + path_; }
  Link link() const;

  FakeDisks disks;
  FakeExports exports;
  FakeOperations operations;
  FakeStats stats;

 private:
  const std::string path_ = ::testing::TempDir() + "sluice-control-" + std::to_string(getpid());
  std::unique_ptr<grpc::Server> server_;
};

// As the door refuses a call: with a BlockError in the status's details.
grpc::Status Refusal(grpc::StatusCode code, v1::ErrorReason reason, const std::string& text);

}  // namespace sluice::control
