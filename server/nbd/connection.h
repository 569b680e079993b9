// SPDX-License-Identifier: Apache-2.0
// A connection past its handshake: a Session over a transport, on the reactor where it was placed.
// What one turn of the loop brought is parsed at once; answers leave in one send, and the next
// receive begins, at the turn's end.
//
// It is cut when a payload or an answer does not get on (256 KiB or its rest) within the payload
// timeout, and when nothing happens for the idle timeout; time spent waiting for our own memory or
// disks does not count.
#pragma once

#include <array>
#include <cstdint>

#include "server/nbd/door.h"
#include "server/nbd/member.h"
#include "server/nbd/session.h"
#include "server/turnstile.h"

namespace sluice::nbd {

class Connection final : public Member, private Session::Owner {
 public:
  Connection(Roster& roster, Parked parked);
  ~Connection() override { stats_.closed.Add(1); }

  void Start() noexcept;
  const Export* exported() const noexcept override { return admission_.exported; }
  const Session* session() const noexcept override { return &session_; }
  void Drain() noexcept override;

 private:
  static constexpr size_t kReceiveSegments = 64;

  void Received(int result) noexcept override;
  void ReceiveEnded() noexcept override { session_.Fed(0); }
  void Writable() noexcept override;
  void TimeIsUp() noexcept override;
  void Ending() noexcept override { session_.Abandon(); }
  bool Settled() const noexcept override { return session_.idle(); }
  void OnSessionChanged() noexcept override;

  void EndOfTurn() noexcept;
  bool Flush() noexcept;  // true when there is nothing left to send; else it goes on by itself
  void ReceiveMore() noexcept;
  void StampReceive() noexcept;
  void StampSend() noexcept;
  // When the connection is cut unless something moves, and why; kForever: nothing is owed.
  struct Deadline {
    uint64_t at_ns;
    const char* why;
  };
  Deadline NextDeadline() const noexcept;

  struct SendTask : TurnTask {
    Connection* owner = nullptr;
  };
  const Admission admission_;
  const Turnstile::Ticket place_;
  ClientStats& stats_;  // the export's, which the admission keeps
  Session session_;
  const Exclusion::Seat seat_;
  SendTask send_;
  bool draining_ = false;
  uint64_t received_ns_;         // when a payload last got on, or a receive began
  uint64_t received_bytes_ = 0;  // since then
  uint64_t payload_ = 0;         // Session::payloads() then
  uint64_t sent_ns_ = 0;         // when answers last got on, or the peer began to owe us room
  uint64_t sent_bytes_ = 0;      // since then
  bool send_stuck_ = false;      // the peer takes no more now
  std::array<iovec, kReceiveSegments> receive_;
};

}  // namespace sluice::nbd
