// SPDX-License-Identifier: Apache-2.0
// A session's ops: from a batch to a bio to a result.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/check.h"
#include "core/units.h"
#include "server/grpc/session.h"
#include "storage/zeroes.h"

namespace sluice::rpc {
namespace {

// For an op that was taken back to come home: a turn, by the reactor's clock.
constexpr uint64_t kTakenBackNs = kMillisecond;

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

bool IsAllZero(const Bio& bio) {
  uint64_t skip = bio.seg_skip;
  uint64_t left = bio.length;
  for (uint16_t i = 0; i < bio.seg_count && left > 0; ++i) {
    const uint64_t size = std::min<uint64_t>(bio.segs[i].iov_len - skip, left);
    if (!AllZero(static_cast<const char*>(bio.segs[i].iov_base) + skip, size)) return false;
    left -= size;
    skip = 0;
  }
  return true;
}

bool Overlap(const OpRequest& a, const OpRequest& b) {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

}  // namespace

void Session::Submit(Party& party, std::span<OpRequest> ops) {
  if (ended_) return party.OnClosed(why_ended_);
  const uint64_t now_ns = reactor_.now_ns();
  heard_ns_.store(now_ns, std::memory_order_relaxed);
  for (OpRequest& op : ops) {
    if (op.timeout_ms == 0) continue;
    op.due_ns = now_ns + op.timeout_ms * kMillisecond;
    AwaitDue(op.due_ns);
  }
  batches_.push_back({&party, ops});
  if (!line_.line.is_linked()) Pump(false);
}

// Each op is looked at once, however many are cancelled.
void Session::Cancel(Party& party, std::span<const uint64_t> op_ids) {
  const auto is_cancelled = [op_ids](const OpRequest& op) {
    return std::binary_search(op_ids.begin(), op_ids.end(), op.op_id);
  };
  for (Batch& batch : batches_) {
    if (batch.party != &party) continue;
    for (size_t i = batch.next; i < batch.ops.size(); ++i) {
      if (is_cancelled(batch.ops[i])) DropWaiting(party, batch.ops[i]);
    }
  }
  for (Running* record : running_) {
    const auto& waiters = record->waiters;
    const bool asked = std::any_of(waiters.begin(), waiters.end(),
                                   [&](const Waiter& waiter) { return waiter.party == &party; });
    if (asked && is_cancelled(record->op)) TakeBack(*record);
  }
  SkipAnswered();
}

// An op that has not begun is answered, and remembered, so that it never does. One that comes again
// may have begun when it came first: it is not told that it never will.
void Session::DropWaiting(Party& party, OpRequest& op) {
  if (op.answered) return;
  op.answered = true;
  Reason reason = Reason::kCancelled;
  if (!op.unnumbered && Refuse(op) == Reason::kNone) {
    const OpWindow::Verdict verdict = window_.Begin(op);
    if (verdict == OpWindow::Verdict::kNew) {
      window_.End({op.op_id, DataBytes(op), Reason::kCancelled});
    } else if (verdict == OpWindow::Verdict::kRunning) {
      reason = Reason::kDiskTimeout;
    } else if (verdict == OpWindow::Verdict::kForgotten) {
      reason = Reason::kOutOfWindow;
    } else if (verdict == OpWindow::Verdict::kEnded && Repeat(party, op, verdict)) {
      return;
    }
  }
  Answer(party, op, reason);
}

// It ends with ECANCELED, soon, if it is still queued below.
void Session::TakeBack(Running& record) {
  Bio& bio = record.parts.front()->bio;
  if (std::exchange(record.taken_back, true) || record.answered) return;
  if (bio.where != Where::kDone) target_->Cancel(bio);
}

void Session::AwaitDue(uint64_t due_ns) {
  if (!due_.armed() || due_ns < due_.deadline_ns) reactor_.Arm(due_, due_ns);
}

void Session::EndOverdue() {
  const uint64_t now_ns = reactor_.now_ns();
  uint64_t next_ns = UINT64_MAX;
  for (Batch& batch : batches_) {
    for (size_t i = batch.next; i < batch.ops.size(); ++i) {
      OpRequest& op = batch.ops[i];
      if (op.due_ns == 0 || op.answered) continue;
      if (op.due_ns <= now_ns) {
        DropWaiting(*batch.party, op);
      } else {
        next_ns = std::min(next_ns, op.due_ns);
      }
    }
  }
  for (Running* record : running_) {
    if (!record->answered) next_ns = std::min(next_ns, EndOverdue(*record, now_ns));
  }
  if (next_ns != UINT64_MAX) AwaitDue(next_ns);
  SkipAnswered();
}

// Answers those who do not wait for it any longer; when it is to be looked at again. While nobody
// waits longer it is taken back first, for it may not have begun below.
uint64_t Session::EndOverdue(Running& record, uint64_t now_ns) {
  const auto is_over = [now_ns](const Waiter& waiter) {
    return waiter.due_ns != 0 && waiter.due_ns <= now_ns;
  };
  auto& waiters = record.waiters;
  if (!record.taken_back && !waiters.empty() &&
      std::all_of(waiters.begin(), waiters.end(), is_over)) {
    TakeBack(record);
    for (Waiter& waiter : waiters) waiter.due_ns = now_ns + kTakenBackNs;
    return now_ns + kTakenBackNs;
  }
  const OpResult late{record.op.op_id, DataBytes(record.op), Reason::kDiskTimeout, ETIMEDOUT,
                      TookUs(record)};
  for (const Waiter& waiter : waiters) {
    if (is_over(waiter)) waiter.party->OnResult(late, nullptr);
  }
  std::erase_if(waiters, is_over);
  uint64_t next_ns = UINT64_MAX;
  for (const Waiter& waiter : waiters) {
    if (waiter.due_ns != 0) next_ns = std::min(next_ns, waiter.due_ns);
  }
  return next_ns;
}

// Nobody waits behind an op that is answered.
void Session::SkipAnswered() {
  if (batches_.empty()) return;
  const Batch& front = batches_.front();
  if (front.next == front.ops.size() || !front.ops[front.next].answered) return;
  LeaveLine();
  Pump(false);
}

void Session::Pump(bool first_in_line) {
  // While an attach or another export waits nothing begins, so that it need not wait for long.
  while (!batches_.empty() && attaching_.empty() && successor_ == nullptr && !ended_) {
    Batch& batch = batches_.front();
    while (batch.next < batch.ops.size()) {
      if (!Begin(*batch.party, batch.ops[batch.next], first_in_line)) {
        if (!std::exchange(stalled_, true)) stats_->waits_own.Add(1);
        return;
      }
      stalled_ = first_in_line = false;
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
  if (op.answered) return true;
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
  const bool borrows = op.op == Op::kRead && op.length <= target_->limits().lend_bytes_max;
  const bool swallowed = op.op == Op::kWrite && target_->limits().swallows;
  shape.payload = HasData(op.op) && !borrows && !swallowed;
  switch (memory_->Take(record, shape, first_in_line)) {
    case RequestMemory::Verdict::kTaken:
      break;
    case RequestMemory::Verdict::kNever:
      if (is_new) window_.Forget(op.op_id);
      Answer(party, op, Reason::kNoMemory);
      return true;
    case RequestMemory::Verdict::kWaitPool:
      reactor_.WaitForPool(line_, first_in_line);
      stats_->in_line.Add(1);
      if (!std::exchange(stalled_, true)) stats_->waits_pool.Add(1);
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
        if (record->op.op_id == op.op_id && record->remembered) {
          record->waiters.push_back({&party, op.due_ns});
        }
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
  if (op.op == Op::kWrite && bio.segs != nullptr) CopyToBio(bio, 0, op.data, op.length);
  record.session = this;
  record.op = op;
  record.op.data = nullptr;
  record.remembered = remembered;
  record.answered = record.taken_back = false;
  record.born_ns = reactor_.now_ns();
  stats_->of(KindOf(op.op)).requests.Add(1);
  record.waiters.assign(1, {&party, op.due_ns});
  record.index = running_.size();
  running_.push_back(&record);
  if (op.op == Op::kRead) ++reading_;
  if (IsWriteType(op.op)) ++writing_;

  bio.op = op.op;
  bio.flags = static_cast<uint8_t>(bio.flags | op.flags);
  bio.prio = exported_->prio;
  bio.flow = options_.flow;
  bio.target = target_;
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

uint32_t Session::TookUs(const Running& record) const {
  const uint64_t took_us = (reactor_.now_ns() - record.born_ns) / kMicrosecond;
  return static_cast<uint32_t>(std::min<uint64_t>(took_us, UINT32_MAX));
}

void Session::OnDone(Running& record) {
  Bio& bio = record.parts.front()->bio;
  int error = bio.error;
  if (error == 0 && HasData(bio.op) && bio.resid != 0) error = EIO;
  // Answered before its end, for a device that hangs: nobody knows what will become of it.
  if (bio.pending > 0) error = ETIMEDOUT;
  OpResult result;
  result.op_id = record.op.op_id;
  result.data_bytes = DataBytes(record.op);
  result.reason = ReasonOf(error);
  result.error = error;
  result.service_us = TookUs(record);
  record.answered = true;
  if (record.remembered) window_.End(result);
  counts_.ops[static_cast<int>(bio.op)].Add(1);
  stats_->of(KindOf(bio.op)).total_ns.Add(reactor_.now_ns() - record.born_ns);
  stats_->stages.End(bio, Stage::kAnswer, reactor_.now_ns());
  if (error == 0) {
    counts_.bytes[static_cast<int>(bio.op)].Add(bio.length);
    stats_->of(KindOf(bio.op)).bytes.Add(bio.length);
  } else {
    counts_.errors.Add(1);
    stats_->errors.Add(static_cast<int>(result.reason));
  }
  bool has_data = bio.op == Op::kRead && error == 0;
  if (has_data && record.op.omit_zeroes && IsAllZero(bio)) {
    result.all_zero = true;
    has_data = false;
  }
  for (const Waiter& waiter : record.waiters) {
    waiter.party->OnResult(result, has_data ? &bio : nullptr);
  }
  record.waiters.clear();
}

void Session::OnReleased(Running& record) {
  record.parts.front()->owner = nullptr;
  memory_->GiveAll(record);
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
  stats_->of(KindOf(op.op)).requests.Add(1);
  stats_->of(KindOf(op.op)).total_ns.Add(0);
  stats_->errors.Add(static_cast<int>(reason));
  OpResult result;
  result.op_id = op.op_id;
  result.data_bytes = DataBytes(op);
  result.reason = reason;
  party.OnResult(result, nullptr);
}

}  // namespace sluice::rpc
