// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/nbd_transport.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

// Longer requests are split: smaller parts spread over connections and keep buffers small.
constexpr uint32_t kMaxTransferBytes = 4u << 20;
constexpr uint32_t kMaxEffectBytes = 1u << 30;
// An op that is lost with so many connections may be what breaks them.
constexpr uint32_t kMaxAttempts = 5;

VolumeInfo InfoOf(const NbdConnection& connection, const Options& options, uint32_t connections) {
  VolumeInfo info;
  info.size_bytes = connection.size_bytes();
  info.block_bytes = connection.block_size().min;
  info.preferred_bytes = connection.block_size().preferred;
  info.max_transfer_bytes = std::max(
      info.block_bytes,
      static_cast<uint32_t>(AlignDown(
          std::min(kMaxTransferBytes, connection.block_size().max_payload), info.block_bytes)));
  info.connections = connections;
  info.read_only = connection.Has(nbd::kReadOnly) || options.access == Access::kReadOnly;
  info.can_flush = connection.Has(nbd::kSendFlush);
  info.can_fua = connection.Has(nbd::kSendFua);
  info.can_discard = connection.Has(nbd::kSendTrim);
  info.can_write_zeroes = connection.Has(nbd::kSendWriteZeroes);
  info.can_tell_extents = connection.extents_context().has_value();
  info.rotational = connection.Has(nbd::kRotational);
  return info;
}

bool Same(const VolumeInfo& a, const VolumeInfo& b) {
  return a.size_bytes == b.size_bytes && a.block_bytes == b.block_bytes &&
         a.max_transfer_bytes <= b.max_transfer_bytes && a.read_only == b.read_only &&
         a.can_flush == b.can_flush && a.can_fua == b.can_fua && a.can_discard == b.can_discard &&
         a.can_write_zeroes == b.can_write_zeroes && a.can_tell_extents == b.can_tell_extents;
}

}  // namespace

Result<std::unique_ptr<NbdTransport>> NbdTransport::Open(Engine& engine, const NbdUri& uri,
                                                         const Options& options) {
  std::unique_ptr<NbdTransport> transport(new NbdTransport(engine, options));
  auto& lanes = transport->lanes_;
  uint32_t wanted = options.connections;
  while (lanes.size() < wanted) {
    auto connection = OpenLink(uri, options);
    if (!connection.ok()) return FromAbsl(connection.status());
    if (lanes.empty()) {
      const bool shared = connection->Has(nbd::kCanMultiConn) || connection->Has(nbd::kReadOnly);
      if (!shared) wanted = 1;
      transport->info_ = InfoOf(*connection, options, wanted);
    } else if (!Same(transport->info_, InfoOf(*connection, options, wanted))) {
      return Status(StatusCode::kFailedPrecondition,
                    "the export changes while it is being opened: open it again");
    }
    Lane& lane = lanes.emplace_back();
    lane.opened = *std::move(connection);
  }
  NbdLink::Owner& owner = *transport;
  for (size_t i = 0; i < lanes.size(); ++i) {
    lanes[i].link = std::make_unique<NbdLink>(engine, owner, options);
    lanes[i].reconnect = std::make_unique<Reconnect>(
        engine, uri, options, [transport = transport.get(), i](auto connection) {
          transport->OnReconnected(i, std::move(connection));
        });
  }
  return transport;
}

void NbdTransport::Begin() {
  for (Lane& lane : lanes_) lane.link->Attach(std::move(lane.opened));
}

uint32_t NbdTransport::max_length(OpKind kind) const {
  if (kind == OpKind::kRead || kind == OpKind::kWrite) return info_.max_transfer_bytes;
  return static_cast<uint32_t>(AlignDown(kMaxEffectBytes, info_.block_bytes));
}

void NbdTransport::Start(Op& op) {
  if (!failure_.ok()) {
    op.owner->OnEnd(op, failure_);
    return;
  }
  op.attempts = 0;
  op.covered = 0;
  doubts_.Begin(op);
  if (op.changes() && !guard_.Enter(op)) return;
  waiting_.push_back(&op);
  Pump();
}

void NbdTransport::Pump() {
  while (!waiting_.empty()) {
    NbdLink* const link = LeastLoaded();
    if (link == nullptr) return;
    Op& op = *waiting_.front();
    waiting_.pop_front();
    doubts_.Mark(op);
    link->Push(op);
  }
}

NbdLink* NbdTransport::LeastLoaded() {
  NbdLink* best = nullptr;
  for (Lane& lane : lanes_) {
    NbdLink* const link = lane.link.get();
    if (!link->up() || link->full()) continue;
    if (best == nullptr || link->in_flight() < best->in_flight()) best = link;
  }
  return best;
}

void NbdTransport::OnAnswered(NbdLink&, Op& op, Status status) {
  if (status.ok()) {
    doubts_.Count(op);
    if (op.kind == OpKind::kFlush) status = doubts_.Outcome(op, "a connection");
  }
  End(op, std::move(status));
  Pump();
}

void NbdTransport::End(Op& op, Status status) {
  const bool changes = op.changes();
  const uint64_t offset = op.offset;
  op.owner->OnEnd(op, std::move(status));  // the op may be gone
  if (changes) Release(offset);
}

void NbdTransport::Release(uint64_t offset) {
  std::vector<Op*> freed;
  guard_.Leave(offset, freed);
  waiting_.insert(waiting_.end(), freed.begin(), freed.end());
}

void NbdTransport::OnLost(NbdLink& link, const Status& why) {
  Lane& lane = *std::find_if(lanes_.begin(), lanes_.end(),
                             [&](const Lane& l) { return l.link.get() == &link; });
  if (!options_.resend_writes) doubts_.Lose();
  Tell(Event::kConnectionLost, why.message());
  std::vector<NbdLink::Orphan> orphans = link.TakeOrphans();
  // What goes back to the front of the queue keeps its order.
  std::reverse(orphans.begin(), orphans.end());
  for (const NbdLink::Orphan& orphan : orphans) Sort(lane, orphan, why);
  std::reverse(lane.limbo.begin(), lane.limbo.end());
  if (options_.reconnect_ms == 0) {
    GiveUp(why);
    return;
  }
  lane.reconnect->Begin();
  Pump();
}

void NbdTransport::Sort(Lane& lane, const NbdLink::Orphan& orphan, const Status& why) {
  Op& op = *orphan.op;
  const bool doubtful = orphan.sent && op.changes();
  if (op.kind == OpKind::kExtents && op.covered == op.length) {  // all was told but the end of it
    End(op, {});
    return;
  }
  if (++op.attempts >= kMaxAttempts) {
    if (!doubtful) {
      End(op, Status(why.code(), why.message() + "; this request was lost so " +
                                     std::to_string(kMaxAttempts) + " times"));
      return;
    }
  } else if (!doubtful) {
    waiting_.push_front(&op);
    if (op.kind == OpKind::kExtents) {  // goes on where it was
      op.offset += op.covered;
      op.length -= op.covered;
      op.covered = 0;
    }
    return;
  } else if (options_.resend_writes) {
    lane.limbo.push_back(&op);
    return;
  }
  lane.ghosts.push_back(op.offset);
  op.owner->OnEnd(op, Status(StatusCode::kUnknownOutcome,
                             "sent, and then the connection was lost (" + why.message() +
                                 "): the write may be done or not; write it again"));
}

void NbdTransport::OnReconnected(size_t index, absl::StatusOr<NbdConnection> connection) {
  if (!failure_.ok()) return;
  Lane& lane = lanes_[index];
  if (!connection.ok()) {
    GiveUp(FromAbsl(connection.status()));
    return;
  }
  if (!Same(info_, InfoOf(*connection, options_, info_.connections))) {
    GiveUp(Status(StatusCode::kFailedPrecondition,
                  "the export is another one after reconnecting: open the volume anew"));
    return;
  }
  lane.link->Attach(*std::move(connection));
  // The server has settled what it had of the old connection before it admitted this one.
  for (const uint64_t offset : std::exchange(lane.ghosts, {})) Release(offset);
  waiting_.insert(waiting_.begin(), lane.limbo.begin(), lane.limbo.end());
  lane.limbo.clear();
  Tell(Event::kReconnected, "");
  Pump();
}

void NbdTransport::GiveUp(const Status& why) {
  Tell(Event::kGivenUp, why.message());
  Fail(why);
}

void NbdTransport::Fail(const Status& why) {
  failure_ = why;
  std::vector<std::pair<Op*, Status>> ending;
  const Status unknown(StatusCode::kUnknownOutcome, "sent, and never answered (" + why.message() +
                                                        "): the write may be done or not");
  for (Lane& lane : lanes_) {
    lane.link->Close();
    for (const NbdLink::Orphan& orphan : lane.link->TakeOrphans()) {
      ending.emplace_back(orphan.op, orphan.sent && orphan.op->changes() ? unknown : why);
    }
    for (Op* op : std::exchange(lane.limbo, {})) ending.emplace_back(op, unknown);
  }
  for (Op* op : std::exchange(waiting_, {})) ending.emplace_back(op, why);
  for (Op* op : guard_.TakeHeld()) ending.emplace_back(op, why);
  for (auto& [op, status] : ending) op->owner->OnEnd(*op, std::move(status));
}

void NbdTransport::PrepareToStop() {
  for (Lane& lane : lanes_) lane.reconnect->PrepareToStop();
}

void NbdTransport::Stop() {
  if (failure_.ok()) Fail(Status(StatusCode::kCancelled, "the volume was closed"));
}

void NbdTransport::Tell(Event event, const std::string& text) {
  if (options_.on_event) options_.on_event(event, text);
}

Result<std::unique_ptr<Transport>> OpenNbdTransport(Engine& engine, const NbdUri& uri,
                                                    const Options& options) {
  auto transport = NbdTransport::Open(engine, uri, options);
  if (!transport.ok()) return transport.status();
  class Beginning final : public Engine::Message {
   public:
    explicit Beginning(NbdTransport& begun) : begun_(begun) {}
    void Run() override { begun_.Begin(); }

   private:
    NbdTransport& begun_;
  } beginning(**transport);
  engine.Call(beginning);
  return std::unique_ptr<Transport>(*std::move(transport));
}

}  // namespace internal
SLUICE_SDK_END
