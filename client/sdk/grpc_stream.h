// SPDX-License-Identifier: Apache-2.0
// One Io stream of an attachment, on the volume's I/O thread. Deletes itself when gRPC is done with
// it.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <cstdint>
#include <memory>

#include "client/sdk/grpc_loop.h"
#include "client/sdk/grpc_wire.h"

SLUICE_SDK_BEGIN
namespace internal {

class GrpcStream final : private GrpcLoop::Guest {
 public:
  class Owner {
   public:
    // The first message with `attached()`, then results and notices.
    virtual void OnMessage(GrpcStream& stream, IoReply& reply) = 0;
    // It ends by itself, and is not to be used any more. `malformed`: because of what came.
    virtual void OnBroken(GrpcStream& stream, const ::grpc::Status& why) = 0;

   protected:
    ~Owner() = default;
  };

  // The stream begins with `attach`.
  static GrpcStream* Start(GrpcLoop& loop, const std::shared_ptr<::grpc::Channel>& channel,
                           const v1::IoAttach& attach, Owner& owner);

  // True once it has begun and while no message is on its way to the connection.
  bool writable() const { return begun_ && !writing_; }
  // REQUIRES: writable().
  void Send(const ::grpc::ByteBuffer& message);
  // The owner hears nothing more of it.
  void Abandon();

 private:
  using Then = void (GrpcStream::*)(bool);
  struct Step final : GrpcLoop::Tag {
    Step(GrpcStream& its_stream, Then its_then) : stream(its_stream), then(its_then) {}
    void Proceed(bool ok) override { (stream.*then)(ok); }
    GrpcStream& stream;
    const Then then;
  };

  GrpcStream(GrpcLoop& loop, const std::shared_ptr<::grpc::Channel>& channel, Owner& owner);

  void Started(bool ok);
  void Written(bool ok);
  void Arrived(bool ok);
  void Finished(bool ok);
  void Read();
  // When nothing is given to gRPC but what Finish() needs.
  void FinishIfIdle();

  Owner* owner_;  // null: abandoned
  ::grpc::ClientContext context_;
  std::unique_ptr<::grpc::GenericClientAsyncReaderWriter> call_;
  ::grpc::ByteBuffer attach_;
  ::grpc::ByteBuffer read_;
  ::grpc::Status status_;
  bool begun_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool over_ = false;  // nothing more is sent or read
  bool malformed_ = false;
  Step started_, written_, arrived_, finished_;
};

}  // namespace internal
SLUICE_SDK_END
