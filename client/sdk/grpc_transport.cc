// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_transport.h"

#include <algorithm>
#include <semaphore>
#include <utility>

#include "client/sdk/grpc_channel.h"
#include "core/check.h"
#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

// A message is closed when it holds so much: larger ones bring nothing but waiting.
constexpr uint64_t kMessageBytes = 128 * kKiB;
constexpr uint64_t kHeadRoom = 128 * kKiB;  // of a message, for what is not data
constexpr uint32_t kMaxEffectBytes = 1u << 30;
constexpr uint32_t kMaxRangeBytes = 1u << 30;  // what is asked about at once
constexpr uint32_t kMaxAttempts = 5;           // of an op that is damaged or lost on the way

uint64_t DataBytes(const Op& op) {
  return op.kind == OpKind::kRead || op.kind == OpKind::kWrite ? op.length : 0;
}

Status Unknown(const Status& why) {
  return Status(StatusCode::kUnknownOutcome,
                "sent, and never answered (" + why.message() + "): the write may be done or not");
}

bool Same(const VolumeInfo& a, const VolumeInfo& b) {
  return a.block_bytes == b.block_bytes && a.max_transfer_bytes <= b.max_transfer_bytes &&
         a.read_only == b.read_only && a.can_discard == b.can_discard &&
         a.can_write_zeroes == b.can_write_zeroes;
}

}  // namespace

// Waits for the first attach, or for why there is none.
class GrpcTransport::Opening final : public IoThread::Message {
 public:
  Opening(GrpcTransport& transport, const SluiceUri& uri,
          std::vector<std::shared_ptr<::grpc::Channel>> channels)
      : transport_(transport), uri_(uri), channels_(std::move(channels)) {}
  void Run() override {
    transport_.opening_ = this;
    GrpcSession::Owner& owner = transport_;
    transport_.session_.emplace(*transport_.loop_, owner, uri_, transport_.options_,
                                std::move(channels_));
    transport_.ranges_.emplace(*transport_.loop_, *transport_.session_,
                               transport_.options_.reply_timeout_ms);
    transport_.session_->Open();
  }
  void Tell(Status status) {
    transport_.opening_ = nullptr;
    status_ = std::move(status);
    done_.release();
  }
  Status Await() {
    done_.acquire();
    return status_;
  }

 private:
  GrpcTransport& transport_;
  const SluiceUri& uri_;
  std::vector<std::shared_ptr<::grpc::Channel>> channels_;
  Status status_;
  std::binary_semaphore done_{0};
};

Result<std::unique_ptr<Transport>> GrpcTransport::Open(const SluiceUri& uri,
                                                       const Options& options) {
  std::vector<std::shared_ptr<::grpc::Channel>> channels;
  while (channels.size() < options.connections) {
    auto channel = MakeChannel(uri, options);
    if (!channel.ok()) return channel.status();
    channels.push_back(*std::move(channel));
  }
  std::unique_ptr<GrpcTransport> transport(new GrpcTransport(options));
  GrpcLoop::Handler& handler = *transport;
  transport->loop_ = std::make_unique<GrpcLoop>(handler);
  Opening opening(*transport, uri, std::move(channels));
  transport->loop_->Post(opening);
  if (Status status = opening.Await(); !status.ok()) {
    class Stopping final : public IoThread::Message {
     public:
      explicit Stopping(GrpcTransport& stopped) : stopped_(stopped) {}
      void Run() override { stopped_.Stop(); }

     private:
      GrpcTransport& stopped_;
    } stopping(*transport);
    transport->loop_->Call(stopping);
    return status;
  }
  return std::unique_ptr<Transport>(std::move(transport));
}

GrpcTransport::~GrpcTransport() = default;

uint32_t GrpcTransport::max_length(OpKind kind) const {
  if (kind == OpKind::kRead || kind == OpKind::kWrite) return info_.max_transfer_bytes;
  const bool asks = kind == OpKind::kExtents || kind == OpKind::kChecksums;
  return asks ? kMaxRangeBytes : max_effect_bytes_;
}

// --- the session's news ---

Status GrpcTransport::OnOpened(const v1::OpenVolumeResponse& session, bool again) {
  const v1::Geometry& geometry = session.geometry();
  const v1::SessionLimits& limits = session.limits();
  VolumeInfo info;
  info.size_bytes = geometry.size_bytes();
  info.block_bytes = geometry.block_size_bytes();
  if (!IsPowerOfTwo(info.block_bytes) || info.block_bytes > kKiB * 64) {
    return Status(StatusCode::kProtocolError, "the server tells a block that is none");
  }
  info.preferred_bytes = geometry.preferred_size_bytes();
  const uint64_t most = std::min<uint64_t>(
      {limits.max_op_bytes(), limits.max_inflight_bytes(),
       limits.max_message_bytes() - std::min<uint64_t>(limits.max_message_bytes(), kHeadRoom)});
  info.max_transfer_bytes = static_cast<uint32_t>(AlignDown(most, info.block_bytes));
  const auto max_effect_bytes = static_cast<uint32_t>(
      AlignDown(std::min<uint64_t>(limits.max_effect_bytes(), kMaxEffectBytes), info.block_bytes));
  if (info.max_transfer_bytes == 0 || max_effect_bytes == 0 || limits.max_ops_per_message() == 0) {
    return Status(StatusCode::kProtocolError, "the server's limits let nothing through");
  }
  info.connections = static_cast<uint32_t>(session_->lanes());
  info.read_only = geometry.read_only() || options_.access == Access::kReadOnly;
  info.can_flush = info.can_fua = info.can_tell_extents = info.can_checksum = true;
  info.can_discard = geometry.can_discard();
  info.can_write_zeroes = geometry.can_write_zeroes();
  info.rotational = geometry.rotational();
  // Both are constant: other threads read them.
  if (again && (!Same(info_, info) || max_effect_bytes < max_effect_bytes_)) {
    return Status(StatusCode::kFailedPrecondition,
                  "the export is another one now: open the volume anew");
  }
  if (again) {
    Inherit();
    SetSize(info.size_bytes);
  } else {
    info_ = info;
    max_effect_bytes_ = max_effect_bytes;
    size_bytes_.store(info.size_bytes, std::memory_order_relaxed);
  }
  max_message_ops_ = limits.max_ops_per_message();
  max_message_bytes_ = static_cast<uint32_t>(most);
  ledger_.Reset(limits.dedup_window_ops());
  return {};
}

void GrpcTransport::Inherit() {
  if (!options_.resend_writes) doubts_.Lose();
  again_.clear();
  std::vector<Op*> older;
  const Status lost(StatusCode::kUnavailable, "the server has lost the session");
  for (const uint64_t id : ledger_.OpenIds()) {
    Op& op = ledger_.Take(id);
    if (op.changes() && options_.access == Access::kShared) {
      End(op, Unknown(lost));  // others may have written since
    } else {
      op.sent = true;
      older.push_back(&op);
    }
  }
  waiting_.insert(waiting_.begin(), older.begin(), older.end());
}

void GrpcTransport::OnAttached(const v1::IoAttached& attached) {
  for (size_t lane = 0; lane < session_->lanes(); ++lane) {
    const v1::IoCredits& credits = session_->credits(lane);
    if (credits.ops() > 0 && credits.bytes() >= info_.max_transfer_bytes) continue;
    return session_->Fail(
        Status(StatusCode::kProtocolError, "the server's credits let nothing through"));
  }
  lanes_.assign(session_->lanes(), Lane());
  draining_ = false;
  again_.clear();
  std::vector<Op*> forgotten;
  for (const uint64_t id : ledger_.OpenIds()) {
    OpLedger::Entry& entry = *ledger_.Find(id);
    entry.lane = OpLedger::kNoLane;
    const auto known =
        std::find_if(attached.completed().begin(), attached.completed().end(),
                     [id](const v1::OpResult& result) { return result.op_id() == id; });
    const bool told = known != attached.completed().end();
    const bool reads = entry.op->kind == OpKind::kRead;
    if (told && !(reads && known->reason() == v1::ERROR_REASON_UNSPECIFIED)) {
      session_->Progress();
      Op& op = ledger_.Take(id);
      if (known->reason() == v1::ERROR_REASON_UNSPECIFIED) {
        OnDone(op);
      } else {
        AskAgain(op, *known);
      }
    } else if (told || id > attached.completed_through()) {
      again_.push_back(id);
    } else if (reads) {
      Op& op = ledger_.Take(id);
      if (guard_.Enter(op)) forgotten.push_back(&op);
    } else {
      Op& op = ledger_.Take(id);
      End(op, StatusOf(v1::ERROR_REASON_OUT_OF_WINDOW, op));
    }
  }
  waiting_.insert(waiting_.begin(), forgotten.begin(), forgotten.end());
  heard_ns_ = MonotonicNs();
  ranges_->OnAttached();
  if (ledger_.open() == 0) session_->Back();
  if (opening_ != nullptr) {
    opening_->Tell({});
  } else {
    OnEvent(Event::kReconnected, "");
  }
}

void GrpcTransport::OnLost(const Status& why) {
  OnEvent(Event::kConnectionLost, why.message());
  ranges_->OnLost();
}

void GrpcTransport::OnFailed(const Status& why) {
  if (opening_ != nullptr) return opening_->Tell(why);
  OnEvent(why.code() == StatusCode::kFenced ? Event::kFenced : Event::kGivenUp, why.message());
  Fail(why);
}

void GrpcTransport::OnEvent(Event event, const std::string& text) {
  if (options_.on_event) options_.on_event(event, text);
}

void GrpcTransport::SetSize(uint64_t size_bytes) {
  if (size_bytes_.exchange(size_bytes, std::memory_order_relaxed) == size_bytes) return;
  OnEvent(Event::kResized, std::to_string(size_bytes) + " bytes");
}

// --- ops out ---

void GrpcTransport::Start(Op& op) {
  if (!failure_.ok()) {
    op.owner->OnEnd(op, failure_);
    return;
  }
  op.attempts = 0;
  op.sent = false;
  op.covered = 0;
  doubts_.Begin(op);
  if (op.asks()) {
    ranges_->Add(op);
    return;
  }
  if (guard_.Enter(op)) waiting_.push_back(&op);
}

void GrpcTransport::OnTurnEnd() {
  if (!session_ || draining_) return;
  if (again_.empty() && waiting_.empty() && !ranges_->waiting()) return;
  // This thread may have been kept from its ticks until the lease was over.
  if (!session_->Holds()) return;
  ranges_->Ask();
  for (size_t i = 0; i < lanes_.size() && !(again_.empty() && waiting_.empty()); ++i) {
    const size_t lane = next_lane_++ % lanes_.size();
    if (session_->writable(lane)) Fill(lane);
  }
}

bool GrpcTransport::HasRoom(size_t lane, const Op& op) const {
  const v1::IoCredits& credits = session_->credits(lane);
  return lanes_[lane].ops < std::min(credits.ops(), options_.queue_depth) &&
         lanes_[lane].bytes + DataBytes(op) <= credits.bytes();
}

void GrpcTransport::Fill(size_t lane) {
  message_.clear();
  // After idleness the silence begins with what is sent now.
  if (ledger_.open() == 0) heard_ns_ = MonotonicNs();
  uint64_t bytes = 0;
  const auto fits = [&](const Op& op) {
    const uint64_t more = op.kind == OpKind::kWrite ? op.length : 0;
    return HasRoom(lane, op) && message_.size() < max_message_ops_ &&
           (message_.empty() ||
            bytes + more <= std::min<uint64_t>(kMessageBytes, max_message_bytes_));
  };
  const auto put = [&](uint64_t id, Op& op) {
    lanes_[lane].ops += 1;
    lanes_[lane].bytes += DataBytes(op);
    if (op.kind == OpKind::kWrite) bytes += op.length;
    doubts_.Mark(op);
    message_.push_back({id, &op});
  };
  while (!again_.empty()) {
    OpLedger::Entry& entry = *ledger_.Find(again_.front());
    if (!fits(*entry.op)) break;
    entry.lane = static_cast<uint32_t>(lane);
    put(again_.front(), *entry.op);
    again_.pop_front();
  }
  while (again_.empty() && !waiting_.empty() && !ledger_.full() && fits(*waiting_.front())) {
    Op& op = *waiting_.front();
    waiting_.pop_front();
    put(ledger_.Add(op, static_cast<uint32_t>(lane)), op);
  }
  if (message_.empty()) return;
  session_->Send(lane, EncodeOps(message_, ledger_.answered_through()));
}

// --- results in ---

void GrpcTransport::OnMessage(size_t, IoReply& reply) {
  heard_ns_ = MonotonicNs();
  if (reply.has_notice()) {
    if (reply.notice().draining()) draining_ = true;
    if (reply.notice().has_geometry()) SetSize(reply.notice().geometry().size_bytes());
  }
  for (const v1::OpResult& result : reply.results()) {
    // What a callback or an earlier result may have led to.
    if (!session_->up()) return;
    OnResult(result, reply);
  }
}

void GrpcTransport::OnResult(const v1::OpResult& result, IoReply& reply) {
  OpLedger::Entry* const entry = ledger_.Find(result.op_id());
  if (entry == nullptr || entry->lane == OpLedger::kNoLane) {
    return session_->Break("the server answers what it was not asked");
  }
  session_->Progress();
  Lane& lane = lanes_[entry->lane];
  Op& op = ledger_.Take(result.op_id());
  lane.ops -= 1;
  lane.bytes -= DataBytes(op);
  if (result.reason() != v1::ERROR_REASON_UNSPECIFIED) return AskAgain(op, result);
  if (op.kind == OpKind::kRead &&
      (result.length_bytes() != op.length || !reply.CopyData(result, op.data))) {
    v1::OpResult damaged;
    damaged.set_reason(v1::ERROR_REASON_CHECKSUM_MISMATCH);
    return AskAgain(op, damaged);
  }
  OnDone(op);
}

void GrpcTransport::OnDone(Op& op) {
  doubts_.Count(op);
  End(op, op.kind == OpKind::kFlush ? doubts_.Outcome(op, "the session") : Status());
}

// An error: what was surely not carried out and may succeed is asked for again, by a new number.
void GrpcTransport::AskAgain(Op& op, const v1::OpResult& result) {
  const v1::ErrorReason reason = result.reason();
  const bool damaged = reason == v1::ERROR_REASON_CHECKSUM_MISMATCH;
  const bool forgotten = reason == v1::ERROR_REASON_OUT_OF_WINDOW && !op.changes();
  if (reason == v1::ERROR_REASON_DRAINING) {
    draining_ = true;
    AskFirst(op);
  } else if ((damaged || forgotten) && ++op.attempts < kMaxAttempts) {
    AskFirst(op);
  } else {
    End(op, StatusOf(reason, op));
  }
}

// A change is in the guard still; a read must not get ahead of the changes that came since.
void GrpcTransport::AskFirst(Op& op) {
  if (op.changes() || guard_.Enter(op)) waiting_.push_front(&op);
}

void GrpcTransport::End(Op& op, Status status) {
  const bool changes = op.changes();
  const uint64_t offset = op.offset;
  op.owner->OnEnd(op, std::move(status));  // the op may be gone
  if (!changes) return;
  std::vector<Op*> freed;
  guard_.Leave(offset, freed);
  waiting_.insert(waiting_.end(), freed.begin(), freed.end());
}

// --- the end ---

void GrpcTransport::Fail(const Status& why) {
  failure_ = why;
  std::vector<std::pair<Op*, Status>> ending;
  for (const uint64_t id : ledger_.OpenIds()) {
    Op& op = ledger_.Take(id);
    ending.emplace_back(&op, op.changes() ? Unknown(why) : why);
  }
  again_.clear();
  for (Op* op : std::exchange(waiting_, {})) {
    ending.emplace_back(op, op->sent && op->changes() ? Unknown(why) : why);
  }
  for (Op* op : guard_.TakeHeld()) ending.emplace_back(op, why);
  for (Op* op : ranges_->TakeAll()) ending.emplace_back(op, why);
  for (auto& [op, status] : ending) op->owner->OnEnd(*op, std::move(status));
}

void GrpcTransport::Stop() {
  session_->Close();
  if (failure_.ok()) Fail(Status(StatusCode::kCancelled, "the volume was closed"));
}

void GrpcTransport::OnTick(uint64_t now_ns) {
  if (!session_) return;
  session_->OnTick(now_ns);
  ranges_->OnTick(now_ns);
  if (now_ns >= SilenceNs()) session_->Break("the server is silent though answers are due");
}

uint64_t GrpcTransport::SilenceNs() const {
  if (!session_->up() || ledger_.open() == 0 || options_.reply_timeout_ms == 0) return UINT64_MAX;
  return heard_ns_ + options_.reply_timeout_ms * kMillisecond;
}

uint64_t GrpcTransport::next_tick_ns() const {
  if (!session_) return UINT64_MAX;
  return std::min({session_->next_tick_ns(), ranges_->next_tick_ns(), SilenceNs()});
}

}  // namespace internal
SLUICE_SDK_END
