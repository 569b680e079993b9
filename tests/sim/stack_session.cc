// SPDX-License-Identifier: Apache-2.0
// An NBD client and its server session, joined by a wire that moves a few bytes at a time. It
// leaves now and then, with requests under way or in the middle of a payload, and comes back.
#include <algorithm>
#include <cstring>
#include <map>

#include "core/units.h"
#include "proto/nbd_transmission.h"
#include "server/nbd/session.h"
#include "tests/sim/stack_world.h"

namespace sluice::sim {
namespace {

using nbd::Command;

Command CommandOf(Op op) {
  switch (op) {
    case Op::kRead:
      return Command::kRead;
    case Op::kWrite:
      return Command::kWrite;
    case Op::kFlush:
      return Command::kFlush;
    case Op::kTrim:
      return Command::kTrim;
    case Op::kZero:
      return Command::kWriteZeroes;
    case Op::kCache:
      return Command::kCache;
  }
  return Command::kDisc;
}

class SessionClient final : public StackClient, public nbd::Session::Owner {
 public:
  SessionClient(StackWorld& world, StackVolume& volume, uint16_t reactor)
      : world_(world), volume_(volume), reactor_(reactor) {}

  uint16_t reactor() const override { return reactor_; }
  void OnSessionChanged() noexcept override {}

  void Act(uint32_t most) override {
    Rng& rng = world_.rng();
    if (session_ == nullptr) Connect();
    if (left_) return Drain();
    if (rng.PerMille(15)) {
      if (rng.PerMille(500)) SendPartOfAWrite();
      return Leave();
    }
    if (pending_.size() < 40) {
      for (uint64_t n = std::min<uint64_t>(most, rng.Below(10)); n > 0; --n) Send();
      if (structured_ && rng.PerMille(50)) AskStatus();
    }
    Move(rng.PerMille(300) ? rng.Between(1, 2000) : SIZE_MAX, rng.PerMille(800));
  }

  void Drain() override {
    if (session_ == nullptr) return;
    if (!left_) return Move(SIZE_MAX, true);
    if (!session_->idle()) return;
    for (auto& [cookie, request] : pending_) world_.Dropped(volume_, request.op);
    pending_.clear();
    Close();
  }

  void Leave() override {
    if (session_ == nullptr || left_) return;
    left_ = true;
    session_->Abandon();
  }

  bool quiet() const override {
    return session_ == nullptr || (pending_.empty() && to_server_.empty() && session_->idle());
  }

  void Close() override {
    session_.reset();
    to_server_.clear();
    to_client_.clear();
    left_ = false;
  }

 private:
  struct Request {
    StackOp op;
    std::string data;
    nbd::Error error = nbd::Error::kNone;
    bool status = false;  // a BLOCK_STATUS; `data` has an 'h' for each sector that is a hole
  };

  void Connect() {
    Rng& rng = world_.rng();
    auto info = std::make_shared<ExportInfo>();
    info->size_bytes = volume_.target.limits().size;
    info->can_trim = info->can_zero = info->fast_zero = true;
    nbd::Negotiated negotiated;
    negotiated.exported = info;
    structured_ = negotiated.structured_replies = rng.PerMille(500);
    if (structured_) negotiated.allocation_context = nbd::kAllocationContextId;
    session_ = std::make_unique<nbd::Session>(
        world_.reactor(reactor()), volume_.target, std::move(negotiated),
        nbd::Session::Options{.requests_max = static_cast<uint32_t>(rng.Between(4, 64)),
                              .flow = static_cast<uint16_t>(rng.Below(4)),
                              .prio = static_cast<uint8_t>(rng.Below(3))},
        *this, stats_);
  }

  void PutHeader(const StackOp& op, uint64_t cookie) { PutHeader(op, cookie, CommandOf(op.op)); }
  void PutHeader(const StackOp& op, uint64_t cookie, Command command) {
    uint16_t flags = 0;
    if ((op.flags & kFua) != 0) flags |= nbd::kFlagFua;
    if ((op.flags & kNoHole) != 0) flags |= nbd::kFlagNoHole;
    if ((op.flags & kFastZero) != 0) flags |= nbd::kFlagFastZero;
    uint8_t header[nbd::kRequestBytes];
    nbd::EncodeRequest(
        {flags, command, cookie, op.first * kSector, static_cast<uint32_t>(op.count * kSector)},
        header);
    to_server_.append(reinterpret_cast<const char*>(header), sizeof(header));
  }

  void Send() {
    const StackOp op = world_.Draw(volume_, stream_);
    const uint64_t cookie = ++cookies_;
    PutHeader(op, cookie);
    if (op.op == Op::kWrite) to_server_ += world_.Payload(op);
    Request& request = pending_[cookie];
    request.op = op;
    if (op.op == Op::kRead) request.data.assign(op.count * kSector, '?');
  }

  // A read, to the model: of those sectors alone that the answer calls holes.
  void AskStatus() {
    Rng& rng = world_.rng();
    Request request;
    request.status = true;
    request.op.begin = world_.Tick();
    request.op.first = rng.Below(volume_.model.sectors());
    request.op.count =
        rng.Between(1, std::min<uint64_t>(64, volume_.model.sectors() - request.op.first));
    PutHeader(request.op, ++cookies_, Command::kBlockStatus);
    pending_[cookies_] = request;
  }

  // The model is not told: a write whose payload never came may change nothing (R7).
  void SendPartOfAWrite() {
    Rng& rng = world_.rng();
    StackOp op;
    op.op = Op::kWrite;
    op.first = rng.Below(volume_.model.sectors() - 8);
    op.count = 8;
    PutHeader(op, ++cookies_);
    to_server_.append(rng.Below(8 * kSector), 'p');
    Move(SIZE_MAX, false);
  }

  // Up to `most` bytes each way.
  void Move(size_t most, bool client_reads) {
    Segment segments[32];
    for (int rounds = 0; rounds < 8 && session_->wants_receive(); ++rounds) {
      const size_t count = session_->ReceiveInto(segments, std::size(segments));
      size_t fed = 0;
      for (size_t i = 0; i < count && fed < most && fed < to_server_.size(); ++i) {
        const size_t part = std::min({segments[i].iov_len, to_server_.size() - fed, most - fed});
        std::memcpy(segments[i].iov_base, to_server_.data() + fed, part);
        fed += part;
      }
      session_->Fed(fed);
      to_server_.erase(0, fed);
      if (to_server_.empty() || most != SIZE_MAX) break;
    }
    while (client_reads && session_->has_output()) {
      const size_t count = session_->Output(segments, std::size(segments));
      size_t sent = 0;
      for (size_t i = 0; i < count && sent < most; ++i) {
        const size_t part = std::min(segments[i].iov_len, most - sent);
        to_client_.append(static_cast<const char*>(segments[i].iov_base), part);
        sent += part;
      }
      session_->Sent(sent);
      if (most != SIZE_MAX) break;
    }
    while (TakeReply()) {
    }
    if (!session_->end_reason().empty()) world_.Fail("a session ended: " + session_->end_reason());
  }

  ConstByteSpan Received(size_t from, size_t size) const {
    return ConstByteSpan(reinterpret_cast<const uint8_t*>(to_client_.data()), to_client_.size())
        .subspan(from, size);
  }
  // One reply or chunk of what came; false: there is no whole one yet.
  bool TakeReply() { return structured_ ? TakeChunkOrReply() : TakeSimple(); }

  bool TakeSimple() {
    if (to_client_.size() < nbd::kSimpleReplyBytes) return false;
    const auto reply = nbd::DecodeSimpleReply(Received(0, nbd::kSimpleReplyBytes));
    if (!reply.has_value()) return Nonsense();
    const auto it = pending_.find(reply->cookie);
    if (it == pending_.end()) return Nonsense();
    Request& request = it->second;
    const size_t data = reply->error == nbd::Error::kNone ? request.data.size() : 0;
    if (to_client_.size() < nbd::kSimpleReplyBytes + data) return false;
    request.error = reply->error;
    if (data > 0) request.data = to_client_.substr(nbd::kSimpleReplyBytes, data);
    End(it->first, nbd::kSimpleReplyBytes + data);
    return true;
  }

  bool TakeChunkOrReply() {
    if (to_client_.size() < nbd::kSimpleReplyBytes) return false;
    if (nbd::DecodeSimpleReply(Received(0, nbd::kSimpleReplyBytes)).has_value()) {
      return TakeSimple();
    }
    if (to_client_.size() < nbd::kChunkHeaderBytes) return false;
    const auto chunk = nbd::DecodeChunkHeader(Received(0, nbd::kChunkHeaderBytes));
    if (!chunk.has_value()) return Nonsense();
    const size_t size = nbd::kChunkHeaderBytes + chunk->length;
    if (to_client_.size() < size) return false;
    const auto it = pending_.find(chunk->cookie);
    if (it == pending_.end()) return Nonsense();
    if (!TakeBody(it->second, chunk->type, Received(nbd::kChunkHeaderBytes, chunk->length))) {
      return Nonsense();
    }
    if ((chunk->flags & nbd::kChunkDone) != 0) {
      End(it->first, size);
    } else {
      to_client_.erase(0, size);
    }
    return true;
  }

  static bool TakeBody(Request& request, nbd::ChunkType type, ConstByteSpan body) {
    const uint64_t base = request.op.first * kSector;
    if (request.status && type == nbd::ChunkType::kBlockStatus) return TakeStatus(request, body);
    if (type == nbd::ChunkType::kNone) return true;
    if (type == nbd::ChunkType::kOffsetData) {
      const auto data = nbd::DecodeOffsetData(body);
      if (!data || !InRange(data->offset - base, data->data.size(), request.data.size())) {
        return false;
      }
      std::memcpy(request.data.data() + (data->offset - base), data->data.data(),
                  data->data.size());
      return true;
    }
    if (type == nbd::ChunkType::kOffsetHole) {
      const auto hole = nbd::DecodeOffsetHole(body);
      if (!hole || !InRange(hole->offset - base, hole->length, request.data.size())) return false;
      std::memset(request.data.data() + (hole->offset - base), 0, hole->length);
      return true;
    }
    const auto error = nbd::DecodeErrorBody(type, body);
    if (!error) return false;
    request.error = error->error;
    return true;
  }

  static bool TakeStatus(Request& request, ConstByteSpan body) {
    const auto status = nbd::DecodeBlockStatus(body);
    if (!status) return false;
    for (size_t i = 0; i < status->extent_count(); ++i) {
      const nbd::StatusExtent extent = status->extent(i);
      request.data.append(extent.length / kSector, extent.status == 0 ? 'd' : 'h');
    }
    return !request.data.empty() && request.data.size() <= request.op.count;
  }

  // What a hole holds is what a read of it would have given.
  void EndStatus(const Request& request) {
    if (request.error != nbd::Error::kNone) return world_.Fail("a BLOCK_STATUS failed");
    const uint64_t now = world_.Tick();
    for (size_t at = 0; at < request.data.size(); ++at) {
      if (request.data[at] != 'h') continue;
      const std::string wrong = volume_.model.CheckRead(
          request.op.first + at, std::string(kSector, '\0'), request.op.begin, now);
      if (!wrong.empty()) world_.Fail("a hole, but " + wrong);
    }
  }

  bool Nonsense() {
    world_.Fail("a reply that nobody waits for");
    to_client_.clear();
    return false;
  }

  void End(uint64_t cookie, size_t bytes) {
    const Request request = std::move(pending_.at(cookie));
    pending_.erase(cookie);
    to_client_.erase(0, bytes);
    if (request.status) return EndStatus(request);
    world_.Answered(volume_, request.op, nbd::SystemErrno(request.error), request.data);
  }

  StackWorld& world_;
  StackVolume& volume_;
  const uint16_t reactor_;
  ClientStats stats_;
  std::unique_ptr<nbd::Session> session_;
  bool structured_ = false;
  bool left_ = false;
  StackStream stream_;
  uint64_t cookies_ = 0;
  std::string to_server_;
  std::string to_client_;
  std::map<uint64_t, Request> pending_;  // by cookie
};

}  // namespace

std::unique_ptr<StackClient> MakeSession(StackWorld& world, StackVolume& volume, uint16_t reactor) {
  return std::make_unique<SessionClient>(world, volume, reactor);
}

}  // namespace sluice::sim
