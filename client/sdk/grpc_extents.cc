// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_extents.h"

#include <utility>

SLUICE_SDK_BEGIN
namespace internal {
namespace {

// More are no answer to what was asked for, but an attack on our memory.
constexpr size_t kMaxExtents = size_t{8} << 20;

}  // namespace

GrpcExtents* GrpcExtents::Start(GrpcLoop& loop, v1::BlockService::Stub& stub,
                                const v1::GetBlockStatusRequest& request, Op& op, Done done) {
  auto* const call = new GrpcExtents(loop, op, std::move(done));
  call->reader_ =
      stub.AsyncGetBlockStatus(&call->context_, request, &loop.queue(), static_cast<Tag*>(call));
  return call;
}

Op& GrpcExtents::Abandon() {
  done_ = nullptr;
  context_.TryCancel();
  return op_;
}

bool GrpcExtents::Take(const v1::GetBlockStatusResponse& message) {
  std::vector<Extent>& extents = *op_.extents;
  for (const v1::BlockExtent& extent : message.extents()) {
    const uint64_t left = op_.length - op_.covered;
    if (extent.offset_bytes() != op_.offset + op_.covered || extent.length_bytes() == 0 ||
        extent.length_bytes() > left || extents.size() >= kMaxExtents) {
      return false;
    }
    extents.push_back({extent.offset_bytes(), extent.length_bytes(), extent.hole(), extent.zero()});
    op_.covered += static_cast<uint32_t>(extent.length_bytes());
  }
  return true;
}

void GrpcExtents::Proceed(bool ok) {
  if (step_ == Step::kFinishing) {
    const std::unique_ptr<GrpcExtents> self(this);
    if (malformed_) status_ = {::grpc::StatusCode::INTERNAL, "the extents do not join"};
    if (done_) done_(*this, op_, status_);
    return;
  }
  if (ok && done_ && step_ == Step::kReading) malformed_ = !Take(message_);
  if (ok && done_ && !malformed_) {
    step_ = Step::kReading;
    reader_->Read(&message_, static_cast<Tag*>(this));
    return;
  }
  if (malformed_) context_.TryCancel();
  step_ = Step::kFinishing;
  reader_->Finish(&status_, static_cast<Tag*>(this));
}

}  // namespace internal
SLUICE_SDK_END
