// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/welcome.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "server/nbd/roster.h"
#include "server/text.h"

namespace sluice::nbd {
namespace {

constexpr uint64_t kDrainNs = kSecond;  // for a peer to hear that we are shutting down

// Plain NBD: the kernel vouches for a unix socket's peer, and nobody for an address.
Identity IdentityOf(const Peer& peer) {
  using Kind = Identity::Kind;
  return {peer.local ? Kind::kUnixSocket : Kind::kAddress, "", false};
}

}  // namespace

Welcome::Welcome(Roster& roster, Guest guest, Turnstile::Ticket handshake)
    : Member(roster, std::move(guest)),
      ticket_(std::move(handshake)),
      exports_(roster.door().exports(), IdentityOf(peer())),
      handshake_(exports_),
      deadline_ns_(reactor().now_ns() + roster.door().options().handshake_timeout_ns) {}

void Welcome::Start() noexcept {
  Note("connected");
  WakeAt(deadline_ns_);
  Advance();
}

void Welcome::Drain() noexcept {
  if (leaving()) return;
  handshake_.Drain();
  deadline_ns_ = std::min(deadline_ns_, reactor().now_ns() + kDrainNs);
  WakeAt(deadline_ns_);
}

void Welcome::TimeIsUp() noexcept {
  roster().refusals().timeout.Add(1);
  Cut("the handshake took too long");
}

void Welcome::Received(int result) noexcept {
  receiving_ = false;
  if (result == 0) return Cut("the peer closed during the handshake");
  if (result < 0) return Cut(absl::StrCat("receive: ", std::strerror(-result)));
  handshake_.Receive(ConstByteSpan(buffer_).first(static_cast<size_t>(result)));
  Advance();
}

void Welcome::Writable() noexcept { Advance(); }

bool Welcome::Flush() noexcept {
  while (!handshake_.output().empty()) {
    const ConstByteSpan bytes = handshake_.output();
    const iovec out{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    const int sent = transport().Send(&out, 1);
    if (sent == -EAGAIN) {
      transport().AwaitWritable();
      return false;
    }
    if (sent < 0) {
      Cut(absl::StrCat("send: ", std::strerror(-sent)));
      return false;
    }
    handshake_.Sent(static_cast<size_t>(sent));
  }
  return true;
}

void Welcome::Advance() noexcept {
  const bool flushed = Flush();
  if (leaving()) return;
  switch (handshake_.state()) {
    case Handshake::State::kTalking:
      if (!handshake_.wants_receive() || receiving_) return;
      receiving_ = true;
      receive_ = {buffer_.data(), buffer_.size()};
      return transport().Receive(&receive_, 1);
    case Handshake::State::kAdmitting:
      if (!admitting_) Admit();
      return;
    case Handshake::State::kDone:
      if (flushed && transport().idle()) Park();
      return;
    case Handshake::State::kClosing:
      if (flushed) EndGently(handshake_.reason());
      return;
  }
}

void Welcome::Admit() noexcept {
  place_ = roster().door().places().Enter();
  if (!place_) {
    roster().refusals().limit.Add(1);
    Note("refused: as many connections as the limit allows");
    handshake_.Refused(OptionReply::kErrPolicy, "too many connections");
    return Advance();
  }
  const auto& exported = static_cast<const Export&>(*handshake_.requested());
  seat_ = SitAt(KinOf(roster().door().exports(), exported));
  if (!seat_) {
    roster().refusals().held.Add(1);
    place_ = Turnstile::Ticket();
    Note("refused: a session has the export for itself");
    handshake_.Refused(OptionReply::kErrPolicy, "another client has the export for itself");
    return Advance();
  }
  admitting_ = true;
  admission_ = roster().door().Admit(
      exported, reactor().id(),
      [&roster = roster(), id = id(), exported = exported.shared_from_this()] {
        roster.door().AnnounceWriter(*exported,
                                     [&roster, id](bool may) { roster.Admitted(id, may); });
      });
}

void Welcome::Admitted(bool may) noexcept {
  if (leaving()) return;
  admitting_ = false;
  if (may) {
    handshake_.Admitted();
  } else {
    Note("refused: the epochs cannot be made durable");
    handshake_.Refused(OptionReply::kErrPolicy, "the server cannot save its state");
  }
  if (handshake_.state() != Handshake::State::kDone) {
    place_ = Turnstile::Ticket();
    seat_ = Exclusion::Seat();
  }
  Advance();
}

void Welcome::Park() noexcept {
  Negotiated negotiated = handshake_.TakeResult();
  Note(absl::StrCat("opened ",
                    Quote({negotiated.exported->name.data(), negotiated.exported->name.size()}),
                    negotiated.structured_replies ? ", structured replies" : ""));
  Turnstile::Ticket place = std::move(place_);
  Exclusion::Seat seat = std::move(seat_);
  Door& door = roster().door();
  door.Resume(Parked{Part(), std::move(place), std::move(seat), std::move(negotiated), admission_});
}

}  // namespace sluice::nbd
