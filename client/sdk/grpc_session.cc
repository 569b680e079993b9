// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_session.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr uint64_t kFirstPauseMs = 10;
constexpr uint64_t kLongestPauseMs = 1000;
constexpr uint64_t kCloseTimeoutMs = 5000;

v1::AccessMode ModeOf(Access access) {
  switch (access) {
    case Access::kReadWrite:
      return v1::ACCESS_MODE_READ_WRITE;
    case Access::kReadOnly:
      return v1::ACCESS_MODE_READ_ONLY;
    case Access::kShared:
      return v1::ACCESS_MODE_READ_WRITE_SHARED;
  }
  SLUICE_CHECK(false);
}

// Whether asking once more may help.
bool MayPass(v1::ErrorReason reason) {
  return reason == v1::ERROR_REASON_UNSPECIFIED || reason == v1::ERROR_REASON_DRAINING ||
         reason == v1::ERROR_REASON_OVERLOADED || reason == v1::ERROR_REASON_NO_MEMORY ||
         reason == v1::ERROR_REASON_IO_ERROR;
}

}  // namespace

GrpcSession::GrpcSession(GrpcLoop& loop, Owner& owner, SluiceUri uri, const Options& options,
                         std::vector<std::shared_ptr<::grpc::Channel>> channels)
    : loop_(loop),
      owner_(owner),
      uri_(std::move(uri)),
      options_(options),
      channels_(std::move(channels)),
      stub_(v1::BlockService::NewStub(channels_.front())) {}

GrpcSession::~GrpcSession() { SLUICE_CHECK(state_ == State::kNone || state_ == State::kClosed); }

void GrpcSession::Open() {
  state_ = State::kOpening;
  asked_ns_ = MonotonicNs();
  v1::OpenVolumeRequest request;
  request.set_export_name(uri_.export_name);
  request.set_access_mode(ModeOf(options_.access));
  request.set_client_id(options_.client_id);
  request.set_instance_id(options_.instance_id);
  // To go on where the only writer was, nobody may have written since. Others need not know.
  if (ever_ && options_.access == Access::kReadWrite) request.set_epoch(epoch_);
  request.set_force(options_.force && !ever_);
  opening_ = UnaryCall<v1::OpenVolumeResponse>::Start(
      loop_, std::max<uint64_t>((AttemptEndNs() - asked_ns_) / kMillisecond, 1),
      [&](auto* context, auto* queue) { return stub_->AsyncOpenVolume(context, request, queue); },
      [this](const ::grpc::Status& status, const v1::OpenVolumeResponse& answer) {
        opening_ = nullptr;
        OnAnswer(status, answer);
      });
}

void GrpcSession::OnAnswer(const ::grpc::Status& status, const v1::OpenVolumeResponse& answer) {
  if (!status.ok()) {
    const Failure failure = FailureOf(status);
    if (!ever_) return Fail(failure.status);
    if (failure.reason == v1::ERROR_REASON_STALE_EPOCH ||
        failure.reason == v1::ERROR_REASON_MOUNT_CONFLICT) {
      return Fail(Status(StatusCode::kFenced, failure.status.message()));
    }
    return MayPass(failure.reason) ? Lose(failure) : Fail(failure.status);
  }
  id_ = answer.session_id();
  epoch_ = answer.epoch();
  lease_ms_ = answer.lease_ms();
  attach_seq_ = 0;
  has_session_ = true;
  const bool again = std::exchange(ever_, true);
  if (!again) {
    const size_t most = std::max<size_t>(answer.limits().max_streams(), 1);
    lanes_.resize(std::min(most, channels_.size()));
  }
  if (Status refused = owner_.OnOpened(answer, again); !refused.ok()) return Fail(refused);
  owner_.OnEvent(Event::kAttached, "epoch " + std::to_string(epoch_));
  if (state_ == State::kOpening) Attach();
}

void GrpcSession::Attach() {
  state_ = State::kAttaching;
  asked_ns_ = MonotonicNs();
  v1::IoAttach attach;
  attach.set_session_id(id_);
  attach.set_epoch(epoch_);
  attach.set_attach_seq(++attach_seq_);
  GrpcStream::Owner& owner = *this;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    lanes_[i] = {GrpcStream::Start(loop_, channels_[i], attach, owner), false, {}};
  }
}

void GrpcSession::OnMessage(GrpcStream& stream, IoReply& reply) {
  Lane& lane = *std::find_if(lanes_.begin(), lanes_.end(),
                             [&](const Lane& l) { return l.stream == &stream; });
  if (!lane.attached) return OnLaneAttached(lane, reply);
  if (Holds()) owner_.OnMessage(static_cast<size_t>(&lane - lanes_.data()), reply);
}

bool GrpcSession::Holds() {
  if (state_ != State::kUp) return false;
  if (MonotonicNs() < lease_end_ns_) return true;
  LoseLease();
  return false;
}

void GrpcSession::OnLaneAttached(Lane& lane, IoReply& reply) {
  if (!reply.has_attached()) return Break("the server does not answer an attach");
  const bool first =
      std::none_of(lanes_.begin(), lanes_.end(), [](const Lane& other) { return other.attached; });
  lane.attached = true;
  lane.credits = reply.attached().credits();
  if (first) attached_.Swap(&reply.attached());
  if (!std::all_of(lanes_.begin(), lanes_.end(), [](const Lane& l) { return l.attached; })) return;
  Renew(asked_ns_);
  // So late that the lease may be over again.
  if (MonotonicNs() >= lease_end_ns_) return Break("the server answers an attach too late");
  state_ = State::kUp;
  owner_.OnAttached(attached_);
}

void GrpcSession::OnBroken(GrpcStream& stream, const ::grpc::Status& why) {
  for (Lane& lane : lanes_) {
    if (lane.stream == &stream) lane.stream = nullptr;
  }
  Lose(FailureOf(why));
}

void GrpcSession::Break(const std::string& why) {
  Lose({v1::ERROR_REASON_UNSPECIFIED, Status(StatusCode::kUnavailable, why)});
}

void GrpcSession::Renew(uint64_t asked_ns) {
  const uint64_t lease_ns = lease_ms_ * kMillisecond;
  lease_end_ns_ = asked_ns + lease_ns - lease_ns / 8;
  keep_ns_ = asked_ns + lease_ns / 3;
}

void GrpcSession::KeepAlive(uint64_t now_ns) {
  v1::KeepAliveRequest request;
  request.set_session_id(id_);
  request.set_epoch(epoch_);
  keep_ns_ = now_ns + lease_ms_ * kMillisecond / 8;  // unless it is answered
  keeping_ = UnaryCall<v1::KeepAliveResponse>::Start(
      loop_, std::max<uint64_t>(lease_ms_ / 4, 1),
      [&](auto* context, auto* queue) { return stub_->AsyncKeepAlive(context, request, queue); },
      [this, now_ns](const ::grpc::Status& status, const v1::KeepAliveResponse& answer) {
        keeping_ = nullptr;
        if (status.ok()) {
          lease_ms_ = answer.lease_ms();
          pause_ms_ = 0;  // it has been up for a while
          return Renew(now_ns);
        }
        const Failure failure = FailureOf(status);
        if (failure.reason == v1::ERROR_REASON_STALE_EPOCH ||
            failure.reason == v1::ERROR_REASON_SESSION_LOST) {
          Lose(failure);
        }
      });
}

void GrpcSession::LoseLease() {
  owner_.OnEvent(Event::kLeaseLost, "the server was silent for as long as the lease runs");
  Break("the server was silent for as long as the lease runs");
}

void GrpcSession::Lose(const Failure& failure) {
  if (state_ == State::kFailed || state_ == State::kClosed) return;
  const bool was_up = state_ == State::kUp;
  Drop();
  if (failure.reason == v1::ERROR_REASON_STALE_EPOCH) return Fail(failure.status);
  if (failure.reason == v1::ERROR_REASON_SESSION_LOST) has_session_ = false;
  const uint64_t now_ns = MonotonicNs();
  if (trouble_since_ns_ == 0) {
    trouble_since_ns_ = now_ns;
  } else if (now_ns - trouble_since_ns_ >= options_.reconnect_ms * kMillisecond) {
    return Fail(failure.status);
  }
  if (options_.reconnect_ms == 0) return Fail(failure.status);
  state_ = State::kPausing;
  retry_ns_ = now_ns + pause_ms_ * kMillisecond;
  pause_ms_ = std::min(std::max(2 * pause_ms_, kFirstPauseMs), kLongestPauseMs);
  if (was_up) owner_.OnLost(failure.status);
}

void GrpcSession::Fail(const Status& why) {
  Drop();
  state_ = State::kFailed;
  if (why.code() == StatusCode::kFenced) has_session_ = false;
  owner_.OnFailed(why);
}

void GrpcSession::Drop() {
  for (Lane& lane : lanes_) {
    if (lane.stream != nullptr) std::exchange(lane.stream, nullptr)->Abandon();
    lane.attached = false;
  }
  for (PendingCall** call : {&opening_, &keeping_}) {
    if (*call != nullptr) std::exchange(*call, nullptr)->Abandon();
  }
}

void GrpcSession::Close() {
  Drop();
  state_ = State::kClosed;
  if (!std::exchange(has_session_, false)) return;
  v1::CloseVolumeRequest request;
  request.set_session_id(id_);
  request.set_epoch(epoch_);
  UnaryCall<v1::CloseVolumeResponse>::Start(
      loop_, kCloseTimeoutMs,
      [&](auto* context, auto* queue) { return stub_->AsyncCloseVolume(context, request, queue); },
      nullptr);
}

void GrpcSession::OnTick(uint64_t now_ns) {
  if (now_ns < next_tick_ns()) return;
  switch (state_) {
    case State::kAttaching:
      return Break("the server does not attach in time");
    case State::kPausing:
      return has_session_ ? Attach() : Open();
    case State::kUp:
      if (now_ns >= lease_end_ns_) return LoseLease();
      return KeepAlive(now_ns);
    default:
      return;
  }
}

uint64_t GrpcSession::AttemptEndNs() const {
  const uint64_t step_ns = asked_ns_ + options_.connect_timeout_ms * kMillisecond;
  if (trouble_since_ns_ == 0) return step_ns;
  const uint64_t given_up_ns = trouble_since_ns_ + options_.reconnect_ms * kMillisecond;
  return std::clamp(given_up_ns, asked_ns_, step_ns);
}

uint64_t GrpcSession::next_tick_ns() const {
  switch (state_) {
    case State::kAttaching:
      return AttemptEndNs();
    case State::kPausing:
      return retry_ns_;
    case State::kUp:
      return keeping_ != nullptr ? lease_end_ns_ : std::min(lease_end_ns_, keep_ns_);
    default:
      return UINT64_MAX;
  }
}

}  // namespace internal
SLUICE_SDK_END
