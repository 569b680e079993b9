// SPDX-License-Identifier: Apache-2.0
#include "client/bench/nbd_worker.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "client/bench/time.h"
#include "core/check.h"

namespace sluice::bench {
namespace {

// How long a sleep goes on before the stop flag is looked at.
constexpr int kTickMs = 100;

}  // namespace

NbdWorker::NbdWorker(const Options& options)
    : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  SLUICE_CHECK(epoll_ >= 0);
}

NbdWorker::~NbdWorker() { close(epoll_); }

void NbdWorker::Add(std::unique_ptr<Stream> stream) {
  const timeval tick{.tv_sec = 0, .tv_usec = kTickMs * 1000};
  setsockopt(stream->fd(), SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = streams_.size();
  SLUICE_CHECK(epoll_ctl(epoll_, EPOLL_CTL_ADD, stream->fd(), &event) == 0);
  streams_.push_back(std::move(stream));
  watched_for_room_.push_back(false);
}

void NbdWorker::Close() {
  for (auto& stream : streams_) CloseNbd(std::move(stream->connection()));
}

absl::Status NbdWorker::Drive(Control& control) {
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
      for (auto& stream : streams_) stream->load().Stop();
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

absl::StatusOr<bool> NbdWorker::Step(Stream& stream, bool wait, const Control& control) {
  const bool was_finished = stream.finished();
  const auto came = stream.Receive(wait);
  if (!came.ok() || !*came) return came;
  Publish();
  progress_ns_ = tally().end_ns;
  if (absl::Status status = stream.Pump(control.deadline_ns); !status.ok()) return status;
  finished_ += stream.finished() && !was_finished ? 1 : 0;
  return true;
}

absl::StatusOr<bool> NbdWorker::Poll(const Control& control) {
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

absl::Status NbdWorker::Sleep(const Control& control) {
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

void NbdWorker::Watch(size_t index) {
  const Stream& stream = *streams_[index];
  if (stream.unsent() == watched_for_room_[index]) return;
  epoll_event event{};
  event.events = stream.unsent() ? uint32_t{EPOLLIN} | EPOLLOUT : uint32_t{EPOLLIN};
  event.data.u64 = index;
  SLUICE_CHECK(epoll_ctl(epoll_, EPOLL_CTL_MOD, stream.fd(), &event) == 0);
  watched_for_room_[index] = stream.unsent();
}

absl::Status NbdWorker::CheckPatience() const {
  if (NowNs() - progress_ns_ < options_.patience_ns) return absl::OkStatus();
  uint64_t due = 0;
  for (const auto& stream : streams_) due += stream->load().in_flight();
  return Impatient(options_, due);
}

}  // namespace sluice::bench
