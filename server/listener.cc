// SPDX-License-Identifier: Apache-2.0
#include "server/listener.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr uint64_t kBackOffNs = 100 * kMillisecond;
constexpr uint64_t kWarnEveryNs = 10 * kSecond;

}  // namespace

Listener::Listener(Reactor& reactor, std::unique_ptr<ListeningSocket> socket, Turnstile& turnstile,
                   ListenerStats& stats, Enter enter)
    : reactor_(reactor),
      socket_(std::move(socket)),
      turnstile_(turnstile),
      stats_(stats),
      enter_(std::move(enter)) {
  accept_.owner = this;
  accept_.done = [](RingOp& op) noexcept { static_cast<AcceptOp&>(op).owner->Accepted(op.result); };
  back_off_.owner = this;
  back_off_.run = [](Timer& timer) noexcept { static_cast<BackOff&>(timer).owner->Accept(); };
}

Listener::~Listener() {
  SLUICE_CHECK(!accepting_ && !back_off_.armed());
  if (waiting_fd_ >= 0) close(waiting_fd_);
}

void Listener::Start() noexcept { Accept(); }

void Listener::Accept() noexcept {
  accepting_ = true;
  static_cast<RingPoller&>(reactor_.poller()).Accept(accept_, socket_->fd());
}

void Listener::Accepted(int result) noexcept {
  accepting_ = false;
  if (stopping_) {
    if (result >= 0) close(result);
    return Finish();
  }
  if (result >= 0) {
    stats_.accepted.Add(1);
    waiting_fd_ = result;
    LetIn();
    if (waiting_fd_ >= 0) stats_.delayed.Add(1);
    return;
  }
  // The peer was gone before it was accepted, or a signal came: accept(2), "Error handling".
  if (result == -ECONNABORTED || result == -EINTR || result == -EPROTO) return Accept();
  stats_.errors.Add(1);
  const uint64_t now_ns = reactor_.now_ns();
  if (warned_ns_ == 0 || now_ns - warned_ns_ >= kWarnEveryNs) {
    warned_ns_ = now_ns;
    Log(LogLevel::kWarning,
        absl::StrCat("cannot accept on ", address().ToString(), ": ", std::strerror(-result),
                     "; trying again every 100 ms (EMFILE: raise the limit of open files)"));
  }
  reactor_.Arm(back_off_, now_ns + kBackOffNs);
}

void Listener::LetIn() noexcept {
  Turnstile::Ticket ticket = turnstile_.Enter();
  if (!ticket) return;
  enter_(std::exchange(waiting_fd_, -1), std::move(ticket));
  Accept();
}

void Listener::Resume() noexcept {
  if (waiting_fd_ >= 0 && !stopping_) LetIn();
}

void Listener::Stop(absl::AnyInvocable<void()> stopped) noexcept {
  SLUICE_CHECK(!stopping_);
  stopping_ = true;
  stopped_ = std::move(stopped);
  reactor_.Disarm(back_off_);
  if (accepting_) {
    static_cast<RingPoller&>(reactor_.poller()).CancelOp(accept_);
  } else {
    Finish();
  }
}

void Listener::Finish() noexcept {
  if (waiting_fd_ >= 0) close(std::exchange(waiting_fd_, -1));
  std::exchange(stopped_, nullptr)();
}

}  // namespace sluice
