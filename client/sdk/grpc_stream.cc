// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_stream.h"

#include <utility>

#include "core/check.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr char kMethod[] = "/sluice.v1.BlockService/Io";

::grpc::ByteBuffer Encode(const v1::IoRequest& message) {
  const ::grpc::Slice slice(message.SerializeAsString());
  return ::grpc::ByteBuffer(&slice, 1);
}

}  // namespace

GrpcStream::GrpcStream(GrpcLoop& loop, const std::shared_ptr<::grpc::Channel>& channel,
                       Owner& owner)
    : Guest(loop),
      owner_(&owner),
      call_(::grpc::GenericStub(channel).PrepareCall(&context_, kMethod, &loop.queue())),
      started_(*this, &GrpcStream::Started),
      written_(*this, &GrpcStream::Written),
      arrived_(*this, &GrpcStream::Arrived),
      finished_(*this, &GrpcStream::Finished) {}

GrpcStream* GrpcStream::Start(GrpcLoop& loop, const std::shared_ptr<::grpc::Channel>& channel,
                              const v1::IoAttach& attach, Owner& owner) {
  auto* const stream = new GrpcStream(loop, channel, owner);
  v1::IoRequest first;
  *first.mutable_attach() = attach;
  stream->attach_ = Encode(first);
  stream->writing_ = true;
  stream->call_->StartCall(&stream->started_);
  return stream;
}

void GrpcStream::Started(bool ok) {
  writing_ = false;
  if (!ok || over_) {
    over_ = true;
    return FinishIfIdle();
  }
  begun_ = true;
  Send(attach_);
  Read();
}

void GrpcStream::Send(const ::grpc::ByteBuffer& message) {
  SLUICE_CHECK(writable());
  writing_ = true;
  call_->Write(message, &written_);
}

void GrpcStream::Written(bool ok) {
  writing_ = false;
  // The read tells of the end, behind what had come before it.
  if (!ok) begun_ = false;
  FinishIfIdle();
}

void GrpcStream::Read() {
  reading_ = true;
  call_->Read(&read_, &arrived_);
}

void GrpcStream::Arrived(bool ok) {
  reading_ = false;
  if (ok && owner_ != nullptr) {
    IoReply reply(read_);
    malformed_ = !reply.Parse();
    if (!malformed_) owner_->OnMessage(*this, reply);
  }
  if (!ok || owner_ == nullptr || malformed_) over_ = true;
  if (malformed_) context_.TryCancel();
  if (!over_) return Read();
  FinishIfIdle();
}

void GrpcStream::Abandon() {
  owner_ = nullptr;
  over_ = true;
  context_.TryCancel();
  // Whatever is given to gRPC comes back now; the last of it finishes.
}

void GrpcStream::FinishIfIdle() {
  if (!over_ || reading_ || writing_) return;
  begun_ = false;
  call_->Finish(&status_, &finished_);
}

void GrpcStream::Finished(bool) {
  if (owner_ != nullptr) {
    if (malformed_) {
      status_ =
          ::grpc::Status(::grpc::StatusCode::INTERNAL, "the server does not keep to the protocol");
    }
    owner_->OnBroken(*this, status_);
  }
  delete this;
}

}  // namespace internal
SLUICE_SDK_END
