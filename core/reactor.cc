// SPDX-License-Identifier: Apache-2.0
#include "core/reactor.h"

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

constexpr uint64_t kLoadWindowNs = 100 * kMillisecond;
// CPU time that one look takes; what it takes longer was others' turn.
constexpr uint64_t kLookNs = 2 * kMicrosecond;
constexpr int kFinishMax = 4096;  // bios finished before the turn goes on

}  // namespace

Reactor* Reactor::Current() noexcept { return t_current; }

Reactor::Reactor(ReactorSet& set, uint16_t id, uint16_t count, std::unique_ptr<Poller> poller,
                 Clock& clock, const ReactorOptions& options)
    : set_(set),
      id_(id),
      clock_(clock),
      bios_(options.credits, count),
      buffers_(options.buffer_bytes),
      poller_(std::move(poller)),
      now_ns_(clock.NowNs()),
      spin_(options.poll_budget_ns),
      window_start_ns_(now_ns_) {
  // Under way from one reactor to another at one time, at most: submit and abandon of each bio of
  // the sender's doors; expire, complete and the answer to abandon of each bio of the receiver's.
  // To itself: expire of each bio that lives here, whoever's door reserved it.
  const size_t letters = size_t{options.credits} * 5;
  const size_t own_letters = size_t{options.credits} * (5 + count);
  for (uint16_t i = 0; i < count; ++i) {
    inboxes_.push_back(std::make_unique<Mailbox>(i == id ? own_letters : letters));
  }
}

void Reactor::Run() {
  while (!stop_.load(std::memory_order_acquire)) Turn(true);
  poller_->Finish();
}

void Reactor::Stop() noexcept {
  stop_.store(true, std::memory_order_release);
  poller_->Wake();
}

bool Reactor::Turn(bool may_sleep) {
  CurrentScope scope(this);
  if (!started_) {
    started_ = true;
    window_cpu_ns_ = clock_.ThreadCpuNs();
    poller_->Start();
    poller_->Favour(buffers_.base(), buffers_.hot_bytes(), set_.size());
  }
  if (!may_sleep) RefreshNow();  // turned by hand: time has passed since the last wait
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
    const std::lock_guard<std::mutex> lock(posts_mutex_);
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
  timer.deadline_ns = std::max(deadline_ns, timers_from_ns_);
  timers_.insert(timer);
}

void Reactor::Disarm(Timer& timer) noexcept {
  if (timer.armed()) timers_.erase(timers_.iterator_to(timer));
}

void Reactor::WaitForPool(PoolWaiter& waiter, bool at_front) noexcept {
  if (at_front) {
    line_.push_front(waiter);
    stuck_ = &waiter;
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
    count += inbox->Drain([this](Mail mail, Bio& bio) { Deliver(mail, bio); });
  }
  return count > 0;
}

void Reactor::Deliver(Mail mail, Bio& bio) noexcept {
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
}

// What this reactor told itself, at once.
void Reactor::RunOwnMail() noexcept {
  const uint64_t own = uint64_t{1} << id_;
  while ((mailed_ & own) != 0) {
    mailed_ &= ~own;
    inboxes_[id_]->Publish();
    inboxes_[id_]->Drain([this](Mail mail, Bio& bio) { Deliver(mail, bio); });
  }
}

bool Reactor::RunPosts() {
  if (!posted_.load(std::memory_order_relaxed) ||
      !posted_.exchange(false, std::memory_order_acq_rel)) {
    return false;
  }
  std::vector<absl::AnyInvocable<void()>> batch;
  {
    const std::lock_guard<std::mutex> lock(posts_mutex_);
    batch.swap(posts_);
  }
  for (auto& work : batch) work();
  return !batch.empty();
}

bool Reactor::RunTimers() noexcept {
  if (timers_.empty() || timers_.begin()->deadline_ns > now_ns_) return false;
  timers_from_ns_ = now_ns_ + 1;  // a timer that arms anew cannot keep the turn from ending
  while (!timers_.empty() && timers_.begin()->deadline_ns < timers_from_ns_) {
    Timer& timer = *timers_.begin();
    timers_.erase(timers_.begin());
    timer.run(timer);
  }
  timers_from_ns_ = 0;
  return true;
}

bool Reactor::RunLine() noexcept {
  if (!std::exchange(pools_gave_, false)) return false;
  // Those who stand in line now, each once. A waiter that still cannot go on stands at the front
  // again, and those behind it keep waiting: first come, first served. Any of them may be gone
  // after the call, so only its address is looked at.
  bool busy = false;
  PoolLine batch;
  batch.swap(line_);
  while (!batch.empty()) {
    PoolWaiter& waiter = batch.front();
    batch.pop_front();
    stuck_ = nullptr;
    waiter.run(waiter);
    if (stuck_ == &waiter && !line_.empty() && &line_.front() == &waiter) {
      line_.splice(std::next(line_.begin()), batch);
      break;
    }
    busy = true;
  }
  return busy;
}

bool Reactor::RunFinished() noexcept {
  const bool busy = !finished_.empty();
  // Bounded, for callbacks may submit anew to a target that answers at once.
  for (int i = 0; i < kFinishMax && !finished_.empty(); ++i) {
    RunOwnMail();  // what was said of a bio before it came home is heard first
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
    return AccountLoad();
  }
  const uint64_t begin_ns = RefreshNow();
  if (!Spin()) Sleep();
  spin_.Learn(now_ns_ - begin_ns, now_ns_);
  AccountLoad();
}

void Reactor::Sleep() noexcept {
  sleeping_.store(true);
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
}

// Looks for completions and mail for a short while before the costly sleep. Only behind recent
// traffic.
bool Reactor::Spin() noexcept {
  if (spin_.ns() == 0 || now_ns_ - last_work_ns_ > SpinBudget::kTrafficNs) return false;
  uint64_t end_ns = now_ns_ + spin_.ns();
  if (!timers_.empty()) end_ns = std::min(end_ns, timers_.begin()->deadline_ns);
  poller_->Poll(0, ready_);  // submits, which is work
  RefreshNow();
  bool found = HasWork();
  while (!found && now_ns_ < end_ns) {
    const uint64_t before_ns = now_ns_;
    clock_.Yield();
    poller_->Poll(0, ready_);
    found = HasWork();
    const uint64_t look_ns = RefreshNow() - before_ns;
    window_spun_ns_ += std::min(look_ns, kLookNs);
    if (!spin_.MayGoOn(look_ns, now_ns_)) break;
  }
  return found;
}

void Reactor::AccountLoad() noexcept {
  const uint64_t window_ns = now_ns_ - window_start_ns_.load(std::memory_order_relaxed);
  if (window_ns < kLoadWindowNs) return;
  const uint64_t cpu_ns = clock_.ThreadCpuNs();
  const uint64_t used_ns = cpu_ns - window_cpu_ns_;
  const uint64_t worked_ns = used_ns - std::min(used_ns, window_spun_ns_);
  load_percent_.store(static_cast<uint32_t>(std::min(worked_ns, window_ns) * 100 / window_ns),
                      std::memory_order_relaxed);
  window_start_ns_.store(now_ns_, std::memory_order_relaxed);
  window_cpu_ns_ = cpu_ns;
  window_spun_ns_ = 0;
}

// A sleeper closes no window: one that is long over says that there was nothing to do.
uint32_t Reactor::load_percent() const noexcept {
  const uint64_t start_ns = window_start_ns_.load(std::memory_order_acquire);  // before the clock
  const uint64_t open_ns = clock_.NowNs() - start_ns;
  return open_ns > 2 * kLoadWindowNs ? 0 : load_percent_.load(std::memory_order_relaxed);
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
