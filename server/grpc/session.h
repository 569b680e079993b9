// SPDX-License-Identifier: Apache-2.0
// The data side of one session: batches of ops in, bios to the export's target, results out. It
// keeps the law of block.proto: each op id runs at most once (window.h), ops that overlap run in
// the order in which they came, an attach waits for what its predecessors began, and a session that
// has ended sends nothing more to a drive.
//
// Ops are begun in the order of their arrival. While there is no memory, or the next op overlaps a
// running one and either writes, they wait; the party's next batch is then not asked for.
//
// Lives on the reactor of its export; all calls are made there, but heard_ns() and counts() (any
// thread). The last reference may go on any thread, once it is idle().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "core/stats.h"
#include "server/export_table.h"
#include "server/grpc/op.h"
#include "server/grpc/window.h"
#include "server/nbd/check.h"
#include "server/request_memory.h"

namespace sluice::rpc {

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
  const Export& exported() const { return *exported_; }
  uint64_t heard_ns() const { return heard_ns_.load(std::memory_order_relaxed); }
  const Counts& counts() const { return counts_; }

  // A stream joins. A number higher than the attachment's ends all its streams and is answered when
  // nothing of the session is in the target any more; what the others were about to begin is
  // dropped. `done` is called later, or from inside.
  using AttachDone = absl::AnyInvocable<void(Attached)>;
  void Attach(Party& party, uint64_t attach_seq, AttachDone done);
  // `ops`, which the session may mark, and their data stay until OnTaken(), OnClosed() or Detach().
  void Submit(Party& party, std::span<OpRequest> ops);
  // Answers the op with kCancelled if it has not begun.
  void Cancel(Party& party, uint64_t op_id);
  void Acknowledge(uint64_t op_id) { window_.Acknowledge(op_id); }
  // The party is gone: what it submitted and is not begun is dropped, the rest goes on unheard.
  void Detach(Party& party);

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
  struct Running : RequestParts {
    Session* session = nullptr;
    OpRequest op;
    bool remembered = false;  // in the window
    bool answered = false;
    uint64_t born_ns = 0;
    std::vector<Party*> parties;  // who asked: one, or those of a repeated op too
    size_t index = 0;             // in running_
  };
  struct Joined {
    Party* party;
    uint64_t attach_seq;
  };
  struct Waiting {
    Party* party;
    AttachDone done;
  };

  void Pump(bool first_in_line);
  // False: it must wait.
  bool Begin(Party& party, const OpRequest& op, bool first_in_line);
  Reason Refuse(const OpRequest& op) const;
  bool Collides(const OpRequest& op) const;
  bool Repeat(Party& party, const OpRequest& op, OpWindow::Verdict verdict);
  void Launch(Party& party, const OpRequest& op, Running& record, bool remembered);
  void OnDone(Running& record);
  void OnReleased(Running& record);
  void Answer(Party& party, const OpRequest& op, Reason reason);
  void DropBatches(const Party& party);
  void Close(Party& party, Reason why);
  void LeaveLine();
  void TellIfIdle();

  Reactor& reactor_;
  const std::shared_ptr<const Export> exported_;
  Target& target_;
  const SessionOptions options_;
  nbd::Terms terms_;

  OpWindow window_;
  RequestMemory memory_;
  PoolWaiter line_;  // linked while it waits for the pools
  std::deque<Batch> batches_;
  std::vector<Running*> running_;
  uint32_t reading_ = 0;  // of these, reads
  uint32_t writing_ = 0;  // and write types
  std::vector<std::unique_ptr<Running>> records_;
  std::vector<Running*> free_;

  std::vector<Joined> parties_;
  std::vector<Waiting> attaching_;
  uint64_t attach_seq_ = 0;
  bool draining_ = false;
  bool ended_ = false;
  Reason why_ended_ = Reason::kNone;
  std::vector<absl::AnyInvocable<void()>> told_when_idle_;

  std::atomic<uint64_t> heard_ns_{0};
  Counts counts_;
};

}  // namespace sluice::rpc
