// SPDX-License-Identifier: Apache-2.0
// The transmission phase of one NBD connection, without I/O: where the next bytes go, what to send
// next, and bios in between.
//
// The connection's loop:  ReceiveInto() -> receive -> Fed(n);  Output() -> send -> Sent(n);  after
// OnSessionChanged(), at the end of the turn, both again. Every complete request of one receive is
// submitted in one go; replies leave in order of completion, as many as are ready in one vector.
//
// Memory. Small things come through a staging buffer; the rest of a long payload goes straight into
// the memory of its bios, which own it (gifted), to its last byte. Where one long payload came
// another is expected, and staging takes no more than its beginning. What the target swallows stays
// in staging. Reads are sent out of their bios' memory, or out of pages the target lent (loaned).
// While there is no memory or no request record to be had, nothing is parsed and nothing should be
// received (wants_receive()).
//
// Errors of storage are logged as they are, at most one line a second, before the protocol's few
// codes flatten them. Input that breaks framing ends the parsing: what was submitted before is
// answered, then finished().
//
// Lives and is called on the reactor it is made on. That need not be the target's home: bios and
// queries cross to it and back, their memory is this reactor's, and nothing is borrowed then.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/pool.h"
#include "core/reactor.h"
#include "core/target.h"
#include "server/client_stats.h"
#include "server/nbd/check.h"
#include "server/nbd/handshake.h"
#include "server/nbd/reply.h"
#include "server/nbd/request.h"
#include "server/nbd/staging.h"
#include "server/request_memory.h"

namespace sluice::nbd {

class Session {
 public:
  static constexpr size_t kStagingBytes = 256 * 1024;
  static constexpr size_t kDirectBytes = 32 * 1024;     // longer rests of a payload bypass staging
  static constexpr size_t kReceiveBytes = 1024 * 1024;  // a receive into a payload ends behind it
  static constexpr size_t kShortStagingBytes = 1024;    // its room behind a long payload

  // Told that Output(), wants_receive(), idle() or finished() may have changed. Called often, from
  // anywhere on the reactor's thread, also from inside calls of the session: only note it.
  class Owner {
   public:
    virtual void OnSessionChanged() noexcept = 0;

   protected:
    ~Owner() = default;
  };

  struct Options {
    uint32_t requests_max = 256;  // unanswered or unsent at one time
    uint16_t flow = 0;            // Bio::flow of all its bios
    uint8_t prio = 1;             // Bio::prio
  };

  // What the handshake left unparsed is parsed by the first Fed(); Fed(0) will do. Target, owner
  // and stats, which this reactor writes, outlive the session.
  Session(Reactor& reactor, Target& target, Negotiated negotiated, const Options& options,
          Owner& owner, ClientStats& stats);
  ~Session();  // REQUIRES: idle()
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Whether there is room for bytes; false while a receive is under way.
  bool wants_receive() const;
  // Where they go; returns how many entries of `to` are filled. The memory is the receive's until
  // Fed(), which must follow, with 0 if the receive brought nothing. REQUIRES: wants_receive(),
  // room >= 2.
  size_t ReceiveInto(Segment* to, size_t room);
  void Fed(size_t bytes);

  bool has_output() const { return !replies_.empty(); }
  // What can be sent now, in one vector; Sent() follows in the same turn.
  size_t Output(Segment* to, size_t room) const { return replies_.Output(to, room); }
  void Sent(size_t bytes);

  // The peer sends no more: a half-received request is dropped, the others are finished.
  void EndOfInput();
  // New requests are answered with ESHUTDOWN; those that began are finished. See quiet().
  void Drain();
  // The peer is gone: nothing is parsed or sent any more, what is queued is cancelled, what is at
  // the device ends there and keeps its memory until then. See idle(). Once or more.
  void Abandon();

  // Since it began; requests that were answered without an error.
  struct Counts {
    uint64_t reads = 0;
    uint64_t writes = 0;
    uint64_t read_bytes = 0;
    uint64_t written_bytes = 0;
  };
  const Counts& counts() const { return counts_; }
  uint32_t inflight() const { return records_.used(); }

  // Every request whose header was taken is answered, sent and done with.
  bool quiet() const { return records_.used() == 0; }
  // quiet(), and no receive holds memory: may be destroyed.
  bool idle() const { return quiet() && !receiving_; }
  // No more will be parsed and all is sent: close.
  bool finished() const { return ended_ && quiet(); }
  // The peer owes bytes of a payload it announced.
  bool awaits_payload() const { return current_ != nullptr; }
  // How many payloads have begun: tells one from the next.
  uint64_t payloads() const { return payloads_; }
  // Why parsing ended, for the log; empty while it goes on.
  const std::string& end_reason() const { return end_reason_; }

 private:
  void Parse(bool first_in_line);
  // Each: false when parsing must stop for now.
  bool TakePayload();
  bool TakeRequest(bool first_in_line);
  bool Begin(const Request& header, bool first_in_line);
  RequestMemory::Shape ShapeOf(const Request& header) const;
  bool Borrows(const Request& header) const;

  void Launch(ServedRequest& request);
  void SubmitParts(ServedRequest& request);
  void AskExtents(ServedRequest& request);
  void OnParts(ServedRequest& request);
  void OnExtents(ServedRequest& request);
  void OnReleased(ServedRequest& request, BioCell& cell);
  void FindError(ServedRequest& request);
  void ExplainError(ServedRequest& request);
  void LogError(const ServedRequest& request);
  void Answer(ServedRequest& request);

  void Retire(ServedRequest& request);  // if nobody needs it any more
  void Resume();                        // parses on if it stopped for want of its own records
  void End(std::string reason);
  void LeaveLine();
  void DropCurrent();

  Reactor& reactor_;
  Target& target_;
  const std::shared_ptr<const ExportInfo> exported_;
  const Options options_;
  Owner& owner_;
  ClientStats& stats_;
  const bool structured_;
  const bool lends_;  // a loan goes back where it was made, so only a target that lives here lends
  Terms terms_;

  Staging staging_;
  bool receiving_ = false;            // ReceiveInto() was called, Fed() not yet
  size_t direct_bytes_ = 0;           // of that, the part that goes into a payload
  ServedRequest* current_ = nullptr;  // whose payload is being received or thrown away
  bool long_payloads_ = false;        // the last payload was one
  bool stalled_ = false;              // waits for a request of its own to end
  uint64_t payloads_ = 0;
  int asking_ = 0;  // BLOCK_STATUS requests under way

  PoolWaiter line_;  // linked while it waits for the pools

  RequestRecords records_;
  RequestMemory memory_;
  ReplyQueue replies_;
  Counts counts_;

  bool draining_ = false;
  bool ended_ = false;  // parses no more
  bool abandoned_ = false;
  std::string end_reason_;
  uint64_t next_log_ns_ = 0;
  uint64_t unlogged_ = 0;
};

}  // namespace sluice::nbd
