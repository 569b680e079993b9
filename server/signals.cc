// SPDX-License-Identifier: Apache-2.0
#include "server/signals.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/ring.h"

namespace sluice {
namespace {

sigset_t Handled() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGUSR1);
  return set;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = Handled();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

absl::StatusOr<std::unique_ptr<Signals>> Signals::Create() {
  const sigset_t set = Handled();
  const int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("signalfd: ", std::strerror(errno), "; raise the limit of open files"));
  }
  return std::unique_ptr<Signals>(new Signals(fd));
}

Signals::Signals(int fd) : fd_(fd) {
  poll_.owner = this;
  poll_.done = [](RingOp& op) noexcept { static_cast<PollOp&>(op).owner->Readable(); };
}

Signals::~Signals() {
  SLUICE_CHECK(!polling_);
  close(fd_);
}

void Signals::Start(Reactor& reactor, absl::AnyInvocable<void(int)> deliver) noexcept {
  reactor_ = &reactor;
  deliver_ = std::move(deliver);
  Await();
}

void Signals::Stop(absl::AnyInvocable<void()> stopped) noexcept {
  stopped_ = std::move(stopped);
  if (polling_) {
    static_cast<RingPoller&>(reactor_->poller()).CancelOp(poll_);
  } else {
    std::exchange(stopped_, nullptr)();
  }
}

void Signals::Await() noexcept {
  polling_ = true;
  static_cast<RingPoller&>(reactor_->poller()).PollFd(poll_, fd_, POLLIN);
}

void Signals::Readable() noexcept {
  polling_ = false;
  signalfd_siginfo info{};
  while (read(fd_, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    deliver_(static_cast<int>(info.ssi_signo));
  }
  if (stopped_ != nullptr) return std::exchange(stopped_, nullptr)();
  Await();
}

}  // namespace sluice
