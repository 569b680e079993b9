// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/member.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"
#include "core/unix_time.h"
#include "server/nbd/roster.h"

namespace sluice::nbd {
namespace {

constexpr uint64_t kLingerNs = kSecond;

}  // namespace

Member::Member(Roster& roster, Guest guest)
    : roster_(roster), guest_(std::move(guest)), began_unix_ns_(UnixNowNs()) {
  alarm_.owner = this;
  alarm_.run = [](Timer& timer) noexcept {
    Member& member = *static_cast<Alarm&>(timer).owner;
    if (member.phase_ == Phase::kOpen) return member.TimeIsUp();
    if (member.phase_ == Phase::kLingering) {
      member.phase_ = Phase::kLeaving;
      member.transport().Abort();
      member.LeaveIfSettled();
    }
  };
  guest_.transport->Attach(roster_.reactor(), *this);
}

Member::~Member() { reactor().Disarm(alarm_); }

Reactor& Member::reactor() const noexcept { return roster_.reactor(); }

void Member::WakeAt(uint64_t deadline_ns) noexcept { reactor().Arm(alarm_, deadline_ns); }

void Member::Note(absl::string_view event) const {
  Log(LogLevel::kInfo, absl::StrCat("nbd ", guest_.id, " (", guest_.peer.text, "): ", event));
}

void Member::Begin(Phase phase, absl::string_view why, bool fenced) noexcept {
  phase_ = phase;
  receive_owed_ = transport().receiving();
  Note(absl::StrCat("closed: ", why));
  if (exported() != nullptr) {
    roster_.door().Tell(fenced ? ClientEvent::kFenced : ClientEvent::kClosed, *this, why);
  }
  Ending();
}

void Member::Cut(absl::string_view why, bool fenced) noexcept {
  if (phase_ == Phase::kOpen) {
    Begin(Phase::kLeaving, why, fenced);
  } else if (phase_ == Phase::kLingering) {
    phase_ = Phase::kLeaving;
  } else {
    return;
  }
  transport().Abort();
  LeaveIfSettled();
}

void Member::EndGently(absl::string_view why) noexcept {
  SLUICE_CHECK(phase_ == Phase::kOpen);
  Begin(Phase::kLingering, why);
  transport().ShutdownWrite();
  WakeAt(reactor().now_ns() + kLingerNs);
  if (transport().receiving()) {
    transport().CancelReceive();
  } else {
    Discard();
  }
}

void Member::Discard() noexcept {
  discard_ = {refuse_.data(), refuse_.size()};
  transport().Receive(&discard_, 1);
}

void Member::LeaveIfSettled() noexcept {
  if (phase_ != Phase::kLeaving || !transport().idle() || !Settled()) return;
  phase_ = Phase::kGone;
  roster_.Leave(*this);
}

Guest Member::Part() noexcept {
  SLUICE_CHECK(phase_ == Phase::kOpen && transport().idle());
  phase_ = Phase::kGone;
  Guest guest{guest_.id, std::move(guest_.transport), guest_.peer, std::move(guest_.presence)};
  roster_.Leave(*this);
  return guest;
}

void Member::OnReceived(int result) noexcept {
  if (phase_ == Phase::kOpen) return Received(result);
  if (std::exchange(receive_owed_, false)) ReceiveEnded();
  if (phase_ == Phase::kLingering) {
    // The first may be the receive that EndGently() cancelled.
    if (result > 0 || result == -ECANCELED) return Discard();
    phase_ = Phase::kLeaving;
    transport().Abort();
  }
  LeaveIfSettled();
}

void Member::OnWritable() noexcept {
  if (phase_ == Phase::kOpen) return Writable();
  LeaveIfSettled();
}

}  // namespace sluice::nbd
