// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "server/nbd/roster.h"

namespace sluice::nbd {
namespace {

constexpr size_t kSendSegments = 512;
// A connection sends no more in one turn, so that a fast reader does not keep the others waiting.
constexpr size_t kSendBytesPerTurn = kMiB;

Session::Options OptionsOf(const Door& door, const Export& exported, const Peer& peer) {
  Session::Options options;
  options.requests_max = door.options().requests;
  options.flow = FlowOf(exported, peer.hash);
  options.prio = exported.prio;
  return options;
}

// Shortens the vector to its first `bytes` (> 0); returns how many entries are left.
size_t Shorten(iovec* vector, size_t count, size_t bytes) {
  for (size_t i = 0; i < count; ++i) {
    if (vector[i].iov_len >= bytes) {
      vector[i].iov_len = bytes;
      return i + 1;
    }
    bytes -= vector[i].iov_len;
  }
  return count;
}

// A payload or an answer must move so much, or its rest, in each payload timeout: a byte now and
// then would hold its memory for ever.
constexpr uint64_t kProgressBytes = 256 * kKiB;

}  // namespace

Connection::Connection(Roster& roster, Parked parked)
    : Member(roster, std::move(parked.guest)),
      admission_(parked.admission),
      place_(std::move(parked.place)),
      stats_(admission_.exported->stats->For(DoorKind::kNbd, reactor().id())),
      session_(reactor(), *admission_.exported->target, std::move(parked.negotiated),
               OptionsOf(roster.door(), *admission_.exported, peer()), *this, stats_),
      seat_(std::move(parked.seat)),
      received_ns_(reactor().now_ns()) {
  stats_.opened.Add(1);
  send_.owner = this;
  send_.run = [](TurnTask& task) noexcept { static_cast<SendTask&>(task).owner->EndOfTurn(); };
}

void Connection::Start() noexcept {
  if (admission_.exported->withdrawn.load()) return Cut("the export is taken away");
  if (admission_.Overtaken() && PeerClosed()) {
    return Cut("its peer has closed, and another connection was admitted");
  }
  roster().door().Tell(ClientEvent::kOpened, *this, "");
  TimeIsUp();
  session_.Fed(0);
  OnSessionChanged();
}

void Connection::Drain() noexcept {
  if (leaving()) return;
  draining_ = true;
  session_.Drain();
  OnSessionChanged();
}

void Connection::OnSessionChanged() noexcept { reactor().AtSend(send_); }

void Connection::Received(int result) noexcept {
  received_bytes_ += static_cast<uint64_t>(std::max(result, 0));
  session_.Fed(result > 0 ? static_cast<size_t>(result) : 0);
  const bool another = session_.payloads() != payload_;
  if (another || !session_.awaits_payload() || received_bytes_ >= kProgressBytes) StampReceive();
  if (result < 0) return Cut(absl::StrCat("receive: ", std::strerror(-result)));
  if (result == 0) session_.EndOfInput();
  OnSessionChanged();
}

void Connection::Writable() noexcept { OnSessionChanged(); }

void Connection::EndOfTurn() noexcept {
  if (leaving()) return LeaveIfSettled();
  const bool flushed = Flush();
  if (leaving()) return;
  if (flushed && session_.finished()) return EndGently(session_.end_reason());
  if (flushed && draining_ && session_.quiet()) return EndGently("the server is shutting down");
  if (!transport().receiving() && session_.wants_receive()) ReceiveMore();
}

bool Connection::Flush() noexcept {
  std::array<iovec, kSendSegments> vector;
  size_t left = kSendBytesPerTurn;
  while (session_.has_output()) {
    if (left == 0) {
      reactor().AtSend(send_);
      return false;
    }
    const size_t whole = session_.Output(vector.data(), vector.size());
    const size_t count = Shorten(vector.data(), whole, left);
    const int sent = transport().Send(vector.data(), count);
    if (sent == -EAGAIN) {
      if (!send_stuck_) StampSend();
      send_stuck_ = true;
      transport().AwaitWritable();
      return false;
    }
    if (sent < 0) {
      Cut(absl::StrCat("send: ", std::strerror(-sent)));
      return false;
    }
    left -= static_cast<size_t>(sent);
    sent_bytes_ += static_cast<uint64_t>(sent);
    session_.Sent(static_cast<size_t>(sent));
    if (sent_bytes_ >= kProgressBytes || !session_.has_output()) StampSend();
  }
  send_stuck_ = false;
  return true;
}

void Connection::StampReceive() noexcept {
  received_ns_ = reactor().now_ns();
  received_bytes_ = 0;
  payload_ = session_.payloads();
}

void Connection::StampSend() noexcept {
  sent_ns_ = reactor().now_ns();
  sent_bytes_ = 0;
}

void Connection::ReceiveMore() noexcept {
  if (!session_.awaits_payload() || session_.payloads() != payload_) StampReceive();
  const size_t count = session_.ReceiveInto(receive_.data(), receive_.size());
  transport().Receive(receive_.data(), count);
}

Connection::Deadline Connection::NextDeadline() const noexcept {
  const DoorOptions& limits = roster().door().options();
  Deadline next{kForever, ""};
  const auto consider = [&next](uint64_t at_ns, const char* why) {
    if (at_ns < next.at_ns) next = {at_ns, why};
  };
  if (send_stuck_) consider(sent_ns_ + limits.payload_timeout_ns, "an answer was not taken");
  if (transport().receiving()) {
    if (session_.awaits_payload()) {
      consider(received_ns_ + limits.payload_timeout_ns, "a payload stalled");
    } else if (limits.idle_timeout_ns != 0 && session_.quiet()) {
      consider(std::max(received_ns_, sent_ns_) + limits.idle_timeout_ns, "idle");
    }
  }
  return next;
}

// Nothing is late between two looks: what begins to be owed after this look is due no sooner than
// the next one.
void Connection::TimeIsUp() noexcept {
  const DoorOptions& limits = roster().door().options();
  const uint64_t now_ns = reactor().now_ns();
  const Deadline next = NextDeadline();
  if (next.at_ns <= now_ns) return Cut(next.why);
  uint64_t look_ns = now_ns + limits.payload_timeout_ns;
  if (limits.idle_timeout_ns != 0) look_ns = std::min(look_ns, now_ns + limits.idle_timeout_ns);
  WakeAt(std::min(look_ns, next.at_ns));
}

}  // namespace sluice::nbd
