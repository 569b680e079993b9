// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/engine.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr int kTickMs = 250;

}  // namespace

Result<std::shared_ptr<Engine>> Engine::Start() {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (epoll < 0 || wake < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, wake, &event) != 0) {
    Status status(StatusCode::kUnavailable,
                  std::string("no epoll or eventfd: ") + std::strerror(errno));
    if (epoll >= 0) close(epoll);
    if (wake >= 0) close(wake);
    return status;
  }
  std::shared_ptr<Engine> engine(new Engine(epoll, wake));
  engine->thread_ = std::thread([&loop = *engine] { loop.Loop(); });
  return engine;
}

Engine::~Engine() {
  SLUICE_CHECK(!OnThread());
  stop_.store(true);
  Wake();
  thread_.join();
  close(epoll_);
  close(wake_);
}

void Engine::Wake() {
  const uint64_t one = 1;
  SLUICE_CHECK(write(wake_, &one, sizeof(one)) == sizeof(one));
}

void Engine::Watch(int fd, uint32_t events, Handler& handler, bool again) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  SLUICE_CHECK(epoll_ctl(epoll_, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0);
  if (!again) handlers_.push_back(&handler);
}

void Engine::Unwatch(int fd, Handler& handler) {
  SLUICE_CHECK(epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr) == 0);
  std::erase(handlers_, &handler);
  // What was already reported of it must not reach it any more.
  for (int i = 0; i < events_left_; ++i) {
    epoll_event& event = events_[static_cast<size_t>(i)];
    if (event.data.ptr == &handler) event.events = 0;
  }
  std::erase(soon_, &handler);
}

void Engine::Loop() {
  while (!stop_.load(std::memory_order_relaxed)) {
    RunPosted();
    RunTurnEnds();
    const int count =
        epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), SleepMs());
    SLUICE_CHECK(count >= 0 || errno == EINTR);
    Dispatch(std::max(count, 0));
    const uint64_t now_ns = MonotonicNs();
    if (now_ns - ticked_ns_ < kTickMs * kMillisecond) continue;
    ticked_ns_ = now_ns;
    const std::vector<Handler*> handlers = handlers_;
    for (Handler* handler : handlers) handler->OnTick(now_ns);
  }
}

void Engine::RunTurnEnds() {
  while (!soon_.empty()) {
    Handler* const handler = soon_.back();
    soon_.pop_back();
    handler->OnTurnEnd();
  }
}

int Engine::SleepMs() {
  if (posted()) return 0;
  return std::any_of(handlers_.begin(), handlers_.end(), [](Handler* h) { return h->busy(); })
             ? kTickMs
             : -1;
}

void Engine::Dispatch(int count) {
  events_left_ = count;
  for (int i = 0; i < count; ++i) {
    const epoll_event event = events_[static_cast<size_t>(i)];
    if (event.data.ptr != nullptr) {
      if (event.events != 0) static_cast<Handler*>(event.data.ptr)->OnReady(event.events);
      continue;
    }
    uint64_t wakes = 0;
    SLUICE_CHECK(read(wake_, &wakes, sizeof(wakes)) == sizeof(wakes));
  }
  events_left_ = 0;
}

}  // namespace internal
SLUICE_SDK_END
