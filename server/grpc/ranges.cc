// SPDX-License-Identifier: Apache-2.0
// GetBlockStatus and VerifyRange: a range told piece by piece, the next piece begun when the one
// before was taken.
#include <algorithm>
#include <utility>

#include "core/units.h"
#include "server/grpc/call.h"
#include "server/grpc/convert.h"
#include "server/grpc/status.h"
#include "server/nbd/extents.h"

namespace sluice::rpc {
namespace {

constexpr uint32_t kExtentsMax = 1024;  // of one message
constexpr uint64_t kPieceMax = kGiB;    // looked at for one message
constexpr uint32_t kChunkDefault = 64 * kKiB;
constexpr uint32_t kChunksAtOnce = 16;

using Service = v1::BlockService::AsyncService;

// One call. Next() runs on the session's reactor and ends in Tell() or Close(), then or later.
template <typename Request, typename Response>
class RangeCall : public Call, public std::enable_shared_from_this<RangeCall<Request, Response>> {
 public:
  using Ask = void (Service::*)(::grpc::ServerContext*, Request*,
                                ::grpc::ServerAsyncWriter<Response>*, ::grpc::CompletionQueue*,
                                ::grpc::ServerCompletionQueue*, void*);
  RangeCall(Host& host, Quota& quota, ::grpc::ServerCompletionQueue& cq)
      : Call(host, quota),
        cq_(cq),
        writer_(&context_),
        asked_(*this, &RangeCall::Asked),
        write_(*this, &RangeCall::Told),
        finish_(*this, &RangeCall::Ended) {}

 protected:
  void Await(Ask ask) {
    (host_.block.*ask)(&context_, &request_, &writer_, &cq_, &cq_, asked_.Give());
  }

  // Makes a call of the same kind wait for its client.
  virtual void StartAnother() = 0;
  virtual Reason Check() = 0;  // of the request alone
  virtual void Next() = 0;

  void Tell() { writer_.Write(response_, write_.Lend()); }
  void Close(const ::grpc::Status& status) { writer_.Finish(status, finish_.Lend()); }

  ::grpc::ServerCompletionQueue& cq_;
  ::grpc::ServerContext context_;
  ::grpc::ServerAsyncWriter<Response> writer_;
  Request request_;
  Response response_;
  std::shared_ptr<Session> session_;
  uint64_t at_ = 0;   // where the next piece begins
  uint64_t end_ = 0;  // of the range

 private:
  void Asked(bool ok) {
    if (!ok) return;  // the door closes
    StartAnother();
    if (const ::grpc::Status refused = Enter(context_); !refused.ok()) return Close(refused);
    Go();
  }
  // The session is looked up before each piece, so that one that is fenced tells no more.
  void Go() {
    if (host_.draining.load()) return Close(StatusOf(Reason::kDraining));
    auto found = host_.registry.Find(request_.session_id(), request_.epoch());
    if (found.refused != Reason::kNone) return Close(StatusOf(found.refused));
    const bool first = session_ == nullptr;
    session_ = std::move(found.session);
    if (first) {
      const Reason wrong = Begin();
      if (wrong != Reason::kNone) return Close(StatusOf(wrong));
    }
    if (at_ == end_) return Close(::grpc::Status::OK);
    session_->reactor().Post([self = this->shared_from_this()] { self->Next(); });
  }
  Reason Begin() {
    const std::shared_ptr<const Export> keep = session_->exported();
    const Export& exported = *keep;
    at_ = request_.offset_bytes();
    if (at_ > exported.size_bytes) return Reason::kOutOfBounds;
    const uint64_t length =
        request_.length_bytes() != 0 ? request_.length_bytes() : exported.size_bytes - at_;
    if (!InRange(at_, length, exported.size_bytes)) return Reason::kOutOfBounds;
    if (!IsAligned(at_ | length, exported.min_block_bytes)) return Reason::kBadRequest;
    end_ = at_ + length;
    return Check();
  }
  void Told(bool ok) {
    if (!ok) return Close(::grpc::Status::CANCELLED);
    Go();
  }
  void Ended(bool) {}

  Step<RangeCall> asked_, write_, finish_;
};

class StatusCall final : public RangeCall<v1::GetBlockStatusRequest, v1::GetBlockStatusResponse> {
 public:
  using RangeCall::RangeCall;
  void Start() { Await(&Service::RequestGetBlockStatus); }

 private:
  void StartAnother() override { std::make_shared<StatusCall>(host_, quota_, cq_)->Start(); }
  Reason Check() override { return Reason::kNone; }

  void Next() override {
    keep_ = shared_from_this();
    query_.offset = at_;
    query_.length = std::min(end_ - at_, kPieceMax);
    query_.extents_max = kExtentsMax;
    query_.extents.clear();
    query_.error = 0;
    query_.context = this;
    query_.done = [](ExtentQuery& query) noexcept {
      static_cast<StatusCall*>(query.context)->OnExtents();
    };
    exported_ = session_->exported();
    exported_->target->QueryExtents(query_);
  }

  void OnExtents() {
    const auto keep = std::move(keep_);
    if (query_.error != 0) return Close(StatusOf(ReasonOf(query_.error), query_.error));
    const auto length = static_cast<uint32_t>(query_.length);
    std::vector<nbd::StatusExtent> extents;
    nbd::ToStatus(query_.extents, {at_, length, exported_->min_block_bytes, kExtentsMax}, extents);
    // What is not known to be a hole is data: a safe answer, never an empty one.
    if (extents.empty()) extents.push_back({length, 0});
    response_.Clear();
    for (const nbd::StatusExtent& extent : extents) {
      v1::BlockExtent& to = *response_.add_extents();
      to.set_offset_bytes(at_);
      to.set_length_bytes(extent.length);
      to.set_hole((extent.status & nbd::kStateHole) != 0);
      to.set_zero((extent.status & nbd::kStateZero) != 0);
      at_ += extent.length;
    }
    response_.set_next_offset_bytes(at_);
    Tell();
  }

  ExtentQuery query_;
  std::shared_ptr<const Export> exported_;  // of which the query asks
  std::shared_ptr<RangeCall> keep_;         // this, while the query is under way
};

class VerifyCall final : public RangeCall<v1::VerifyRangeRequest, v1::VerifyRangeResponse>,
                         private Party {
 public:
  using RangeCall::RangeCall;
  void Start() { Await(&Service::RequestVerifyRange); }

 private:
  void StartAnother() override { std::make_shared<VerifyCall>(host_, quota_, cq_)->Start(); }

  Reason Check() override {
    chunk_ = request_.chunk_bytes() != 0 ? request_.chunk_bytes() : kChunkDefault;
    const bool good = IsPowerOfTwo(chunk_) && chunk_ <= Session::kDataMax &&
                      chunk_ >= session_->exported()->min_block_bytes;
    return good ? Reason::kNone : Reason::kBadRequest;
  }

  void Next() override {
    keep_ = shared_from_this();
    response_.Clear();
    reads_.clear();
    while (at_ < end_ && reads_.size() < kChunksAtOnce) {
      OpRequest& read = reads_.emplace_back();
      read.op_id = reads_.size();
      read.unnumbered = true;
      read.offset = at_;
      read.length = std::min<uint64_t>(chunk_, end_ - at_);
      v1::VerifiedChunk& chunk = *response_.add_chunks();
      chunk.set_offset_bytes(at_);
      chunk.set_length_bytes(static_cast<uint32_t>(read.length));
      at_ += read.length;
    }
    unread_ = reads_.size();
    taken_ = false;
    session_->Submit(*this, reads_);
  }

  void OnResult(const OpResult& result, const Bio* data) noexcept override {
    v1::VerifiedChunk& chunk = *response_.mutable_chunks(static_cast<int>(result.op_id - 1));
    chunk.set_reason(static_cast<v1::ErrorReason>(result.reason));
    chunk.set_errno_code(static_cast<uint32_t>(result.error));
    if (data != nullptr) {
      scratch_.clear();
      chunk.set_crc32c(AppendData(*data, scratch_));
    }
    --unread_;
    TellIfRead();
  }
  void OnTaken() noexcept override {
    taken_ = true;
    TellIfRead();
  }
  void OnClosed(Reason why) noexcept override {
    LetGo();
    Close(StatusOf(why));
  }
  void TellIfRead() {
    if (unread_ > 0 || !taken_) return;
    LetGo();
    Tell();
  }
  // The session still runs the call that led here: this stays until that is over.
  void LetGo() {
    session_->reactor().Post([keep = std::move(keep_)] {});
  }

  uint32_t chunk_ = 0;
  std::vector<OpRequest> reads_;
  size_t unread_ = 0;
  bool taken_ = false;
  std::string scratch_;
  std::shared_ptr<RangeCall> keep_;  // this, while the session has the reads
};

}  // namespace

void AwaitRanges(Host& host, ::grpc::ServerCompletionQueue& cq) {
  std::make_shared<StatusCall>(host, host.others.emplace_back(kLongCalls), cq)->Start();
  std::make_shared<VerifyCall>(host, host.others.emplace_back(kLongCalls), cq)->Start();
}

}  // namespace sluice::rpc
