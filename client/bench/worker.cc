// SPDX-License-Identifier: Apache-2.0
#include "client/bench/worker.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/bench/time.h"
#include "core/check.h"

namespace sluice::bench {
namespace {

// How long a sleep goes on before the stop flag is looked at.
constexpr int kTickMs = 100;

}  // namespace

Worker::Worker(const Options& options) : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  SLUICE_CHECK(epoll_ >= 0);
}

Worker::~Worker() { close(epoll_); }

void Worker::Add(std::unique_ptr<Stream> stream) {
  const timeval tick{.tv_sec = 0, .tv_usec = kTickMs * 1000};
  setsockopt(stream->fd(), SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = streams_.size();
  SLUICE_CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, stream->fd(), &event) == 0);
  streams_.push_back(std::move(stream));
  watched_for_room_.push_back(false);
}

void Worker::ResetTally() {
  tally_ = Tally();
  answered_.store(0, std::memory_order_relaxed);
}

absl::Status Worker::Run(Control& control) {
  const uint64_t cpu_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  absl::Status status = Drive(control);
  tally_.cpu_ns += ClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
  if (!status.ok()) control.stop.store(true);
  return status;
}

absl::Status Worker::Drive(Control& control) {
  progress_ns_ = NowNs();
  finished_ = 0;
  for (auto& stream : streams_) {
    if (absl::Status status = stream->Pump(control.deadline_ns); !status.ok()) return status;
    finished_ += stream->finished() ? 1 : 0;
  }
  bool stopped = false;
  while (finished_ < streams_.size()) {
    if (!stopped && control.stop.load(std::memory_order_relaxed)) {
      stopped = true;
      for (auto& stream : streams_) stream->Stop();
    }
    if (options_.poll_ns > 0) {
      const auto came = Poll(control);
      if (!came.ok()) return came.status();
      if (*came) continue;
    }
    if (absl::Status status = Sleep(control); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Worker::Step(Stream& stream, bool wait, const Control& control) {
  const bool was_finished = stream.finished();
  const auto came = stream.Receive(wait);
  if (!came.ok() || !*came) return came;
  answered_.store(tally_.answered, std::memory_order_relaxed);
  progress_ns_ = tally_.end_ns;
  if (absl::Status status = stream.Pump(control.deadline_ns); !status.ok()) return status;
  finished_ += stream.finished() && !was_finished ? 1 : 0;
  return true;
}

absl::StatusOr<bool> Worker::Poll(const Control& control) {
  const uint64_t until_ns = NowNs() + options_.poll_ns;
  do {
    bool any = false;
    for (auto& stream : streams_) {
      if (stream->finished()) continue;
      if (stream->unsent()) {
        if (absl::Status s = stream->Pump(control.deadline_ns); !s.ok()) return s;
      }
      const auto came = Step(*stream, false, control);
      if (!came.ok()) return came;
      any = any || *came;
    }
    if (any) return true;
  } while (NowNs() < until_ns);
  return false;
}

absl::Status Worker::Sleep(const Control& control) {
  if (streams_.size() == 1 && !streams_[0]->unsent()) {
    const auto came = Step(*streams_[0], true, control);
    if (!came.ok()) return came.status();
    return *came ? absl::OkStatus() : CheckPatience();
  }
  for (size_t i = 0; i < streams_.size(); ++i) Watch(i);
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(), kTickMs);
  if (count <= 0) return CheckPatience();
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    Stream& stream = *streams_[event.data.u64];
    if ((event.events & EPOLLOUT) != 0) {
      if (absl::Status status = stream.Pump(control.deadline_ns); !status.ok()) return status;
    }
    if ((event.events & ~uint32_t{EPOLLOUT}) != 0) {
      const auto came = Step(stream, false, control);
      if (!came.ok()) return came.status();
    }
  }
  return absl::OkStatus();
}

void Worker::Watch(size_t index) {
  const Stream& stream = *streams_[index];
  if (stream.unsent() == watched_for_room_[index]) return;
  epoll_event event{};
  event.events = stream.unsent() ? uint32_t{EPOLLIN} | EPOLLOUT : uint32_t{EPOLLIN};
  event.data.u64 = index;
  SLUICE_CHECK(epoll_ctl(epoll_, EPOLL_CTL_MOD, stream.fd(), &event) == 0);
  watched_for_room_[index] = stream.unsent();
}

absl::Status Worker::CheckPatience() const {
  if (NowNs() - progress_ns_ < options_.patience_ns) return absl::OkStatus();
  uint64_t due = 0;
  for (const auto& stream : streams_) due += stream->in_flight();
  return absl::DeadlineExceededError(
      absl::StrCat("no reply for ", options_.patience_ns / kSecond, " s, ", due,
                   " are due: look into the server's log, or allow more by --timeout"));
}

}  // namespace sluice::bench
