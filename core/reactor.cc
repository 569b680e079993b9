// SPDX-License-Identifier: Apache-2.0
#include "core/reactor.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/target.h"
#include "core/units.h"

namespace sluice {
namespace {

thread_local Reactor* t_current = nullptr;

// Makes a reactor the current one while its turn runs.
class CurrentScope {
 public:
  explicit CurrentScope(Reactor* reactor) : before_(std::exchange(t_current, reactor)) {}
  ~CurrentScope() { t_current = before_; }

 private:
  Reactor* before_;
};

constexpr uint64_t kSpinMinNs = 2 * kMicrosecond;  // a budget below this is not worth a spin
constexpr uint64_t kSpinTrafficNs = kMillisecond;  // no spin after this long without work
constexpr uint64_t kLoadWindowNs = 100 * kMillisecond;

int64_t InvoluntarySwitches() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

}  // namespace

Reactor* Reactor::Current() noexcept { return t_current; }

Reactor::Reactor(ReactorSet& set, uint16_t id, uint16_t count, std::unique_ptr<Poller> poller,
                 Clock& clock, const ReactorOptions& options)
    : set_(set),
      id_(id),
      poller_(std::move(poller)),
      clock_(clock),
      bios_(options.credits, count),
      buffers_(options.buffer_bytes),
      now_ns_(clock.NowNs()),
      spin_max_ns_(options.poll_budget_ns),
      spin_ns_(options.poll_budget_ns),
      window_start_ns_(now_ns_) {
  // Submit and complete, abandon and its answer, expire: at most two a bio are under way in one
  // direction.
  const size_t letters = size_t{options.credits} * 4;
  for (uint16_t i = 0; i < count; ++i) inboxes_.push_back(std::make_unique<Mailbox>(letters));
}

void Reactor::Run() {
  while (!stop_.load(std::memory_order_acquire)) Turn(true);
}

void Reactor::Stop() noexcept {
  stop_.store(true, std::memory_order_release);
  poller_->Wake();
}

bool Reactor::Turn(bool may_sleep) {
  CurrentScope scope(this);
  if (!started_) {
    started_ = true;
    poller_->Start();
  }
  bool busy = RunReady();
  busy |= RunMail();
  busy |= RunPosts();
  busy |= RunTimers();
  busy |= RunFinished();
  busy |= RunLine();
  RefreshNow();
  busy |= RunTasks(dispatch_);
  busy |= RunFinished();
  busy |= RunTasks(send_);
  PublishMail();
  Wait(may_sleep, busy);
  return busy;
}

void Reactor::Post(absl::AnyInvocable<void()> work) {
  {
    absl::MutexLock lock(&posts_mutex_);
    posts_.push_back(std::move(work));
  }
  posted_.store(true);
  WakeIfAsleep();
}

// Whoever has something for a reactor stores it first and looks here then; the reactor says that it
// sleeps first and looks for work then. All four are sequentially consistent, so one sees the
// other.
void Reactor::WakeIfAsleep() noexcept {
  if (sleeping_.load() && sleeping_.exchange(false)) poller_->Wake();
}

void Reactor::Arm(Timer& timer, uint64_t deadline_ns) noexcept {
  Disarm(timer);
  timer.deadline_ns = deadline_ns;
  timers_.insert(timer);
}

void Reactor::Disarm(Timer& timer) noexcept {
  if (timer.armed()) timers_.erase(timers_.iterator_to(timer));
}

void Reactor::WaitForPool(PoolWaiter& waiter, bool at_front) noexcept {
  if (at_front) {
    line_.push_front(waiter);
  } else {
    line_.push_back(waiter);
  }
}

void Reactor::Send(uint16_t to, Mail mail, Bio& bio) noexcept {
  set_.at(to).inboxes_[id_]->Push(mail, bio);
  mailed_ |= uint64_t{1} << to;
}

bool Reactor::RunReady() noexcept {
  if (ready_.empty()) return false;
  ReadyList batch;
  batch.swap(ready_);
  while (!batch.empty()) {
    RingOp& op = batch.front();
    batch.pop_front();
    op.done(op);
  }
  return true;
}

bool Reactor::RunMail() noexcept {
  size_t count = 0;
  for (auto& inbox : inboxes_) {
    count += inbox->Drain([this](Mail mail, Bio& bio) {
      switch (mail) {
        case Mail::kSubmit:
          return bio.target->Strategy(bio);
        case Mail::kComplete:
          return CameHome(bio);
        case Mail::kAbandon:
          return DeliverAbandon(bio);
        case Mail::kAbandonAck:
          return DeliverAbandonAck(bio);
        case Mail::kExpire:
          return DeliverExpire(bio);
      }
    });
  }
  return count > 0;
}

bool Reactor::RunPosts() {
  if (!posted_.load(std::memory_order_relaxed) ||
      !posted_.exchange(false, std::memory_order_acq_rel)) {
    return false;
  }
  std::vector<absl::AnyInvocable<void()>> batch;
  {
    absl::MutexLock lock(&posts_mutex_);
    batch.swap(posts_);
  }
  for (auto& work : batch) work();
  return !batch.empty();
}

bool Reactor::RunTimers() noexcept {
  bool busy = false;
  while (!timers_.empty() && timers_.begin()->deadline_ns <= now_ns_) {
    Timer& timer = *timers_.begin();
    timers_.erase(timers_.begin());
    timer.run(timer);
    busy = true;
  }
  return busy;
}

bool Reactor::RunLine() noexcept {
  if (!std::exchange(pools_gave_, false)) return false;
  bool busy = false;
  // A waiter that still cannot go on stands at the front again, and those behind it keep waiting:
  // first come, first served.
  while (!line_.empty()) {
    PoolWaiter& waiter = line_.front();
    line_.pop_front();
    waiter.run(waiter);
    if (!line_.empty() && &line_.front() == &waiter) break;
    busy = true;
  }
  return busy;
}

bool Reactor::RunFinished() noexcept {
  const bool busy = !finished_.empty();
  while (!finished_.empty()) {
    Bio& bio = finished_.front();
    finished_.pop_front();
    Finish(bio);
  }
  return busy;
}

bool Reactor::RunTasks(TurnList& list) noexcept {
  if (list.empty()) return false;
  TurnList batch;
  batch.swap(list);
  while (!batch.empty()) {
    TurnTask& task = batch.front();
    batch.pop_front();
    task.run(task);
  }
  return true;
}

void Reactor::PublishMail() noexcept {
  while (mailed_ != 0) {
    const int to = std::countr_zero(mailed_);
    mailed_ &= mailed_ - 1;
    Reactor& target = set_.at(static_cast<uint16_t>(to));
    if (!target.inboxes_[id_]->Publish() || to == id_) continue;
    target.WakeIfAsleep();
  }
}

bool Reactor::HasWork() noexcept {
  if (!ready_.empty() || !finished_.empty() || !dispatch_.empty() || !send_.empty() ||
      mailed_ != 0 || (pools_gave_ && !line_.empty()) || posted_.load() ||
      stop_.load(std::memory_order_relaxed)) {
    return true;
  }
  for (auto& inbox : inboxes_) {
    if (!inbox->Empty()) return true;
  }
  return false;
}

void Reactor::Wait(bool may_sleep, bool busy) noexcept {
  if (busy) last_work_ns_ = now_ns_;
  if (!may_sleep || HasWork()) {
    poller_->Poll(0, ready_);
    RefreshNow();
    return AccountLoad(0);
  }
  if (Spin()) return AccountLoad(0);
  sleeping_.store(true);
  RefreshNow();
  const uint64_t before_ns = now_ns_;
  if (!HasWork()) {
    uint64_t timeout_ns = kForever;
    if (!timers_.empty()) {
      const uint64_t due_ns = timers_.begin()->deadline_ns;
      timeout_ns = due_ns > now_ns_ ? due_ns - now_ns_ : 0;
    }
    poller_->Poll(timeout_ns, ready_);
  }
  sleeping_.store(false, std::memory_order_relaxed);
  RefreshNow();
  AccountLoad(now_ns_ - before_ns);
}

// Looks for completions and mail for a short while before the costly sleep. Pays only behind recent
// traffic, and only while nobody else needs the CPU: involuntary switches end it.
bool Reactor::Spin() noexcept {
  const uint64_t begin_ns = RefreshNow();
  if (spin_max_ns_ == 0 || begin_ns - last_work_ns_ > kSpinTrafficNs) {
    spin_ns_ = spin_max_ns_;  // a fresh budget for the traffic to come
    return false;
  }
  if (spin_ns_ < kSpinMinNs) return false;
  uint64_t end_ns = begin_ns + spin_ns_;
  if (!timers_.empty()) end_ns = std::min(end_ns, timers_.begin()->deadline_ns);
  bool found = false;
  while (!found && now_ns_ < end_ns) {
    poller_->Poll(0, ready_);
    found = HasWork();
    RefreshNow();
  }
  const int64_t preempted = InvoluntarySwitches();
  const bool contended = preempted > preempted_;
  preempted_ = preempted;
  spin_ns_ = found && !contended ? std::min(spin_max_ns_, spin_ns_ * 2) : spin_ns_ / 2;
  return found;
}

void Reactor::AccountLoad(uint64_t slept_ns) noexcept {
  window_slept_ns_ += slept_ns;
  const uint64_t window_ns = now_ns_ - window_start_ns_;
  if (window_ns < kLoadWindowNs) return;
  const uint64_t slept = std::min(window_slept_ns_, window_ns);
  load_percent_.store(static_cast<uint32_t>(100 - slept * 100 / window_ns),
                      std::memory_order_relaxed);
  window_start_ns_ = now_ns_;
  window_slept_ns_ = 0;
}

ReactorSet::ReactorSet(std::vector<std::unique_ptr<Poller>> pollers, Clock& clock,
                       const ReactorOptions& options) {
  SLUICE_CHECK(!pollers.empty() && pollers.size() <= Reactor::kMax);
  const auto count = static_cast<uint16_t>(pollers.size());
  for (uint16_t id = 0; id < count; ++id) {
    reactors_.push_back(std::unique_ptr<Reactor>(
        new Reactor(*this, id, count, std::move(pollers[id]), clock, options)));
  }
}

ReactorSet::~ReactorSet() = default;

}  // namespace sluice
