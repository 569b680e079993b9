// SPDX-License-Identifier: Apache-2.0
#include "client/bench/progress.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>

#include "client/bench/time.h"
#include "core/check.h"

namespace sluice::bench {
namespace {

constexpr int kLineMs = 500;
constexpr int kInterruptedStatus = 128 + SIGINT;

}  // namespace

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, &former_mask_);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC);
  done_ = eventfd(0, EFD_CLOEXEC);
  SLUICE_CHECK(signals_ >= 0 && done_ >= 0);
}

Progress::~Progress() {
  close(signals_);
  close(done_);
  pthread_sigmask(SIG_SETMASK, &former_mask_, nullptr);
}

void Progress::WorkerDone() {
  if (running_.fetch_sub(1) != 1) return;
  const uint64_t one = 1;
  SLUICE_CHECK(write(done_, &one, sizeof(one)) == sizeof(one));
}

void Progress::TakeSignal(Control& control) {
  signalfd_siginfo info;
  SLUICE_CHECK(read(signals_, &info, sizeof(info)) == sizeof(info));
  if (interrupted_) _exit(kInterruptedStatus);
  interrupted_ = true;
  control.stop.store(true);
}

void Progress::Watch(const char* name, uint64_t time_ns, uint32_t block_size, Control& control,
                     const std::function<uint64_t()>& answered) {
  const uint64_t begin_ns = NowNs();
  uint64_t line_ns = begin_ns;
  uint64_t line_answered = 0;
  pollfd waited[2] = {{done_, POLLIN, 0}, {signals_, POLLIN, 0}};
  while (true) {
    const int ready = poll(waited, 2, terminal_ ? kLineMs : -1);
    if (ready > 0 && waited[1].revents != 0) TakeSignal(control);
    if (ready > 0 && waited[0].revents != 0) break;
    if (!terminal_) continue;
    const uint64_t now_ns = NowNs();
    const uint64_t sum = answered();
    const double rate = static_cast<double>(sum - line_answered) * kSecond /
                        static_cast<double>(now_ns - line_ns + 1);
    std::fprintf(stderr, "\r%-8s %7.1f s", name, static_cast<double>(now_ns - begin_ns) / kSecond);
    if (time_ns > 0) std::fprintf(stderr, " of %.1f", static_cast<double>(time_ns) / kSecond);
    std::fprintf(stderr, "  %10.0f IOPS  %9.1f MB/s\033[K", rate, rate * block_size / 1e6);
    line_ns = now_ns;
    line_answered = sum;
  }
  if (terminal_) std::fputs("\r\033[K", stderr);
  uint64_t count = 0;
  SLUICE_CHECK(read(done_, &count, sizeof(count)) == sizeof(count));
}

}  // namespace sluice::bench
