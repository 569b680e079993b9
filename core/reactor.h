// SPDX-License-Identifier: Apache-2.0
// One thread that runs requests: what is ready, what other reactors sent, what is due, then one
// submit-and-wait.
//
// The turn. (1) completions that the poller listed; (2) mail, posts, timers; (3) bios that came
// home, then the pools' line, for they gave memory back; (4) the turn's end: dispatch tasks (disks
// unplug), bios they finished, then send tasks (connections answer); (5) outboxes are published,
// one wake a target; (6) one poll. Everything that arrives in one turn is therefore gathered,
// submitted and answered together, and nothing waits: the poll sleeps only when there is nothing
// left to do, after a short adaptive spin.
//
// Thread. A reactor belongs to the thread that runs it; Post(), Stop() and id() may be called by
// any. On that thread Reactor::Current() is it. Tests run several on one thread, a Turn() at a
// time.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/bio.h"
#include "core/clock.h"
#include "core/mailbox.h"
#include "core/poller.h"
#include "core/pool.h"
#include "core/spin.h"
#include "core/stats.h"

namespace sluice {

// Runs once at the end of the turn in which it was listed; hook.unlink(), or its death, unlists it.
struct TurnTask {
  using Hook = boost::intrusive::list_member_hook<
      boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
  Hook hook;
  void (*run)(TurnTask& task) noexcept = nullptr;
  void* context = nullptr;  // the owner's
};
using TurnList =
    boost::intrusive::list<TurnTask,
                           boost::intrusive::member_hook<TurnTask, TurnTask::Hook, &TurnTask::hook>,
                           boost::intrusive::constant_time_size<false>>;

// Runs once when its time has come. Disarmed before it dies.
struct Timer {
  boost::intrusive::set_member_hook<> hook;
  uint64_t deadline_ns = 0;
  void (*run)(Timer& timer) noexcept = nullptr;
  void* context = nullptr;  // the owner's
  bool armed() const { return hook.is_linked(); }
};

struct ReactorOptions {
  uint32_t credits = 16384;                 // bio cells that this reactor's doors may have reserved
  size_t buffer_bytes = 128 * 1024 * 1024;  // payload memory; touched as it is used
  uint64_t poll_budget_ns = 100'000;        // longest spin before sleeping; 0: never spin
};

class ReactorSet;

class Reactor {
 public:
  static constexpr uint16_t kMax = 64;

  uint16_t id() const noexcept { return id_; }
  ReactorSet& set() noexcept { return set_; }

  // The reactor whose turn this thread runs, or null.
  static Reactor* Current() noexcept;

  // Turns until Stop(), which lets the turn end; sleeps when idle. Once.
  void Run();
  void Stop() noexcept;
  // One turn; true if anything was done. Never sleeps unless `may_sleep` (the clock must run then).
  bool Turn(bool may_sleep = false);

  // Runs `work` on this reactor's thread, in order of posting. Any thread. Control path: takes a
  // lock, may allocate. What the last turn did not see is destroyed with the reactor, not run.
  void Post(absl::AnyInvocable<void()> work);

  // --- all below: the reactor's thread ---
  uint64_t now_ns() const noexcept {
    return now_ns_;
  }  // as of this turn's stage; refreshed after each wait
  uint64_t RefreshNow() noexcept { return now_ns_ = clock_.NowNs(); }
  Clock& clock() noexcept { return clock_; }
  Poller& poller() noexcept { return *poller_; }
  BioPool& bios() noexcept { return bios_; }
  BufferPool& buffers() noexcept { return buffers_; }

  // Lists a task for this turn's end, unless it is listed already.
  void AtDispatch(TurnTask& task) noexcept { List(dispatch_, task); }
  void AtSend(TurnTask& task) noexcept { List(send_, task); }
  static void Unlist(TurnTask& task) noexcept { task.hook.unlink(); }

  // Moves it if armed. Armed by a timer's run, it never runs among the same ones.
  void Arm(Timer& timer, uint64_t deadline_ns) noexcept;
  void Disarm(Timer& timer) noexcept;

  // Stands in the pools' line; PoolsGave() is called by whoever gave something back to this
  // reactor's pools -- not for what a failed attempt put back, which would call the line for ever.
  // Who is not being called and finds somebody in line stands behind him without trying, or small
  // requests starve a large one.
  void WaitForPool(PoolWaiter& waiter, bool at_front = false) noexcept;
  bool PoolLineEmpty() const noexcept { return line_.empty(); }
  void PoolsGave() noexcept { pools_gave_ = true; }

  // Core's own: a bio without holds whose home this is; mail to another reactor (or this one).
  void CameHome(Bio& bio) noexcept { finished_.push_back(bio); }
  void Send(uint16_t to, Mail mail, Bio& bio) noexcept;

  // Share of the last 100 ms for which this thread used its CPU, spinning aside; 0 to 100. Any
  // thread.
  uint32_t load_percent() const noexcept;

 private:
  friend class ReactorSet;
  Reactor(ReactorSet& set, uint16_t id, uint16_t count, std::unique_ptr<Poller> poller,
          Clock& clock, const ReactorOptions& options);

  static void List(TurnList& list, TurnTask& task) noexcept {
    if (!task.hook.is_linked()) list.push_back(task);
  }
  bool RunReady() noexcept;
  bool RunMail() noexcept;
  void RunOwnMail() noexcept;
  void Deliver(Mail mail, Bio& bio) noexcept;
  bool RunPosts();
  bool RunTimers() noexcept;
  bool RunLine() noexcept;
  bool RunFinished() noexcept;
  bool RunTasks(TurnList& list) noexcept;
  void PublishMail() noexcept;
  void WakeIfAsleep() noexcept;
  bool HasWork() noexcept;  // something to do without waiting for the kernel
  void Wait(bool may_sleep, bool busy) noexcept;
  bool Spin() noexcept;
  void Sleep() noexcept;
  void AccountLoad() noexcept;

  ReactorSet& set_;
  const uint16_t id_;
  Clock& clock_;
  BioPool bios_;
  BufferPool buffers_;
  std::unique_ptr<Poller> poller_;  // dies before the memory that its operations name
  std::vector<std::unique_ptr<Mailbox>> inboxes_;  // by sender; written by it
  uint64_t mailed_ = 0;                            // targets with mail to publish, a bit each

  ReadyList ready_;
  BioFifo finished_;
  TurnList dispatch_;
  TurnList send_;
  PoolLine line_;
  const PoolWaiter* stuck_ = nullptr;  // the last who stood at the front
  bool pools_gave_ = false;
  struct ByDeadline {
    using type = uint64_t;
    uint64_t operator()(const Timer& timer) const { return timer.deadline_ns; }
  };
  boost::intrusive::multiset<
      Timer,
      boost::intrusive::member_hook<Timer, boost::intrusive::set_member_hook<>, &Timer::hook>,
      boost::intrusive::key_of_value<ByDeadline>, boost::intrusive::constant_time_size<false>>
      timers_;

  uint64_t now_ns_ = 0;
  bool started_ = false;
  SpinBudget spin_;
  uint64_t last_work_ns_ = 0;
  uint64_t timers_from_ns_ = 0;
  std::atomic<uint64_t> window_start_ns_;
  uint64_t window_cpu_ns_ = 0;   // the thread's CPU time at its start
  uint64_t window_spun_ns_ = 0;  // of it spent spinning
  std::atomic<uint32_t> load_percent_{0};

  std::atomic<bool> stop_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> posted_{false};
  // Not absl's, here and in Worker: as the distribution builds it, it hides from the thread
  // sanitizer.
  std::mutex posts_mutex_;
  std::vector<absl::AnyInvocable<void()>> posts_;  // guarded by posts_mutex_
};

// All reactors of a process (or of a test). Made whole before any of them runs; outlives every bio.
class ReactorSet {
 public:
  // One poller a reactor, 1 to Reactor::kMax of them.
  ReactorSet(std::vector<std::unique_ptr<Poller>> pollers, Clock& clock,
             const ReactorOptions& options);
  ~ReactorSet();
  uint16_t size() const noexcept { return static_cast<uint16_t>(reactors_.size()); }
  Reactor& at(uint16_t id) noexcept { return *reactors_[id]; }

 private:
  std::vector<std::unique_ptr<Reactor>> reactors_;
};

}  // namespace sluice
