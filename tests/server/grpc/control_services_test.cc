// SPDX-License-Identifier: Apache-2.0
// The control services by their generated stubs, over a door with real threads: what each tells,
// errors with their details, and calls that wait.
#include <gmock/gmock.h>
#include <grpcpp/create_channel_posix.h>

#include <future>

#include "google/rpc/status.pb.h"
#include "sluice/v1/disk.grpc.pb.h"
#include "sluice/v1/export.grpc.pb.h"
#include "sluice/v1/operation.grpc.pb.h"
#include "sluice/v1/server.grpc.pb.h"
#include "sluice/v1/stats.grpc.pb.h"
#include "sluice/v1/volume.grpc.pb.h"
#include "tests/server/control_house.h"

namespace sluice::rpc {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

v1::BlockError DetailOf(const ::grpc::Status& status) {
  google::rpc::Status packed;
  v1::BlockError detail;
  EXPECT_TRUE(packed.ParseFromString(status.error_details()));
  EXPECT_TRUE(packed.details_size() == 1 && packed.details(0).UnpackTo(&detail));
  return detail;
}

class ControlServicesTest : public ControlTest {
 protected:
  ControlServicesTest()
      : channel_(::grpc::CreateInsecureChannelFromFd("test", house_->ConnectGrpc())),
        disks_(v1::DiskService::NewStub(channel_)),
        volumes_(v1::VolumeService::NewStub(channel_)),
        exports_(v1::ExportService::NewStub(channel_)),
        sessions_(v1::SessionService::NewStub(channel_)),
        operations_(v1::OperationService::NewStub(channel_)),
        stats_(v1::StatsService::NewStub(channel_)),
        server_(v1::ServerService::NewStub(channel_)) {}

  // One call of a stub's method.
  template <typename Stub, typename Request, typename Response>
  ::grpc::Status Ask(Stub& stub,
                     ::grpc::Status (Stub::*method)(::grpc::ClientContext*, const Request&,
                                                    Response*),
                     const Request& request, Response& response) {
    ::grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    response.Clear();
    return (stub.*method)(&context, request, &response);
  }
  ::grpc::Status AddMemoryDisk(const std::string& name, uint64_t bytes = kMiB) {
    v1::AddDiskRequest request;
    request.mutable_disk()->set_name(name);
    request.mutable_disk()->set_memory_bytes(bytes);
    v1::AddDiskResponse response;
    return Ask(*disks_, &v1::DiskService::Stub::AddDisk, request, response);
  }
  ::grpc::Status Wait(const std::string& id, uint32_t timeout_ms,
                      v1::WaitOperationResponse& response) {
    v1::WaitOperationRequest request;
    request.set_id(id);
    request.set_timeout_ms(timeout_ms);
    return Ask(*operations_, &v1::OperationService::Stub::WaitOperation, request, response);
  }

  std::shared_ptr<::grpc::Channel> channel_;
  std::unique_ptr<v1::DiskService::Stub> disks_;
  std::unique_ptr<v1::VolumeService::Stub> volumes_;
  std::unique_ptr<v1::ExportService::Stub> exports_;
  std::unique_ptr<v1::SessionService::Stub> sessions_;
  std::unique_ptr<v1::OperationService::Stub> operations_;
  std::unique_ptr<v1::StatsService::Stub> stats_;
  std::unique_ptr<v1::ServerService::Stub> server_;
};

TEST_F(ControlServicesTest, WhatIsAskedForIsMadeAndTold) {
  ASSERT_TRUE(AddMemoryDisk("d").ok());
  v1::CreateVolumeRequest make;
  make.mutable_volume()->set_name("v");
  make.mutable_volume()->mutable_concat()->add_leg("d");
  v1::CreateVolumeResponse made;
  ASSERT_TRUE(Ask(*volumes_, &v1::VolumeService::Stub::CreateVolume, make, made).ok());
  EXPECT_EQ(made.volume().size_bytes(), kMiB);
  v1::CreateExportRequest offer;
  offer.mutable_export_()->set_name("e");
  offer.mutable_export_()->set_volume("v");
  v1::CreateExportResponse offered;
  ASSERT_TRUE(Ask(*exports_, &v1::ExportService::Stub::CreateExport, offer, offered).ok());
  EXPECT_EQ(offered.export_().geometry().size_bytes(), kMiB);
  v1::GetDiskRequest get;
  get.set_name("d");
  v1::GetDiskResponse got;
  ASSERT_TRUE(Ask(*disks_, &v1::DiskService::Stub::GetDisk, get, got).ok());
  EXPECT_EQ(got.disk().spec().memory_bytes(), kMiB);
  EXPECT_EQ(got.disk().state(), v1::DISK_STATE_ONLINE);
  EXPECT_GT(got.disk().state_since_unix_ns(), 0);
  EXPECT_THAT(got.disk().used_by(), ElementsAre("v"));
  EXPECT_TRUE(got.disk().added_at_run_time());
}

TEST_F(ControlServicesTest, ARefusalHasItsReasonAndNamesWhatIsConcerned) {
  v1::GetDiskRequest get;
  get.set_name("none");
  v1::GetDiskResponse got;
  const ::grpc::Status none = Ask(*disks_, &v1::DiskService::Stub::GetDisk, get, got);
  EXPECT_EQ(none.error_code(), ::grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(DetailOf(none).reason(), v1::ERROR_REASON_NOT_FOUND);
  EXPECT_EQ(DetailOf(none).disk(), "none");
  EXPECT_EQ(DetailOf(AddMemoryDisk("no/name")).reason(), v1::ERROR_REASON_BAD_REQUEST);
  EXPECT_EQ(DetailOf(AddMemoryDisk("x", 1)).reason(), v1::ERROR_REASON_BAD_REQUEST);
  EXPECT_EQ(DetailOf(AddMemoryDisk("base", kMiB)).reason(), v1::ERROR_REASON_ALREADY_EXISTS);
  v1::RemoveDiskRequest remove;
  remove.set_name("base");
  v1::RemoveDiskResponse removed;
  const ::grpc::Status declared = Ask(*disks_, &v1::DiskService::Stub::RemoveDisk, remove, removed);
  EXPECT_EQ(declared.error_code(), ::grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(declared.error_message(), HasSubstr("config file"));
}

TEST_F(ControlServicesTest, AWaiterIsAnsweredWhenItsOperationEndsOrItsTimeIsOver) {
  const auto begun = control().operations().Begin("a test", [] {});
  v1::WaitOperationResponse early;
  ASSERT_TRUE(Wait(begun->id, 50, early).ok());
  EXPECT_EQ(early.operation().state(), v1::OPERATION_STATE_RUNNING);
  v1::WaitOperationResponse last;
  auto waits = std::async(std::launch::async, [&] { return Wait(begun->id, 30'000, last); });
  EXPECT_EQ(waits.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  control().operations().End(begun->id, absl::InternalError("no luck"));
  ASSERT_TRUE(waits.get().ok());
  EXPECT_EQ(last.operation().state(), v1::OPERATION_STATE_FAILED);
  EXPECT_EQ(last.operation().error_text(), "no luck");
  EXPECT_EQ(last.operation().error().reason(), v1::ERROR_REASON_IO_ERROR);
  v1::WaitOperationResponse none;
  EXPECT_EQ(Wait("77", 0, none).error_code(), ::grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Wait(begun->id, 600'001, none).error_code(), ::grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ControlServicesTest, WatchersMissNothingWhileMuchHappensAndLeaveWhenTheyLike) {
  const uint64_t begin = control().events().newest();
  std::vector<std::future<size_t>> watchers;
  for (int i = 0; i < 4; ++i) {
    watchers.push_back(std::async(std::launch::async, [this, begin] {
      ::grpc::ClientContext context;
      v1::WatchEventsRequest request;
      request.set_since_revision(begin);
      const auto stream = stats_->WatchEvents(&context, request);
      v1::WatchEventsResponse response;
      uint64_t last = begin;
      size_t seen = 0;
      while (seen < 500 && stream->Read(&response)) {
        for (const v1::Event& event : response.events()) {
          EXPECT_EQ(event.revision(), last + 1);
          last = event.revision();
          ++seen;
        }
      }
      context.TryCancel();
      return seen;
    }));
  }
  for (int i = 0; i < 500; ++i) control().events().Add(EventKind::kDiskChanged, "d", "a test");
  for (auto& watcher : watchers) EXPECT_EQ(watcher.get(), 500u);
}

TEST_F(ControlServicesTest, ADrainEndsWhatWaits) {
  const auto begun = control().operations().Begin("a test", [] {});
  v1::WaitOperationRequest request;
  request.set_id(begun->id);
  request.set_timeout_ms(600'000);
  ::grpc::CompletionQueue queue;
  ::grpc::ClientContext waiting, context;
  const auto waits = operations_->AsyncWaitOperation(&waiting, request, &queue);
  v1::WaitOperationResponse answer;
  ::grpc::Status ended;
  waits->Finish(&answer, &ended, nullptr);
  const auto figures = stats_->WatchStats(&context, v1::WatchStatsRequest());
  v1::WatchStatsResponse response;
  ASSERT_TRUE(figures->Read(&response));  // what was sent before it has arrived
  EXPECT_EQ(response.stats().disks_size(), 1);
  while (!control().Close()) std::this_thread::yield();
  house_->DrainDoors();
  void* tag = nullptr;
  bool ok = false;
  EXPECT_TRUE(queue.Next(&tag, &ok) && ok && ended.ok()) << ended.error_message();
  EXPECT_EQ(answer.operation().state(), v1::OPERATION_STATE_RUNNING);
  while (figures->Read(&response)) {
  }
  EXPECT_TRUE(figures->Finish().ok());
  control().operations().End(begun->id, absl::OkStatus());
}

TEST_F(ControlServicesTest, ACallToDrainIsAnsweredAndPassedOn) {
  v1::DrainRequest request;
  v1::DrainResponse response;
  request.set_timeout_ms(3'600'001);
  EXPECT_FALSE(Ask(*server_, &v1::ServerService::Stub::Drain, request, response).ok());
  request.set_timeout_ms(1234);
  EXPECT_TRUE(Ask(*server_, &v1::ServerService::Stub::Drain, request, response).ok());
  for (int i = 0; i < 1000 && house_->drain_asked_ms == 0; ++i) usleep(1000);
  EXPECT_EQ(house_->drain_asked_ms.load(), 1234u);
}

TEST_F(ControlServicesTest, ManyCallersAtOnceAreAnsweredOrToldToWait) {
  std::atomic<int> answered{0};
  std::vector<std::future<void>> callers;
  for (int i = 0; i < 8; ++i) {
    callers.push_back(std::async(std::launch::async, [&, i] {
      for (int n = 0; n < 20; ++n) {
        const std::string name = "d" + std::to_string(i);
        const ::grpc::Status added = AddMemoryDisk(name);
        if (added.ok()) ++answered;
        if (!added.ok()) {
          EXPECT_EQ(DetailOf(added).reason(), v1::ERROR_REASON_OVERLOADED);
        }
        v1::ListDisksRequest list;
        v1::ListDisksResponse listed;
        static_cast<void>(Ask(*disks_, &v1::DiskService::Stub::ListDisks, list, listed));
        v1::RemoveDiskRequest remove;
        remove.set_name(name);
        v1::RemoveDiskResponse removed;
        static_cast<void>(Ask(*disks_, &v1::DiskService::Stub::RemoveDisk, remove, removed));
      }
    }));
  }
  for (auto& caller : callers) caller.get();
  EXPECT_GT(answered.load(), 0);
}

}  // namespace
}  // namespace sluice::rpc
