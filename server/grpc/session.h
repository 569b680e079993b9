// SPDX-License-Identifier: Apache-2.0
// The data side of one session: batches of ops in, bios to the export's target, results out. It
// keeps the law of block.proto: each op id runs at most once (window.h), ops that overlap run in
// the order in which they came, an attach waits for what its predecessors began, and a session that
// has ended sends nothing more to a drive.
//
// Ops are begun in the order of their arrival. While there is no memory, or the next op overlaps a
// running one and either writes, they wait; the party's next batch is then not asked for.
//
// An op whose time is up, or that is cancelled, never begins if it has not; what still waits for a
// drive is taken back; what a drive has is answered with kDiskTimeout, keeps its memory and stays
// in the way of later ops that overlap it until the kernel gives it back. Its id is known as
// running until then.
//
// Lives on the reactor of its export; all calls are made there, but exported(), heard_ns() and
// counts() (any thread). The last reference may go on any thread, once it is idle().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "core/stats.h"
#include "server/client_stats.h"
#include "server/export_table.h"
#include "server/grpc/op.h"
#include "server/grpc/window.h"
#include "server/nbd/check.h"
#include "server/request_memory.h"

namespace sluice::rpc {

// What belongs to no op.
struct News {
  bool draining = false;             // what comes new is answered with kDraining
  const Export* exported = nullptr;  // what the export is from now on; null: as it was
};

// Who gives ops to a session: an Io stream, or a unary call. Its calls come on the session's
// reactor and do not call the session. It lives until it is detached or closed.
class Party {
 public:
  // `data`: the bio of a READ that is done; its memory is good in this call alone.
  virtual void OnResult(const OpResult& result, const Bio* data) noexcept = 0;
  // The oldest batch that it submitted is begun: the batch's memory is its own again.
  virtual void OnTaken() noexcept = 0;
  // The session has dropped it, with what it submitted and is not begun. Nothing more comes.
  virtual void OnClosed(Reason why) noexcept = 0;
  // To those that are attached.
  virtual void OnNews(const News&) noexcept {}

 protected:
  ~Party() = default;
};

struct SessionOptions {
  bool writes = false;  // else every write is refused
  uint16_t flow = 0;    // Bio::flow
  uint32_t window = 4096;
  uint32_t running_max = 1024;  // ops in the target at one time; more wait
  uint32_t streams_max = 16;
};

class Session {
 public:
  // What one op may be, bytes: each is one bio.
  static constexpr uint32_t kDataMax = kMaxTransfer;
  static constexpr uint32_t kEffectMax = kMaxEffect;

  struct Counts {
    Counter ops[kOps];    // answered
    Counter bytes[kOps];  // of those that were done
    Counter errors;
  };
  struct Attached {
    Reason refused = Reason::kNone;
    uint64_t completed_through = 0;
    std::vector<OpResult> completed;
  };

  // Any thread.
  Session(Reactor& reactor, std::shared_ptr<const Export> exported, const SessionOptions& options);
  ~Session();  // REQUIRES: idle()
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Reactor& reactor() const { return reactor_; }
  std::shared_ptr<const Export> exported() const {
    const std::lock_guard<std::mutex> lock(exported_mutex_);
    return exported_;
  }
  uint64_t heard_ns() const { return heard_ns_.load(std::memory_order_relaxed); }
  const Counts& counts() const { return counts_; }
  uint32_t inflight() const { return static_cast<uint32_t>(running_.size()); }
  uint32_t streams() const { return static_cast<uint32_t>(parties_.size()); }

  // A stream joins. A number higher than the attachment's ends all its streams and is answered when
  // nothing of the session is in the target any more; what the others were about to begin is
  // dropped. `done` is called later, or from inside.
  using AttachDone = absl::AnyInvocable<void(Attached)>;
  void Attach(Party& party, uint64_t attach_seq, AttachDone done);
  // `ops`, which the session may mark, and their data stay until OnTaken(), OnClosed() or Detach().
  void Submit(Party& party, std::span<OpRequest> ops);
  // Drops these ops, in rising order, if they wait, here or below; they are answered in any case.
  void Cancel(Party& party, std::span<const uint64_t> op_ids);
  void Acknowledge(uint64_t op_id) { window_.Acknowledge(op_id); }
  // The party is gone: what it submitted and is not begun is dropped, the rest goes on unheard.
  void Detach(Party& party);

  // The export is `next` from now on: of the same bytes so far, on the same reactor. Nothing begins
  // until what is in the old target has ended; then the parties are told, and `done` is called.
  void Become(std::shared_ptr<const Export> next, absl::AnyInvocable<void()> done);

  // New ops are answered with kDraining. `drained` is called when none is left in the target.
  void Drain(absl::AnyInvocable<void()> drained);
  // Closes every party and begins nothing more. `abandon`: what is queued below is cancelled too,
  // else it ends. `settled` is called when nothing of it can reach a drive any more. Once or more.
  void End(Reason why, bool abandon, absl::AnyInvocable<void()> settled);

  bool idle() const { return running_.empty() && batches_.empty() && parties_.empty(); }

 private:
  struct Batch {
    Party* party;
    std::span<OpRequest> ops;
    size_t next = 0;
  };
  // Who waits for a running op: one, or those of a repeated op too, each as long as it said.
  struct Waiter {
    Party* party;
    uint64_t due_ns;  // when its time is up; 0: never
  };
  struct Running : RequestParts {
    Session* session = nullptr;
    OpRequest op;
    bool remembered = false;  // in the window
    bool answered = false;
    bool taken_back = false;  // its time is up, or it was cancelled
    uint64_t born_ns = 0;
    std::vector<Waiter> waiters;
    size_t index = 0;  // in running_
  };
  struct Joined {
    Party* party;
    uint64_t attach_seq;
  };
  struct Waiting {
    Party* party;
    AttachDone done;
  };
  struct DueTimer : Timer {
    Session* session = nullptr;
  };

  void Pump(bool first_in_line);
  // False: it must wait.
  bool Begin(Party& party, const OpRequest& op, bool first_in_line);
  Reason Refuse(const OpRequest& op) const;
  bool Collides(const OpRequest& op) const;
  bool Repeat(Party& party, const OpRequest& op, OpWindow::Verdict verdict);
  void Launch(Party& party, const OpRequest& op, Running& record, bool remembered);
  uint32_t TookUs(const Running& record) const;
  void OnDone(Running& record);
  void OnReleased(Running& record);
  void Answer(Party& party, const OpRequest& op, Reason reason);
  void DropWaiting(Party& party, OpRequest& op);
  void TakeBack(Running& record);
  void AwaitDue(uint64_t due_ns);
  void EndOverdue();
  uint64_t EndOverdue(Running& record, uint64_t now_ns);
  void SkipAnswered();
  void Serve(std::shared_ptr<const Export> exported);
  void DropBatches(const Party& party);
  void DropWaiter(const Party& party);
  void Close(Party& party, Reason why);
  void LeaveLine();
  void TellIfIdle();

  Reactor& reactor_;
  mutable std::mutex exported_mutex_;       // not absl's: it hides from the thread sanitizer
  std::shared_ptr<const Export> exported_;  // written by the reactor under the mutex
  Target* target_ = nullptr;
  const SessionOptions options_;
  nbd::Terms terms_;

  OpWindow window_;
  std::optional<RequestMemory> memory_;  // of target_
  PoolWaiter line_;                      // linked while it waits for the pools
  std::deque<Batch> batches_;
  std::vector<Running*> running_;
  uint32_t reading_ = 0;  // of these, reads
  uint32_t writing_ = 0;  // and write types
  std::vector<std::unique_ptr<Running>> records_;
  std::vector<Running*> free_;
  DueTimer due_;  // armed for the first time that is up, or earlier

  std::vector<Joined> parties_;
  std::vector<Waiting> attaching_;
  uint64_t attach_seq_ = 0;
  bool draining_ = false;
  bool ended_ = false;
  Reason why_ended_ = Reason::kNone;
  bool stalled_ = false;                     // the next op could not begin when its turn came
  std::shared_ptr<const Export> successor_;  // what Become() waits to serve
  std::vector<absl::AnyInvocable<void()>> told_when_changed_;
  std::vector<absl::AnyInvocable<void()>> told_when_idle_;

  std::atomic<uint64_t> heard_ns_{0};
  Counts counts_;
  ClientStats* stats_ = nullptr;  // the export's, which exported_ keeps
};

}  // namespace sluice::rpc
