// SPDX-License-Identifier: Apache-2.0
// A connection in its handshake. Ends in one of three ways: admitted, it is parked and goes to the
// reactor that is to serve it; closed by itself or the peer; or cut when its time is up.
#pragma once

#include <array>
#include <cstdint>

#include "server/allowed_exports.h"
#include "server/nbd/door.h"
#include "server/nbd/handshake.h"
#include "server/nbd/member.h"
#include "server/turnstile.h"

namespace sluice::nbd {

class Welcome final : public Member {
 public:
  Welcome(Roster& roster, Guest guest, Turnstile::Ticket handshake);

  void Start() noexcept;
  void Drain() noexcept override;
  // The door has settled the ghosts of the export that was asked for; not `may`: it could not
  // announce this connection.
  void Admitted(bool may) noexcept;

 private:
  void Received(int result) noexcept override;
  void Writable() noexcept override;
  void TimeIsUp() noexcept override;

  // Goes on with whatever the handshake's state allows.
  void Advance() noexcept;
  bool Flush() noexcept;  // true when all output is sent
  void Admit() noexcept;
  void Park() noexcept;

  const Turnstile::Ticket ticket_;
  Turnstile::Ticket place_;  // held from GO on
  Exclusion::Seat seat_;     // as place_
  const AllowedExports exports_;
  Handshake handshake_;
  uint64_t deadline_ns_;
  bool admitting_ = false;
  bool receiving_ = false;
  Admission admission_;
  std::array<uint8_t, 4096> buffer_;
  iovec receive_{};
};

}  // namespace sluice::nbd
