// SPDX-License-Identifier: Apache-2.0
// A BlockService for tests of the SDK: memory behind a unix socket or TLS, and misbehaviour on
// order. It keeps no law: whatever arrives on a stream is carried out, as often as it comes.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "sluice/v1/block.grpc.pb.h"

namespace sluice {

class FakeGrpcServer final : private v1::BlockService::Service {
 public:
  using Stream = ::grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>;
  using ExtentsWriter = ::grpc::ServerWriter<v1::GetBlockStatusResponse>;
  using ChunksWriter = ::grpc::ServerWriter<v1::VerifyRangeResponse>;

  struct Behaviour {
    // May change what OpenVolume answers.
    std::function<void(v1::OpenVolumeResponse&)> open = [](v1::OpenVolumeResponse&) {};
    // May change what an attach is answered with.
    std::function<void(v1::IoAttached&)> attach = [](v1::IoAttached&) {};
    // What an op is answered with instead of being carried out.
    std::function<v1::ErrorReason(const v1::Op&)> refuse = [](const v1::Op&) {
      return v1::ERROR_REASON_UNSPECIFIED;
    };
    // May change what is answered; nothing is sent if no result is left.
    std::function<void(v1::IoResponse&)> answer = [](v1::IoResponse&) {};
    // Tells of a range. False: and then nothing more, until the client gives up.
    std::function<bool(const v1::GetBlockStatusRequest&, ExtentsWriter&)> extents =
        [](const v1::GetBlockStatusRequest&, ExtentsWriter&) { return true; };
    std::function<bool(const v1::VerifyRangeRequest&, ChunksWriter&)> chunks =
        [](const v1::VerifyRangeRequest&, ChunksWriter&) { return true; };
    uint64_t lease_ms = 30'000;
    // TCP on loopback with these instead of a unix socket.
    std::shared_ptr<::grpc::ServerCredentials> credentials = nullptr;
  };

  explicit FakeGrpcServer(Behaviour behaviour);
  ~FakeGrpcServer() override;

  std::string uri() const { return uri_; }
  uint64_t ops() const { return ops_.load(); }
  uint64_t attaches() const { return attaches_.load(); }
  // On every stream.
  void Notify(const v1::IoNotice& notice);
  // Ends every stream.
  void HangUp();
  // Ends every stream, and knows no session any more.
  void Restart();
  // Another writer is admitted: who opens again with an earlier epoch is refused.
  void Admit();
  // What another client writes and reads.
  void Put(uint64_t offset, const std::string& bytes);
  std::string Get(uint64_t offset, size_t length);

 private:
  ::grpc::Status OpenVolume(::grpc::ServerContext*, const v1::OpenVolumeRequest* request,
                            v1::OpenVolumeResponse* response) override;
  ::grpc::Status KeepAlive(::grpc::ServerContext*, const v1::KeepAliveRequest*,
                           v1::KeepAliveResponse* response) override;
  ::grpc::Status CloseVolume(::grpc::ServerContext*, const v1::CloseVolumeRequest*,
                             v1::CloseVolumeResponse*) override;
  ::grpc::Status Io(::grpc::ServerContext* context, Stream* stream) override;
  ::grpc::Status GetBlockStatus(::grpc::ServerContext* context,
                                const v1::GetBlockStatusRequest* request,
                                ExtentsWriter* writer) override;
  ::grpc::Status VerifyRange(::grpc::ServerContext* context, const v1::VerifyRangeRequest* request,
                             ChunksWriter* writer) override;
  void Serve(const v1::IoRequest& request, v1::IoResponse& response);

  const Behaviour behaviour_;
  std::string path_;
  std::string uri_;
  std::atomic<uint64_t> ops_ = 0;
  std::atomic<uint64_t> attaches_ = 0;
  std::mutex mutex_;
  std::string memory_ = std::string(1 << 20, '\0');  // guarded by mutex_, like the next four
  uint64_t epoch_ = 0;
  std::string session_;  // the id of the newest
  std::set<Stream*> streams_;
  std::set<::grpc::ServerContext*> contexts_;
  std::unique_ptr<::grpc::Server> server_;
};

}  // namespace sluice
