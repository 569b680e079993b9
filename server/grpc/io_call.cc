// SPDX-License-Identifier: Apache-2.0
// The Io stream. Messages are parsed and their checksums checked on gRPC's thread, then cross to
// the session's reactor, one post a message; results gather there and leave at the turn's end, one
// message a turn, or, while the one before is still being written, as soon as that is done.
//
// Two messages are in hand at most: one being read while the other's ops wait to begin. Nothing is
// read while the client does not take its results.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "core/check.h"
#include "server/grpc/call.h"
#include "server/grpc/convert.h"
#include "server/grpc/status.h"

namespace sluice::rpc {
namespace {

constexpr uint32_t kEntriesMax = 2 * kOpsPerMessage + 16;  // fields of a message, unpacked
constexpr size_t kUnsentMax = 8;         // messages of results that wait; then no more is read
constexpr size_t kHeadRoom = 64 * 1024;  // of a message, for its results
constexpr size_t kKeptMax = 512 * 1024;  // of a message that is used again, its data's memory

::grpc::ByteBuffer Encode(const v1::IoResponse& message) {
  ::grpc::ByteBuffer bytes;
  bool own = false;
  const auto status = ::grpc::SerializationTraits<v1::IoResponse>::Serialize(message, &bytes, &own);
  SLUICE_CHECK(status.ok());
  return bytes;
}

// Whether it has no more entries than a message may have, before anything is made of them: four
// megabytes hold two million ops of no bytes.
bool IsBounded(::grpc::ByteBuffer& bytes) {
  ::grpc::ProtoBufferReader reader(&bytes);
  google::protobuf::io::CodedInputStream in(&reader);
  for (uint32_t entries = 0; entries <= kEntriesMax; ++entries) {
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return in.ConsumedEntireMessage();
    if (!google::protobuf::internal::WireFormatLite::SkipField(&in, tag)) return false;
  }
  return false;
}

bool Decode(::grpc::ByteBuffer& bytes, v1::IoRequest& message) {
  return IsBounded(bytes) &&
         ::grpc::SerializationTraits<v1::IoRequest>::Deserialize(&bytes, &message).ok();
}

class IoCall final : public Call, private Party, public std::enable_shared_from_this<IoCall> {
 public:
  IoCall(Host& host, ::grpc::ServerCompletionQueue& cq)
      : Call(host, host.streams),
        cq_(cq),
        stream_(&context_),
        asked_(*this, &IoCall::Asked),
        read_(*this, &IoCall::Arrived),
        write_(*this, &IoCall::Written),
        finish_(*this, &IoCall::Ended) {
    task_.owner = this;
    task_.run = [](TurnTask& task) noexcept { static_cast<SendTask&>(task).owner->EndOfTurn(); };
  }

  void Start() { host_.block.RequestIo(&context_, &stream_, &cq_, &cq_, asked_.Give()); }

 private:
  struct Slot {
    v1::IoRequest message;
    std::vector<OpRequest> ops;
  };
  struct SendTask : TurnTask {
    IoCall* owner = nullptr;
  };
  using Lock = std::unique_lock<std::mutex>;

  // --- gRPC's threads ---
  void Asked(bool ok);
  void Arrived(bool ok);
  void Join(const v1::IoAttach& attach);
  void Written(bool ok);
  void Ended(bool) {}

  // --- the session's reactor ---
  void Attach(uint64_t attach_seq);
  void Take(Slot& slot);
  void EndOfInput();
  void EndOfTurn();
  void FlushResults(bool all);
  void Leave();
  void OnResult(const OpResult& result, const Bio* data) noexcept override;
  void OnTaken() noexcept override;
  void OnClosed(Reason why) noexcept override;
  void OnNews(const News& news) noexcept override;
  void List();
  // The message that results gather in.
  v1::IoResponse& Filling();

  // --- any thread ---
  void Send(std::unique_ptr<v1::IoResponse> message);
  void Close(const ::grpc::Status& status);
  // Of one that never attached: nothing of it is left but the status, which may have to wait for
  // the client to read.
  void Refuse(Reason why) {
    arriving_.Clear();
    slots_[0] = Slot();
    Depart();
    Close(StatusOf(why));
  }
  // Give the stream what it can take now; they let go of the lock.
  void ReadMore(Lock lock);
  void WriteMore(Lock lock);
  // One that was written, for what comes next.
  void Keep(std::unique_ptr<v1::IoResponse> message);
  template <typename F>
  void Post(F work) {
    session_->reactor().Post([self = shared_from_this(), work = std::move(work)] { work(*self); });
  }

  ::grpc::ServerCompletionQueue& cq_;
  ::grpc::ServerContext context_;
  ::grpc::ServerAsyncReaderWriter<::grpc::ByteBuffer, ::grpc::ByteBuffer> stream_;
  Step<IoCall> asked_, read_, write_, finish_;
  std::shared_ptr<Session> session_;  // set by Join(), then constant

  // The reactor's.
  std::unique_ptr<v1::IoResponse> filling_;
  uint64_t unanswered_ops_ = 0;
  uint64_t unanswered_bytes_ = 0;
  std::shared_ptr<IoCall> joined_;  // this, while the session knows it
  bool attached_ = false;
  bool end_of_input_ = false;
  SendTask task_;
  std::shared_ptr<IoCall> listed_;  // this, while task_ is listed

  // gRPC's thread fills a slot, the reactor empties it.
  Slot slots_[2];
  size_t next_slot_ = 0;         // the one to fill
  ::grpc::ByteBuffer arriving_;  // gRPC's, while reading_
  std::mutex mutex_;             // guards all below
  size_t full_slots_ = 0;
  bool reading_ = false;
  bool writing_ = false;
  bool backlog_ = false;  // the reactor has results that wait for the write under way
  bool finishing_ = false;
  std::optional<::grpc::Status> status_;  // how it ends, when all is written
  std::deque<std::unique_ptr<v1::IoResponse>> unsent_;
  std::unique_ptr<v1::IoResponse> spare_;  // one that was written, empty, with its memory
};

void IoCall::Asked(bool ok) {
  if (!ok) return;  // the door closes
  std::make_shared<IoCall>(host_, cq_)->Start();
  if (const ::grpc::Status refused = Enter(context_); !refused.ok()) return Close(refused);
  ReadMore(Lock(mutex_));
}

void IoCall::ReadMore(Lock lock) {
  if (reading_ || status_ || full_slots_ == std::size(slots_) || unsent_.size() > kUnsentMax)
    return;
  reading_ = true;
  lock.unlock();
  stream_.Read(&arriving_, read_.Give());
}

void IoCall::Arrived(bool ok) {
  Slot& slot = slots_[next_slot_];
  const bool parsed = ok && Decode(arriving_, slot.message);
  Lock lock(mutex_);
  reading_ = false;
  const bool first = session_ == nullptr;
  if (ok && !first) {
    next_slot_ = (next_slot_ + 1) % std::size(slots_);
    ++full_slots_;
  }
  lock.unlock();
  if (!ok) {
    if (first) return Refuse(Reason::kBadRequest);
    return Post([](IoCall& call) { call.EndOfInput(); });
  }
  if (first) {
    if (!parsed || !slot.message.has_attach()) return Refuse(Reason::kBadRequest);
    return Join(slot.message.attach());
  }
  if (!parsed || slot.message.has_attach() || slot.message.ops_size() > int{kOpsPerMessage} ||
      slot.message.cancel_op_ids_size() > int{kOpsPerMessage}) {
    Close(StatusOf(Reason::kBadRequest));
    return Post([](IoCall& call) { call.Leave(); });
  }
  ToOps(slot.message, slot.ops);
  Post([&slot](IoCall& call) { call.Take(slot); });
  ReadMore(Lock(mutex_));
}

void IoCall::Join(const v1::IoAttach& attach) {
  if (host_.draining.load()) return Refuse(Reason::kDraining);
  auto found = host_.registry.Find(attach.session_id(), attach.epoch());
  if (found.refused != Reason::kNone) return Refuse(found.refused);
  session_ = std::move(found.session);
  Post([attach_seq = attach.attach_seq()](IoCall& call) { call.Attach(attach_seq); });
}

void IoCall::Attach(uint64_t attach_seq) {
  joined_ = shared_from_this();
  session_->Attach(*this, attach_seq, [this](const Session::Attached& answer) {
    if (answer.refused != Reason::kNone) {
      joined_ = nullptr;  // a post keeps it
      return Refuse(answer.refused);
    }
    auto message = std::make_unique<v1::IoResponse>();
    v1::IoAttached& attached = *message->mutable_attached();
    attached.set_completed_through(answer.completed_through);
    for (const OpResult& result : answer.completed) {
      v1::OpResult& to = *attached.add_completed();
      to.set_op_id(result.op_id);
      to.set_reason(static_cast<v1::ErrorReason>(result.reason));
      to.set_errno_code(static_cast<uint32_t>(result.error));
    }
    attached.mutable_credits()->set_ops(kStreamOps);
    attached.mutable_credits()->set_bytes(kStreamBytes);
    Send(std::move(message));
    attached_ = true;
    ReadMore(Lock(mutex_));
  });
}

void IoCall::Take(Slot& slot) {
  if (joined_ == nullptr) return;
  const uint64_t acknowledged = slot.message.ack_through();
  if (acknowledged != 0) session_->Acknowledge(acknowledged);
  if (auto& cancelled = *slot.message.mutable_cancel_op_ids(); !cancelled.empty()) {
    std::sort(cancelled.begin(), cancelled.end());
    session_->Cancel(*this, {cancelled.data(), static_cast<size_t>(cancelled.size())});
  }
  for (OpRequest& op : slot.ops) {
    if (unanswered_ops_ >= kStreamOps || unanswered_bytes_ + DataBytes(op) > kStreamBytes) {
      op.refused = Reason::kOverloaded;
    }
    ++unanswered_ops_;
    unanswered_bytes_ += DataBytes(op);
  }
  if (slot.ops.empty()) return OnTaken();
  session_->Submit(*this, slot.ops);
}

void IoCall::EndOfInput() {
  end_of_input_ = true;
  List();
}

void IoCall::OnResult(const OpResult& result, const Bio* data) noexcept {
  if (data != nullptr && filling_ != nullptr &&
      filling_->payload().size() + data->length + kHeadRoom > kMessageMax) {
    FlushResults(true);
  }
  v1::IoResponse& message = Filling();
  v1::OpResult& to = *message.add_results();
  to.set_op_id(result.op_id);
  to.set_reason(static_cast<v1::ErrorReason>(result.reason));
  to.set_errno_code(static_cast<uint32_t>(result.error));
  to.set_service_time_us(result.service_us);
  if (data != nullptr) {
    std::string& payload = *message.mutable_payload();
    if (payload.empty()) payload.reserve(std::min<uint64_t>(unanswered_bytes_, kKeptMax));
    to.set_payload_offset(static_cast<uint32_t>(payload.size()));
    to.set_length_bytes(data->length);
    to.set_crc32c(AppendData(*data, payload));
  } else if (result.all_zero) {
    to.set_all_zero(true);
    to.set_length_bytes(static_cast<uint32_t>(result.data_bytes));
  }
  --unanswered_ops_;
  unanswered_bytes_ -= result.data_bytes;
  List();
}

void IoCall::OnTaken() noexcept {
  Lock lock(mutex_);
  SLUICE_CHECK(full_slots_ > 0);
  --full_slots_;
  ReadMore(std::move(lock));
}

void IoCall::OnClosed(Reason why) noexcept {
  const std::shared_ptr<IoCall> keep = std::move(joined_);
  FlushResults(true);
  Close(StatusOf(why));
}

// The first message is the answer to the attach.
void IoCall::OnNews(const News& news) noexcept {
  if (!attached_) return;
  v1::IoNotice& notice = *Filling().mutable_notice();
  if (news.draining) notice.set_draining(true);
  if (news.exported != nullptr) Describe(*news.exported, *notice.mutable_geometry());
  List();
}

v1::IoResponse& IoCall::Filling() {
  if (filling_ != nullptr) return *filling_;
  {
    const Lock lock(mutex_);
    filling_ = std::move(spare_);
  }
  if (filling_ == nullptr) filling_ = std::make_unique<v1::IoResponse>();
  return *filling_;
}

void IoCall::List() {
  if (listed_ == nullptr) listed_ = shared_from_this();
  session_->reactor().AtSend(task_);
}

void IoCall::EndOfTurn() {
  const std::shared_ptr<IoCall> keep = std::move(listed_);
  if (end_of_input_ && unanswered_ops_ == 0) return Leave();
  FlushResults(false);
}

void IoCall::Leave() {
  const std::shared_ptr<IoCall> keep = std::move(joined_);
  if (keep != nullptr) session_->Detach(*this);
  FlushResults(true);
  Close(::grpc::Status::OK);
}

// Not `all`: if results wait for a write already, these few wait with them, to leave in one
// message.
void IoCall::FlushResults(bool all) {
  if (filling_ == nullptr) return;
  Lock lock(mutex_);
  if (!all && !unsent_.empty() && filling_->results_size() < int{kOpsPerMessage}) {
    backlog_ = true;
    return;
  }
  unsent_.push_back(std::move(filling_));
  WriteMore(std::move(lock));
}

void IoCall::Send(std::unique_ptr<v1::IoResponse> message) {
  Lock lock(mutex_);
  unsent_.push_back(std::move(message));
  WriteMore(std::move(lock));
}

void IoCall::WriteMore(Lock lock) {
  if (writing_ || finishing_) return;
  if (!unsent_.empty()) {
    writing_ = true;
    std::unique_ptr<v1::IoResponse> message = std::move(unsent_.front());
    unsent_.pop_front();
    lock.unlock();
    const ::grpc::ByteBuffer bytes = Encode(*message);
    Keep(std::move(message));
    stream_.Write(bytes, write_.Give());
  } else if (status_) {
    finishing_ = true;
    lock.unlock();
    stream_.Finish(*status_, finish_.Lend());
  }
}

void IoCall::Keep(std::unique_ptr<v1::IoResponse> message) {
  if (message->payload().capacity() > kKeptMax) return;
  message->Clear();
  const Lock lock(mutex_);
  spare_ = std::move(message);
}

void IoCall::Written(bool ok) {
  Lock lock(mutex_);
  writing_ = false;
  if (!ok) {
    unsent_.clear();
    if (!status_) status_ = ::grpc::Status::CANCELLED;
  }
  const bool backlog = std::exchange(backlog_, false);
  WriteMore(std::move(lock));
  if (!ok) {
    if (session_ != nullptr) Post([](IoCall& call) { call.Leave(); });
    return;
  }
  if (backlog) Post([](IoCall& call) { call.FlushResults(false); });
  ReadMore(Lock(mutex_));
}

void IoCall::Close(const ::grpc::Status& status) {
  Lock lock(mutex_);
  if (!status_) status_ = status;
  WriteMore(std::move(lock));
}

}  // namespace

void AwaitStreams(Host& host, ::grpc::ServerCompletionQueue& cq) {
  std::make_shared<IoCall>(host, cq)->Start();
}

}  // namespace sluice::rpc
