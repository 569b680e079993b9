// SPDX-License-Identifier: Apache-2.0
// The unary calls of BlockService: opening and closing sessions, and single ops in them.
#include <utility>

#include "absl/strings/string_view.h"
#include "core/units.h"
#include "server/crc32c.h"
#include "server/grpc/call.h"
#include "server/grpc/convert.h"
#include "server/grpc/status.h"
#include "server/grpc/unary.h"
#include "server/text.h"

namespace sluice::rpc {
namespace {

constexpr size_t kIdMax = 128;  // client_id and instance_id, bytes

using Service = v1::BlockService::AsyncService;

template <typename Request, typename Response>
using BlockCall = Unary<Service, Request, Response>;
template <typename Request, typename Response>
using UnaryPtr = std::shared_ptr<BlockCall<Request, Response>>;

// --- sessions ---

bool IsId(const std::string& text) { return text.size() <= kIdMax && IsPlainText(text); }

void HandleOpen(UnaryPtr<v1::OpenVolumeRequest, v1::OpenVolumeResponse> call) {
  const v1::OpenVolumeRequest& from = call->request;
  const bool known = from.access_mode() == v1::ACCESS_MODE_READ_ONLY ||
                     from.access_mode() == v1::ACCESS_MODE_READ_WRITE ||
                     from.access_mode() == v1::ACCESS_MODE_READ_WRITE_SHARED;
  if (!known || from.client_id().empty() || !IsId(from.client_id()) || !IsId(from.instance_id())) {
    return call->Fail(StatusOf(Reason::kBadRequest));
  }
  OpenAsk ask;
  ask.export_name = from.export_name();
  ask.mode = static_cast<Mode>(from.access_mode());
  ask.client_id = from.client_id();
  ask.instance_id = from.instance_id();
  Caller caller = call->host().callers.Find(call->peer());
  ask.identity = std::move(caller.identity);
  ask.peer = std::move(caller.text);
  ask.epoch = from.epoch();
  ask.force = from.force();
  call->host().here.Post([call, ask = std::move(ask)]() mutable {
    call->host().registry.Open(std::move(ask), [call](const OpenAnswer& answer) {
      if (answer.refused != Reason::kNone) {
        return call->Fail(StatusOf(answer, call->request.export_name()));
      }
      v1::OpenVolumeResponse& to = call->response;
      to.set_session_id(answer.session_id);
      to.set_epoch(answer.epoch);
      to.set_lease_ms(answer.lease_ms);
      Describe(*answer.exported, *to.mutable_geometry());
      v1::SessionLimits& limits = *to.mutable_limits();
      limits.set_max_inflight_ops(kStreamOps);
      limits.set_max_inflight_bytes(kStreamBytes);
      limits.set_max_op_bytes(Session::kDataMax);
      limits.set_max_effect_bytes(Session::kEffectMax);
      limits.set_max_ops_per_message(kOpsPerMessage);
      limits.set_max_message_bytes(kMessageMax);
      limits.set_dedup_window_ops(SessionOptions().window);
      limits.set_max_streams(SessionOptions().streams_max);
      call->Answer();
    });
  });
}

void HandleKeepAlive(UnaryPtr<v1::KeepAliveRequest, v1::KeepAliveResponse> call) {
  call->host().here.Post([call] {
    call->host().registry.KeepAlive(call->request.session_id(), call->request.epoch(),
                                    [call](Reason reason, uint64_t ms) {
                                      if (reason != Reason::kNone)
                                        return call->Fail(StatusOf(reason));
                                      call->response.set_lease_ms(ms);
                                      call->Answer();
                                    });
  });
}

void HandleClose(UnaryPtr<v1::CloseVolumeRequest, v1::CloseVolumeResponse> call) {
  call->host().here.Post([call] {
    call->host().registry.Close(call->request.session_id(), call->request.epoch(),
                                [call](Reason reason) {
                                  if (reason != Reason::kNone) return call->Fail(StatusOf(reason));
                                  call->Answer();
                                });
  });
}

// --- single ops ---

// Gives one op to its session and answers the call with what came of it, or lets go of both when
// the client has gone: what is begun goes on, and its drive may hang for ever. Its own keeper until
// the session is done with it.
template <typename Request, typename Response>
class SingleOp final : private Party,
                       public std::enable_shared_from_this<SingleOp<Request, Response>> {
 public:
  using CallPtr = UnaryPtr<Request, Response>;

  static void Run(CallPtr call, const OpRequest& op) {
    auto found = call->host().registry.Find(call->request.session_id(), call->request.epoch());
    if (found.refused != Reason::kNone) return call->Fail(StatusOf(found.refused));
    Reactor& home = found.session->reactor();
    auto single = std::make_shared<SingleOp>(call, std::move(found.session), op);
    home.Post([single] {
      single->keep_ = single;
      single->session_->Submit(*single, std::span(&single->op_, 1));
    });
    call->WhenGone([&home, weak = std::weak_ptr<SingleOp>(single)] {
      home.Post([weak] {
        if (const auto left = weak.lock()) left->LetGo();
      });
    });
  }

  // For Run() alone.
  SingleOp(CallPtr call, std::shared_ptr<Session> session, const OpRequest& op)
      : call_(std::move(call)), session_(std::move(session)), op_(op) {}

 private:
  void OnResult(const OpResult& result, const Bio* data) noexcept override {
    if (result.reason != Reason::kNone) {
      call_->Fail(StatusOf(result, op_.offset, op_.length));
    } else {
      if constexpr (std::is_same_v<Response, v1::ReadResponse>) {
        if (data != nullptr) {
          call_->response.set_crc32c(AppendData(*data, *call_->response.mutable_data()));
        }
      }
      call_->Answer();
    }
    call_ = nullptr;
    LeaveIfOver();
  }
  void OnTaken() noexcept override {
    taken_ = true;
    LeaveIfOver();
  }
  void OnClosed(Reason why) noexcept override {
    if (call_ != nullptr) call_->Fail(StatusOf(why));
    call_ = nullptr;
    taken_ = true;
    LeaveIfOver();
  }
  // Its client has gone.
  void LetGo() {
    if (call_ == nullptr) return;
    session_->Detach(*this);
    OnClosed(Reason::kCancelled);
  }
  // The session still runs the call that led here: it is let go of in a later one.
  void LeaveIfOver() {
    if (!taken_ || call_ != nullptr) return;
    session_->reactor().Post([keep = std::move(keep_)] {});
  }

  CallPtr call_;
  const std::shared_ptr<Session> session_;
  OpRequest op_;
  bool taken_ = false;
  std::shared_ptr<SingleOp> keep_;  // this, while the session knows it
};

template <typename Request, typename Response>
OpRequest OpOf(const BlockCall<Request, Response>& call, Op kind, uint64_t length) {
  OpRequest op;
  op.op_id = call.request.op_id();
  op.op = kind;
  op.length = length;
  if constexpr (!std::is_same_v<Request, v1::FlushRequest>) {
    op.offset = call.request.offset_bytes();
  }
  return op;
}

void HandleRead(UnaryPtr<v1::ReadRequest, v1::ReadResponse> call) {
  const OpRequest op = OpOf(*call, Op::kRead, call->request.length_bytes());
  SingleOp<v1::ReadRequest, v1::ReadResponse>::Run(std::move(call), op);
}

void HandleWrite(UnaryPtr<v1::WriteRequest, v1::WriteResponse> call) {
  const v1::WriteRequest& from = call->request;
  OpRequest op = OpOf(*call, Op::kWrite, from.data().size());
  op.data = from.data().data();
  if (!ToFlags(from.flags(), op.op, op.flags)) {
    op.refused = Reason::kBadRequest;
  } else if (from.has_crc32c() && Crc32c(op.data, op.length) != from.crc32c()) {
    op.refused = Reason::kChecksumMismatch;
  }
  SingleOp<v1::WriteRequest, v1::WriteResponse>::Run(std::move(call), op);
}

// WriteZeroes and Discard.
template <Op kKind, typename Request, typename Response>
void HandleEffect(UnaryPtr<Request, Response> call) {
  OpRequest op = OpOf(*call, kKind, call->request.length_bytes());
  if (!ToFlags(call->request.flags(), kKind, op.flags)) op.refused = Reason::kBadRequest;
  SingleOp<Request, Response>::Run(std::move(call), op);
}

void HandleFlush(UnaryPtr<v1::FlushRequest, v1::FlushResponse> call) {
  const OpRequest op = OpOf(*call, Op::kFlush, 0);
  SingleOp<v1::FlushRequest, v1::FlushResponse>::Run(std::move(call), op);
}

// What every call of the block service passes first.
template <typename Request, typename Response, void (*kHandler)(UnaryPtr<Request, Response>)>
void Admit(UnaryPtr<Request, Response> call) {
  if (call->host().draining.load()) return call->Fail(StatusOf(Reason::kDraining));
  kHandler(std::move(call));
}

template <typename Request, typename Response, void (*kHandler)(UnaryPtr<Request, Response>)>
void Await(Host& host, ::grpc::ServerCompletionQueue& cq,
           typename BlockCall<Request, Response>::Ask ask) {
  AwaitCall<BlockCall<Request, Response>>(host, cq, host.block, ask,
                                          Admit<Request, Response, kHandler>);
}

}  // namespace

void AwaitUnary(Host& host, ::grpc::ServerCompletionQueue& cq) {
  Await<v1::OpenVolumeRequest, v1::OpenVolumeResponse, HandleOpen>(host, cq,
                                                                   &Service::RequestOpenVolume);
  Await<v1::KeepAliveRequest, v1::KeepAliveResponse, HandleKeepAlive>(host, cq,
                                                                      &Service::RequestKeepAlive);
  Await<v1::CloseVolumeRequest, v1::CloseVolumeResponse, HandleClose>(host, cq,
                                                                      &Service::RequestCloseVolume);
  Await<v1::ReadRequest, v1::ReadResponse, HandleRead>(host, cq, &Service::RequestRead);
  Await<v1::WriteRequest, v1::WriteResponse, HandleWrite>(host, cq, &Service::RequestWrite);
  Await<v1::WriteZeroesRequest, v1::WriteZeroesResponse, HandleEffect<Op::kZero>>(
      host, cq, &Service::RequestWriteZeroes);
  Await<v1::DiscardRequest, v1::DiscardResponse, HandleEffect<Op::kTrim>>(host, cq,
                                                                          &Service::RequestDiscard);
  Await<v1::FlushRequest, v1::FlushResponse, HandleFlush>(host, cq, &Service::RequestFlush);
}

}  // namespace sluice::rpc
