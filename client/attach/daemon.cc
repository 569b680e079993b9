// SPDX-License-Identifier: Apache-2.0
#include "client/attach/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/units.h"

namespace sluice::attach {
namespace {

sigset_t OurSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&signals, signal);
  return signals;
}

// Memory that is written out to the device would need the keeper, and the keeper memory. Without
// the rights for it a keeper is as good, as long as memory is not scarce.
void Harden() {
  static_cast<void>(mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
  static_cast<void>(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
}

// Sleeps until `wake_ns`, an event of the keeper's, or one of `readable` (negative: none).
void Await(const Keeper& keeper, std::initializer_list<int> readable, uint64_t wake_ns) {
  std::vector<pollfd> events;
  for (const int fd : readable) events.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  keeper.AddEvents(events);
  const uint64_t now = NowNs();
  constexpr uint64_t kLongest = 3600 * kSecond;
  const uint64_t left = wake_ns > now ? std::min(wake_ns - now, kLongest) : 0;
  poll(events.data(), events.size(), static_cast<int>((left + kMillisecond - 1) / kMillisecond));
}

void TakeSignals(int signals, Keeper& keeper) {
  signalfd_siginfo info{};
  while (read(signals, &info, sizeof(info)) == sizeof(info)) {
    keeper.Stop(info.ssi_signo == SIGQUIT);
  }
}

std::string StateOf(const Keeper& keeper) {
  if (keeper.live_links() < keeper.device().connections) return "reconnecting";
  return keeper.stopping() ? "detaching" : "attached";
}

}  // namespace

void Voice::ToSyslog() {
  openlog("sluice-attach", LOG_PID, LOG_DAEMON);
  syslog_ = true;
}

void Voice::Say(const std::string& text) const {
  if (syslog_) {
    syslog(LOG_NOTICE, "%s: %s", name_.c_str(), text.c_str());
  } else {
    std::fprintf(stderr, "sluice: %s: %s\n", name_.c_str(), text.c_str());
  }
}

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}

void HoldSignals() {
  const sigset_t signals = OurSignals();
  SLUICE_CHECK(sigprocmask(SIG_BLOCK, &signals, nullptr) == 0);
}

bool GoToBackground() {
  const pid_t child = fork();
  if (child > 0) return false;
  if (child < 0) {
    std::fprintf(stderr, "sluice: cannot go into the background (%s): staying here\n",
                 std::strerror(errno));
    return true;
  }
  setsid();
  static_cast<void>(chdir("/"));
  const int null = open("/dev/null", O_RDWR);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, standard);
  if (null > STDERR_FILENO) close(null);
  return true;
}

int RunKeeper(Keeper& keeper, const NetlinkKernel& kernel, Watch* watch, RecordFile& file,
              Record record, bool foreground) {
  Harden();
  const sigset_t held = OurSignals();
  const int signals = signalfd(-1, &held, SFD_NONBLOCK | SFD_CLOEXEC);
  SLUICE_CHECK(signals >= 0);
  record.pid = getpid();
  Record told;
  if (foreground) sd_notify(0, "READY=1");
  Keeper::Verdict verdict = Keeper::Verdict::kKeep;
  while ((verdict = keeper.Step(NowNs())) == Keeper::Verdict::kKeep) {
    record.state = StateOf(keeper);
    record.live_connections = keeper.live_links();
    if (record != told) {
      file.Write(record);
      if (foreground) {
        sd_notify(0, absl::StrCat("STATUS=", record.state, ", ", record.live_connections, " of ",
                                  record.connections, " connections")
                         .c_str());
      }
      told = record;
    }
    Await(keeper, {signals, kernel.event_fd(), watch == nullptr ? -1 : watch->event_fd()},
          keeper.wake_ns());
    TakeSignals(signals, keeper);
    if (watch != nullptr && watch->TakeNews()) keeper.Suspect();
  }
  if (foreground) sd_notify(0, "STOPPING=1");
  close(signals);
  return verdict == Keeper::Verdict::kGaveUp ? 1 : 0;
}

}  // namespace sluice::attach
