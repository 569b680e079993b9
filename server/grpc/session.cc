// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/session.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/check.h"
#include "core/units.h"
#include "server/nbd/handshake.h"

namespace sluice::rpc {
namespace {

nbd::Command CommandOf(Op op) {
  switch (op) {
    case Op::kWrite:
      return nbd::Command::kWrite;
    case Op::kZero:
      return nbd::Command::kWriteZeroes;
    case Op::kTrim:
      return nbd::Command::kTrim;
    case Op::kFlush:
      return nbd::Command::kFlush;
    default:
      return nbd::Command::kRead;
  }
}

uint16_t CommandFlagsOf(uint8_t flags) {
  uint16_t bits = 0;
  if ((flags & kFua) != 0) bits |= nbd::kFlagFua;
  if ((flags & kNoHole) != 0) bits |= nbd::kFlagNoHole;
  if ((flags & kFastZero) != 0) bits |= nbd::kFlagFastZero;
  return bits;
}

bool Overlap(const OpRequest& a, const OpRequest& b) {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

}  // namespace

Session::Session(Reactor& reactor, std::shared_ptr<const Export> exported,
                 const SessionOptions& options)
    : reactor_(reactor),
      exported_(std::move(exported)),
      target_(*exported_->target),
      options_(options),
      window_(options.window),
      memory_(reactor, target_) {
  const Limits& limits = target_.limits();
  terms_.size_bytes = std::min(exported_->size_bytes, limits.size);
  terms_.block_bytes = std::max(exported_->min_block_bytes, limits.block);
  terms_.flags = nbd::TransmissionFlags(*exported_, false);
  line_.context = this;
  line_.run = [](PoolWaiter& waiter) noexcept {
    static_cast<Session*>(waiter.context)->Pump(true);
  };
}

Session::~Session() { SLUICE_CHECK(idle() && !line_.line.is_linked()); }

// --- parties ---

void Session::Attach(Party& party, uint64_t attach_seq, AttachDone done) {
  Attached answer;
  if (ended_) {
    answer.refused = why_ended_;
  } else if (attach_seq < attach_seq_ || attach_seq == 0) {
    answer.refused = Reason::kStaleAttach;
  } else if (attach_seq == attach_seq_ && parties_.size() >= options_.streams_max) {
    answer.refused = Reason::kOverloaded;
  }
  if (answer.refused != Reason::kNone) return done(std::move(answer));
  heard_ns_.store(reactor_.now_ns(), std::memory_order_relaxed);
  const bool newer = attach_seq > attach_seq_;
  attach_seq_ = attach_seq;
  if (newer) {
    std::vector<Joined> old = std::exchange(parties_, {});
    for (const Joined& joined : old) Close(*joined.party, Reason::kStaleAttach);
  }
  parties_.push_back({&party, attach_seq});
  if (newer || !attaching_.empty()) {
    attaching_.push_back({&party, std::move(done)});
    return TellIfIdle();
  }
  answer.completed_through = window_.completed_through();
  answer.completed = window_.Ended();
  done(std::move(answer));
}

// Drops a party that is no longer among parties_.
void Session::Close(Party& party, Reason why) {
  DropBatches(party);
  std::erase_if(attaching_, [&](const Waiting& waiting) { return waiting.party == &party; });
  for (Running* record : running_) std::erase(record->parties, &party);
  party.OnClosed(why);
}

void Session::Detach(Party& party) {
  DropBatches(party);
  std::erase_if(parties_, [&](const Joined& joined) { return joined.party == &party; });
  std::erase_if(attaching_, [&](const Waiting& waiting) { return waiting.party == &party; });
  for (Running* record : running_) std::erase(record->parties, &party);
  Pump(false);
}

void Session::DropBatches(const Party& party) {
  if (batches_.empty()) return;
  const bool front = batches_.front().party == &party;
  std::erase_if(batches_, [&](const Batch& batch) { return batch.party == &party; });
  if (front) LeaveLine();
}

// Those behind may be served by what there is.
void Session::LeaveLine() {
  if (!line_.line.is_linked()) return;
  line_.line.unlink();
  reactor_.PoolsGave();
}

void Session::Drain(absl::AnyInvocable<void()> drained) {
  draining_ = true;
  told_when_idle_.push_back(std::move(drained));
  LeaveLine();
  Pump(false);
  TellIfIdle();
}

void Session::End(Reason why, bool abandon, absl::AnyInvocable<void()> settled) {
  told_when_idle_.push_back(std::move(settled));
  if (!std::exchange(ended_, true)) why_ended_ = why;
  LeaveLine();
  std::vector<Party*> closing;
  for (const Joined& joined : std::exchange(parties_, {})) closing.push_back(joined.party);
  for (const Batch& batch : batches_) closing.push_back(batch.party);
  for (const Running* record : running_) {
    closing.insert(closing.end(), record->parties.begin(), record->parties.end());
  }
  std::sort(closing.begin(), closing.end());
  closing.erase(std::unique(closing.begin(), closing.end()), closing.end());
  for (Party* party : closing) Close(*party, why_ended_);
  if (abandon) {
    for (Running* record : running_) {
      if (!std::exchange(record->answered, true)) sluice::Abandon(record->parts.front()->bio);
    }
  }
  TellIfIdle();
}

// An attach, a drain and an end all wait for the same: nothing of the session is in the target.
void Session::TellIfIdle() {
  if (!running_.empty()) return;
  for (Waiting& waiting : std::exchange(attaching_, {})) {
    waiting.done({Reason::kNone, window_.completed_through(), window_.Ended()});
  }
  if (!batches_.empty()) Pump(false);
  if (!running_.empty()) return;
  for (auto& tell : std::exchange(told_when_idle_, {})) tell();
}

// --- ops ---

void Session::Submit(Party& party, std::span<OpRequest> ops) {
  if (ended_) return party.OnClosed(why_ended_);
  heard_ns_.store(reactor_.now_ns(), std::memory_order_relaxed);
  batches_.push_back({&party, ops});
  if (!line_.line.is_linked()) Pump(false);
}

void Session::Cancel(Party& party, uint64_t op_id) {
  for (Batch& batch : batches_) {
    if (batch.party != &party) continue;
    for (size_t i = batch.next; i < batch.ops.size(); ++i) {
      if (batch.ops[i].op_id == op_id) batch.ops[i].refused = Reason::kCancelled;
    }
  }
}

void Session::Pump(bool first_in_line) {
  // While an attach waits nothing begins, so that it need not wait for long.
  while (!batches_.empty() && attaching_.empty() && !ended_) {
    Batch& batch = batches_.front();
    while (batch.next < batch.ops.size()) {
      if (!Begin(*batch.party, batch.ops[batch.next], first_in_line)) return;
      first_in_line = false;
      ++batch.next;
    }
    Party& party = *batch.party;
    batches_.pop_front();
    party.OnTaken();
  }
}

Reason Session::Refuse(const OpRequest& op) const {
  if (op.refused != Reason::kNone) return op.refused;
  if (draining_) return Reason::kDraining;
  if (!op.unnumbered && (op.op_id == 0 || op.op_id > kOpIdMax)) return Reason::kBadRequest;
  if (IsWriteType(op.op) && !options_.writes) return Reason::kReadOnly;
  if (op.op != Op::kFlush) {
    if (!InRange(op.offset, op.length, terms_.size_bytes)) return Reason::kOutOfBounds;
    if (op.length == 0 || op.length > (HasData(op.op) ? kDataMax : kEffectMax)) {
      return Reason::kBadRequest;
    }
  } else if (op.length != 0) {
    return Reason::kBadRequest;
  }
  if (op.op == Op::kTrim && !exported_->can_trim && !exported_->read_only) {
    return Reason::kUnsupported;
  }
  nbd::Request request;
  request.command = CommandOf(op.op);
  request.flags = CommandFlagsOf(op.flags);
  request.offset = op.offset;
  request.length = static_cast<uint32_t>(op.length);
  return ReasonOf(nbd::Check(request, terms_).error);
}

// Whether it must wait for a running op: one of the two writes bytes that the other is about. Two
// writes are kept in order below, by the range guard.
bool Session::Collides(const OpRequest& op) const {
  const bool writes = IsWriteType(op.op);
  if ((writes ? reading_ : writing_) == 0 || op.op == Op::kFlush) return false;
  return std::any_of(running_.begin(), running_.end(), [&](const Running* record) {
    return IsWriteType(record->op.op) != writes && Overlap(record->op, op);
  });
}

bool Session::Begin(Party& party, const OpRequest& op, bool first_in_line) {
  const Reason refused = Refuse(op);
  if (refused != Reason::kNone) {
    Answer(party, op, refused);
    return true;
  }
  if (running_.size() >= options_.running_max || Collides(op)) return false;
  bool is_new = false;
  if (!op.unnumbered) {
    const OpWindow::Verdict verdict = window_.Begin(op);
    is_new = verdict == OpWindow::Verdict::kNew;
    if (!is_new && Repeat(party, op, verdict)) return true;
  }

  if (free_.empty()) {
    records_.push_back(std::make_unique<Running>());
    free_.push_back(records_.back().get());
  }
  Running& record = *free_.back();
  RequestMemory::Shape shape;
  shape.offset = op.offset;
  shape.length = static_cast<uint32_t>(op.length);
  shape.part_bytes = HasData(op.op) ? kDataMax : kEffectMax;
  const bool borrows = op.op == Op::kRead && op.length <= target_.limits().lend_bytes_max;
  shape.payload = HasData(op.op) && !borrows;
  switch (memory_.Take(record, shape, first_in_line)) {
    case RequestMemory::Verdict::kTaken:
      break;
    case RequestMemory::Verdict::kNever:
      if (is_new) window_.Forget(op.op_id);
      Answer(party, op, Reason::kNoMemory);
      return true;
    case RequestMemory::Verdict::kWaitPool:
      reactor_.WaitForPool(line_, first_in_line);
      [[fallthrough]];
    case RequestMemory::Verdict::kWaitOwn:
      if (is_new) window_.Forget(op.op_id);
      return false;
  }
  free_.pop_back();
  if (borrows) record.parts.front()->bio.flags = kBorrow;
  Launch(party, op, record, is_new);
  return true;
}

// An op whose id is known. False: it is a read that has ended; it may run again.
bool Session::Repeat(Party& party, const OpRequest& op, OpWindow::Verdict verdict) {
  switch (verdict) {
    case OpWindow::Verdict::kEnded: {
      const OpResult& result = window_.result(op.op_id);
      if (op.op == Op::kRead && result.reason == Reason::kNone) return false;
      party.OnResult(result, nullptr);
      return true;
    }
    case OpWindow::Verdict::kRunning:
      for (Running* record : running_) {
        if (record->op.op_id == op.op_id && record->remembered) record->parties.push_back(&party);
      }
      return true;
    case OpWindow::Verdict::kForgotten:
      Answer(party, op, Reason::kOutOfWindow);
      return true;
    case OpWindow::Verdict::kFull:
      Answer(party, op, Reason::kOverloaded);
      return true;
    case OpWindow::Verdict::kOvertaken:
      Answer(party, op, Reason::kOvertaken);
      return true;
    default:
      Answer(party, op, Reason::kBadRequest);
      return true;
  }
}

void Session::Launch(Party& party, const OpRequest& op, Running& record, bool remembered) {
  BioCell& cell = *record.parts.front();
  Bio& bio = cell.bio;
  if (op.op == Op::kWrite) CopyToBio(bio, 0, op.data, op.length);
  record.session = this;
  record.op = op;
  record.op.data = nullptr;
  record.remembered = remembered;
  record.answered = false;
  record.born_ns = reactor_.now_ns();
  record.parties.assign(1, &party);
  record.index = running_.size();
  running_.push_back(&record);
  if (op.op == Op::kRead) ++reading_;
  if (IsWriteType(op.op)) ++writing_;

  bio.op = op.op;
  bio.flags = static_cast<uint8_t>(bio.flags | op.flags);
  bio.prio = exported_->prio;
  bio.flow = options_.flow;
  bio.target = &target_;
  cell.owner = &record;
  cell.callback.context = &record;
  cell.callback.run = [](Bio&, void* context) noexcept {
    auto& done = *static_cast<Running*>(context);
    done.session->OnDone(done);
  };
  bio.release = [](Bio& done) noexcept {
    auto& ended = *static_cast<Running*>(reinterpret_cast<BioCell&>(done).owner);
    ended.session->OnReleased(ended);
  };
  PushCallback(bio, cell.callback);
  sluice::Submit(bio);
}

void Session::OnDone(Running& record) {
  const Bio& bio = record.parts.front()->bio;
  int error = bio.error;
  if (error == 0 && HasData(bio.op) && bio.resid != 0) error = EIO;
  OpResult result;
  result.op_id = record.op.op_id;
  result.data_bytes = DataBytes(record.op);
  result.reason = ReasonOf(error);
  result.error = error;
  const uint64_t took_us = (reactor_.now_ns() - record.born_ns) / kMicrosecond;
  result.service_us = static_cast<uint32_t>(std::min<uint64_t>(took_us, UINT32_MAX));
  record.answered = true;
  if (record.remembered) window_.End(result);
  counts_.ops[static_cast<int>(bio.op)].Add(1);
  if (error == 0) {
    counts_.bytes[static_cast<int>(bio.op)].Add(bio.length);
  } else {
    counts_.errors.Add(1);
  }
  const bool has_data = bio.op == Op::kRead && error == 0;
  for (Party* party : record.parties) party->OnResult(result, has_data ? &bio : nullptr);
  record.parties.clear();
}

void Session::OnReleased(Running& record) {
  record.parts.front()->owner = nullptr;
  memory_.GiveAll(record);
  if (record.op.op == Op::kRead) --reading_;
  if (IsWriteType(record.op.op)) --writing_;
  running_[record.index] = running_.back();
  running_[record.index]->index = record.index;
  running_.pop_back();
  free_.push_back(&record);
  if (running_.empty()) {
    TellIfIdle();
  } else if (!batches_.empty() && !line_.line.is_linked()) {
    Pump(false);
  }
}

void Session::Answer(Party& party, const OpRequest& op, Reason reason) {
  counts_.errors.Add(1);
  OpResult result;
  result.op_id = op.op_id;
  result.data_bytes = DataBytes(op);
  result.reason = reason;
  party.OnResult(result, nullptr);
}

}  // namespace sluice::rpc
