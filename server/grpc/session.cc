// SPDX-License-Identifier: Apache-2.0
// A session's life: who is attached, what ends it.
#include "server/grpc/session.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "server/nbd/handshake.h"

namespace sluice::rpc {

Session::Session(Reactor& reactor, std::shared_ptr<const Export> exported,
                 const SessionOptions& options)
    : reactor_(reactor), options_(options), window_(options.window) {
  Serve(std::move(exported));
  due_.session = this;
  due_.run = [](Timer& timer) noexcept { static_cast<DueTimer&>(timer).session->EndOverdue(); };
  line_.context = this;
  line_.run = [](PoolWaiter& waiter) noexcept {
    auto& session = *static_cast<Session*>(waiter.context);
    session.stats_->in_line.Sub(1);
    session.Pump(true);
  };
}

Session::~Session() { SLUICE_CHECK(idle() && !line_.line.is_linked() && !due_.armed()); }

void Session::Serve(std::shared_ptr<const Export> exported) {
  {
    const std::lock_guard<std::mutex> lock(exported_mutex_);
    exported_.swap(exported);
  }
  target_ = exported_->target;
  stats_ = &exported_->stats->For(DoorKind::kGrpc, reactor_.id());
  const Limits& limits = target_->limits();
  terms_.size_bytes = exported_->size_bytes;
  terms_.block_bytes = std::max(exported_->min_block_bytes, limits.block);
  terms_.flags = nbd::TransmissionFlags(*exported_, false);
  memory_.emplace(reactor_, *target_);
}

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
  DropWaiter(party);
  party.OnClosed(why);
}

void Session::Detach(Party& party) {
  DropBatches(party);
  std::erase_if(parties_, [&](const Joined& joined) { return joined.party == &party; });
  std::erase_if(attaching_, [&](const Waiting& waiting) { return waiting.party == &party; });
  DropWaiter(party);
  if (!line_.line.is_linked()) Pump(false);
}

void Session::DropBatches(const Party& party) {
  if (batches_.empty()) return;
  const bool front = batches_.front().party == &party;
  std::erase_if(batches_, [&](const Batch& batch) { return batch.party == &party; });
  if (front) LeaveLine();
}

void Session::DropWaiter(const Party& party) {
  for (Running* record : running_) {
    std::erase_if(record->waiters, [&](const Waiter& waiter) { return waiter.party == &party; });
  }
}

// Those behind may be served by what there is.
void Session::LeaveLine() {
  if (!line_.line.is_linked()) return;
  line_.line.unlink();
  stats_->in_line.Sub(1);
  reactor_.PoolsGave();
}

void Session::Become(std::shared_ptr<const Export> next, absl::AnyInvocable<void()> done) {
  SLUICE_CHECK(next->target->home() == target_->home());
  successor_ = std::move(next);
  told_when_changed_.push_back(std::move(done));
  LeaveLine();
  TellIfIdle();
}

void Session::Drain(absl::AnyInvocable<void()> drained) {
  draining_ = true;
  told_when_idle_.push_back(std::move(drained));
  for (const Joined& joined : parties_) joined.party->OnNews({true, nullptr});
  LeaveLine();
  Pump(false);
  TellIfIdle();
}

void Session::End(Reason why, bool abandon, absl::AnyInvocable<void()> settled) {
  told_when_idle_.push_back(std::move(settled));
  if (!std::exchange(ended_, true)) why_ended_ = why;
  reactor_.Disarm(due_);
  LeaveLine();
  std::vector<Party*> closing;
  for (const Joined& joined : std::exchange(parties_, {})) closing.push_back(joined.party);
  for (const Batch& batch : batches_) closing.push_back(batch.party);
  for (const Running* record : running_) {
    for (const Waiter& waiter : record->waiters) closing.push_back(waiter.party);
  }
  std::sort(closing.begin(), closing.end());
  closing.erase(std::unique(closing.begin(), closing.end()), closing.end());
  for (Party* party : closing) Close(*party, why_ended_);
  if (abandon) {
    for (Running* record : running_) {
      if (std::exchange(record->answered, true)) continue;
      stats_->dropped.Add(1);
      sluice::Abandon(record->parts.front()->bio);
    }
  }
  TellIfIdle();
}

// An attach, another export, a drain and an end all wait for the same: nothing of the session is in
// the target.
void Session::TellIfIdle() {
  if (!running_.empty()) return;
  const bool changed = successor_ != nullptr;
  if (changed) Serve(std::exchange(successor_, nullptr));
  for (Waiting& waiting : std::exchange(attaching_, {})) {
    waiting.done({Reason::kNone, window_.completed_through(), window_.Ended()});
  }
  if (changed) {
    for (const Joined& joined : parties_) joined.party->OnNews({draining_, exported_.get()});
    for (auto& tell : std::exchange(told_when_changed_, {})) tell();
  }
  if (!batches_.empty()) Pump(false);
  if (!running_.empty()) return;
  for (auto& tell : std::exchange(told_when_idle_, {})) tell();
}

}  // namespace sluice::rpc
