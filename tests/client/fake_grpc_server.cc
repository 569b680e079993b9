// SPDX-License-Identifier: Apache-2.0
#include "tests/client/fake_grpc_server.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "client/crc32c.h"
#include "google/rpc/status.pb.h"

namespace sluice {
namespace {

::grpc::Status End(const ::grpc::ServerContext& context, bool all) {
  while (!all && !context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return ::grpc::Status::OK;
}

::grpc::Status Refusal(v1::ErrorReason reason) {
  v1::BlockError error;
  error.set_reason(reason);
  google::rpc::Status status;
  status.add_details()->PackFrom(error);
  return ::grpc::Status(::grpc::StatusCode::ABORTED, "refused", status.SerializeAsString());
}

}  // namespace

FakeGrpcServer::FakeGrpcServer(Behaviour behaviour) : behaviour_(std::move(behaviour)) {
  static std::atomic<int> number = 0;
  ::grpc::ServerBuilder builder;
  int port = 0;
  if (behaviour_.credentials != nullptr) {
    builder.AddListeningPort("127.0.0.1:0", behaviour_.credentials, &port);
  } else {
    path_ = ::testing::TempDir() + "sluice-fake-grpc-" + std::to_string(getpid()) + "-" +
            std::to_string(number++);
    builder.AddListeningPort("unix:" + path_, ::grpc::InsecureServerCredentials());
  }
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  uri_ = path_.empty() ? "sluice://127.0.0.1:" + std::to_string(port) + "/disk"
                       : "sluice+unix:///disk?socket=" + path_;
}

FakeGrpcServer::~FakeGrpcServer() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  if (!path_.empty()) unlink(path_.c_str());
}

::grpc::Status FakeGrpcServer::OpenVolume(::grpc::ServerContext*,
                                          const v1::OpenVolumeRequest* request,
                                          v1::OpenVolumeResponse* response) {
  {
    const std::lock_guard lock(mutex_);
    if (request->epoch() != 0 && request->epoch() != epoch_) {
      return Refusal(v1::ERROR_REASON_STALE_EPOCH);
    }
    response->set_epoch(++epoch_);
    session_ = std::to_string((uint64_t{1} << 50) + epoch_);  // 16 bytes
    response->set_session_id(session_);
  }
  response->set_lease_ms(behaviour_.lease_ms);
  v1::Geometry& geometry = *response->mutable_geometry();
  geometry.set_size_bytes(memory_.size() / 2);
  geometry.set_block_size_bytes(512);
  geometry.set_preferred_size_bytes(4096);
  v1::SessionLimits& limits = *response->mutable_limits();
  limits.set_max_inflight_ops(64);
  limits.set_max_inflight_bytes(1 << 20);
  limits.set_max_op_bytes(65536);
  limits.set_max_effect_bytes(65536);
  limits.set_max_ops_per_message(8);
  limits.set_max_message_bytes(1 << 20);
  limits.set_dedup_window_ops(256);
  limits.set_max_streams(4);
  behaviour_.open(*response);
  return ::grpc::Status::OK;
}

::grpc::Status FakeGrpcServer::KeepAlive(::grpc::ServerContext*, const v1::KeepAliveRequest*,
                                         v1::KeepAliveResponse* response) {
  response->set_lease_ms(behaviour_.lease_ms);
  return ::grpc::Status::OK;
}

::grpc::Status FakeGrpcServer::CloseVolume(::grpc::ServerContext*, const v1::CloseVolumeRequest*,
                                           v1::CloseVolumeResponse*) {
  return ::grpc::Status::OK;
}

::grpc::Status FakeGrpcServer::Io(::grpc::ServerContext* context, Stream* stream) {
  v1::IoRequest request;
  if (!stream->Read(&request) || !request.has_attach()) return ::grpc::Status::CANCELLED;
  {
    const std::lock_guard lock(mutex_);
    if (request.attach().session_id() != session_) return Refusal(v1::ERROR_REASON_SESSION_LOST);
  }
  ++attaches_;
  v1::IoResponse first;
  first.mutable_attached()->mutable_credits()->set_ops(64);
  first.mutable_attached()->mutable_credits()->set_bytes(1 << 20);
  behaviour_.attach(*first.mutable_attached());
  {
    const std::lock_guard lock(mutex_);
    stream->Write(first);
    streams_.insert(stream);
    contexts_.insert(context);
  }
  while (stream->Read(&request)) {
    const std::lock_guard lock(mutex_);
    v1::IoResponse response;
    Serve(request, response);
    behaviour_.answer(response);
    if (response.results_size() > 0) stream->Write(response);
  }
  const std::lock_guard lock(mutex_);
  streams_.erase(stream);
  contexts_.erase(context);
  return ::grpc::Status::OK;
}

::grpc::Status FakeGrpcServer::GetBlockStatus(::grpc::ServerContext* context,
                                              const v1::GetBlockStatusRequest* request,
                                              ExtentsWriter* writer) {
  return End(*context, behaviour_.extents(*request, *writer));
}

::grpc::Status FakeGrpcServer::VerifyRange(::grpc::ServerContext* context,
                                           const v1::VerifyRangeRequest* request,
                                           ChunksWriter* writer) {
  return End(*context, behaviour_.chunks(*request, *writer));
}

void FakeGrpcServer::Serve(const v1::IoRequest& request, v1::IoResponse& response) {
  for (const v1::Op& op : request.ops()) {
    ++ops_;
    v1::OpResult& result = *response.add_results();
    result.set_op_id(op.op_id());
    result.set_reason(behaviour_.refuse(op));
    if (result.reason() != v1::ERROR_REASON_UNSPECIFIED) continue;
    char* const at = memory_.data() + op.offset_bytes();
    if (op.kind() == v1::OP_KIND_WRITE) {
      request.payload().copy(at, op.length_bytes(), op.payload_offset());
    } else if (op.kind() == v1::OP_KIND_READ) {
      result.set_payload_offset(static_cast<uint32_t>(response.payload().size()));
      result.set_length_bytes(op.length_bytes());
      result.set_crc32c(client::Crc32c(at, op.length_bytes()));
      response.mutable_payload()->append(at, op.length_bytes());
    }
  }
}

void FakeGrpcServer::Notify(const v1::IoNotice& notice) {
  v1::IoResponse response;
  *response.mutable_notice() = notice;
  const std::lock_guard lock(mutex_);
  for (Stream* stream : streams_) stream->Write(response);
}

void FakeGrpcServer::HangUp() {
  const std::lock_guard lock(mutex_);
  for (::grpc::ServerContext* context : contexts_) context->TryCancel();
}

void FakeGrpcServer::Restart() {
  {
    const std::lock_guard lock(mutex_);
    session_.clear();
  }
  HangUp();
}

void FakeGrpcServer::Admit() {
  const std::lock_guard lock(mutex_);
  ++epoch_;
  session_.clear();
}

void FakeGrpcServer::Put(uint64_t offset, const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  memory_.replace(offset, bytes.size(), bytes);
}

std::string FakeGrpcServer::Get(uint64_t offset, size_t length) {
  const std::lock_guard lock(mutex_);
  return memory_.substr(offset, length);
}

}  // namespace sluice
