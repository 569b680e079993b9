// SPDX-License-Identifier: Apache-2.0
// What every NBD connection is, in its handshake (welcome.h) or past it (connection.h): a transport
// on a reactor, a peer, and one way to end. All of it on that reactor's thread.
//
// An end is gentle -- what was sent reaches the peer before the connection is reset: the end of the
// stream, then reading to the peer's end for at most 1 s -- or at once. Either way it is over when
// the transport is idle and nothing of the connection is at a disk; then the roster deletes it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "core/reactor.h"
#include "server/export_table.h"
#include "server/nbd/transport.h"
#include "server/socket.h"

namespace sluice::nbd {

class Door;
class Roster;
class Session;

// The door's count of connections that are not gone; lives as long as one of them.
class Presence {
 public:
  explicit Presence(Door& door);
  Presence(Presence&& other) noexcept : door_(std::exchange(other.door_, nullptr)) {}
  Presence& operator=(Presence&&) = delete;
  ~Presence();

 private:
  Door* door_;
};

// What a connection is wherever it lives.
struct Guest {
  uint64_t id;  // for the log
  std::unique_ptr<Transport> transport;
  Peer peer;
  Presence presence;
};

class Member : private Transport::User {
 public:
  Member(Roster& roster, Guest guest);
  virtual ~Member();
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  uint64_t id() const { return guest_.id; }
  const std::string& peer_text() const { return guest_.peer.text; }
  // Null in the handshake, as the next.
  virtual const Export* exported() const noexcept { return nullptr; }
  virtual const Session* session() const noexcept { return nullptr; }
  int64_t began_unix_ns() const { return began_unix_ns_; }
  // Finish what is under way, take nothing new, end.
  virtual void Drain() noexcept = 0;
  // Ends at once; nothing more of it is parsed. `why` is for the log. `fenced`: another client or
  // an operator wants that.
  void Cut(absl::string_view why, bool fenced = false) noexcept;

  bool PeerClosed() const noexcept { return guest_.transport->PeerClosed(); }
  // It ends, or its peer did.
  bool leaving() const noexcept { return phase_ != Phase::kOpen; }
  // All is answered; it waits for its peer to have read that.
  bool lingering() const noexcept { return phase_ == Phase::kLingering; }

 protected:
  // Called while open only.
  virtual void Received(int result) noexcept = 0;
  virtual void Writable() noexcept = 0;
  virtual void TimeIsUp() noexcept = 0;
  // The end has begun: give up what is queued. Nothing is parsed from now on.
  virtual void Ending() noexcept {}
  // Nothing of it is at a disk.
  virtual bool Settled() const noexcept { return true; }
  // The receive that was under way when the end began gave its memory back.
  virtual void ReceiveEnded() noexcept {}

  void EndGently(absl::string_view why) noexcept;
  // To be called when Settled() becomes true.
  void LeaveIfSettled() noexcept;
  void WakeAt(uint64_t deadline_ns) noexcept;
  void Note(absl::string_view event) const;  // one line in the log

  Roster& roster() const noexcept { return roster_; }
  Reactor& reactor() const noexcept;
  Transport& transport() const noexcept { return *guest_.transport; }
  const Peer& peer() const noexcept { return guest_.peer; }
  // Gives the connection away; what is left of this leaves. REQUIRES: open, the transport idle.
  Guest Part() noexcept;

 private:
  enum class Phase : uint8_t { kOpen, kLingering, kLeaving, kGone };

  void OnReceived(int result) noexcept final;
  void OnWritable() noexcept final;
  void Begin(Phase phase, absl::string_view why, bool fenced = false) noexcept;
  void Discard() noexcept;

  struct Alarm : Timer {
    Member* owner = nullptr;
  };
  Roster& roster_;
  Guest guest_;
  const int64_t began_unix_ns_;
  Alarm alarm_;
  Phase phase_ = Phase::kOpen;
  bool receive_owed_ = false;      // ReceiveEnded() is to come
  std::array<char, 4096> refuse_;  // what is read only to be thrown away
  iovec discard_{};
};

}  // namespace sluice::nbd
