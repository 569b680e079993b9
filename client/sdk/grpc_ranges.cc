// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_ranges.h"

#include <algorithm>
#include <utility>

#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr size_t kMaxCalls = 4;
constexpr uint32_t kMaxAttempts = 5;  // of an op that is lost on the way
// More are no answer to what was asked for, but an attack on our memory.
constexpr size_t kMaxExtents = size_t{8} << 20;

Failure TakeExtents(const v1::GetBlockStatusResponse& message, Op& op) {
  for (const v1::BlockExtent& extent : message.extents()) {
    const uint64_t left = op.length - op.covered;
    if (extent.offset_bytes() != op.offset + op.covered || extent.length_bytes() == 0 ||
        extent.length_bytes() > left || op.extents->size() >= kMaxExtents) {
      return {v1::ERROR_REASON_UNSPECIFIED,
              Status(StatusCode::kProtocolError, "the server's extents do not join")};
    }
    op.extents->push_back(
        {extent.offset_bytes(), extent.length_bytes(), extent.hole(), extent.zero()});
    op.covered += static_cast<uint32_t>(extent.length_bytes());
  }
  return {};
}

Failure TakeChunks(const v1::VerifyRangeResponse& message, Op& op) {
  for (const v1::VerifiedChunk& chunk : message.chunks()) {
    const uint32_t length = std::min(op.chunk_bytes, op.length - op.covered);
    if (chunk.offset_bytes() != op.offset + op.covered || chunk.length_bytes() != length ||
        length == 0) {
      return {v1::ERROR_REASON_UNSPECIFIED,
              Status(StatusCode::kProtocolError, "the server's chunks do not join")};
    }
    Status status;
    if (chunk.reason() != v1::ERROR_REASON_UNSPECIFIED) status = StatusOf(chunk.reason(), op);
    // That is about the server, not about the chunk.
    if (chunk.reason() == v1::ERROR_REASON_DRAINING) return {chunk.reason(), status};
    op.checksums->push_back({chunk.offset_bytes(), length, chunk.crc32c(), std::move(status)});
    op.covered += length;
  }
  return {};
}

}  // namespace

void GrpcRanges::Ask() {
  while (!draining_ && !waiting_.empty() && calls_.size() < kMaxCalls) {
    Op& op = *waiting_.front();
    waiting_.pop_front();
    op.covered = 0;
    calls_.push_back(Start(op));
  }
}

template <typename Request>
Request GrpcRanges::About(const Op& op) const {
  Request request;
  request.set_session_id(session_.id());
  request.set_epoch(session_.epoch());
  request.set_offset_bytes(op.offset);
  request.set_length_bytes(op.length);
  return request;
}

RangeCall* GrpcRanges::Start(Op& op) {
  if (op.kind == OpKind::kChecksums) {
    auto request = About<v1::VerifyRangeRequest>(op);
    request.set_chunk_bytes(op.chunk_bytes);
    return RangeCallOf<v1::VerifyRangeResponse>::Start(
        loop_, *this, op, TakeChunks, [&](auto* context, auto* queue, auto* tag) {
          return session_.stub().AsyncVerifyRange(context, request, queue, tag);
        });
  }
  const auto request = About<v1::GetBlockStatusRequest>(op);
  return RangeCallOf<v1::GetBlockStatusResponse>::Start(
      loop_, *this, op, TakeExtents, [&](auto* context, auto* queue, auto* tag) {
        return session_.stub().AsyncGetBlockStatus(context, request, queue, tag);
      });
}

void GrpcRanges::OnEnd(RangeCall& call, Op& op, const Failure& failure) {
  std::erase(calls_, &call);
  const bool nonsense = failure.status.code() == StatusCode::kProtocolError;
  if (op.covered > 0 && !nonsense) return op.owner->OnEnd(op, {});
  const bool lost = failure.reason == v1::ERROR_REASON_UNSPECIFIED &&
                    failure.status.code() == StatusCode::kUnavailable;
  if (failure.status.ok()) {
    op.owner->OnEnd(op, Status(StatusCode::kProtocolError, "the server tells nothing of a range"));
  } else if (failure.reason == v1::ERROR_REASON_DRAINING) {
    draining_ = true;
    waiting_.push_front(&op);
  } else if (failure.reason == v1::ERROR_REASON_SESSION_LOST || lost) {
    Retry(op, failure.status);
  } else {
    op.owner->OnEnd(op, failure.status);
  }
}

void GrpcRanges::Retry(Op& op, const Status& why) {
  if (++op.attempts < kMaxAttempts) {
    waiting_.push_back(&op);
  } else {
    op.owner->OnEnd(op, why);
  }
}

void GrpcRanges::OnLost() {
  for (RangeCall* call : std::exchange(calls_, {})) {
    Op& op = call->Abandon();
    if (op.covered > 0) {
      op.owner->OnEnd(op, {});
    } else {
      waiting_.push_front(&op);
    }
  }
}

std::vector<Op*> GrpcRanges::TakeAll() {
  std::vector<Op*> ops(waiting_.begin(), waiting_.end());
  waiting_.clear();
  for (RangeCall* call : std::exchange(calls_, {})) ops.push_back(&call->Abandon());
  return ops;
}

uint64_t GrpcRanges::DueNs(const RangeCall& call) const {
  return call.heard_ns() + reply_timeout_ms_ * kMillisecond;
}

void GrpcRanges::OnTick(uint64_t now_ns) {
  if (now_ns < next_tick_ns()) return;
  const Status why(StatusCode::kUnavailable, "the server is silent though answers are due");
  std::vector<Op*> silent;
  std::erase_if(calls_, [&](RangeCall* call) {
    if (now_ns < DueNs(*call)) return false;
    silent.push_back(&call->Abandon());
    return true;
  });
  for (Op* op : silent) {
    if (op->covered > 0) {
      op->owner->OnEnd(*op, {});
    } else {
      Retry(*op, why);
    }
  }
  session_.Break(why.message());
}

uint64_t GrpcRanges::next_tick_ns() const {
  uint64_t next_ns = UINT64_MAX;
  if (reply_timeout_ms_ == 0) return next_ns;
  for (const RangeCall* call : calls_) next_ns = std::min(next_ns, DueNs(*call));
  return next_ns;
}

}  // namespace internal
SLUICE_SDK_END
