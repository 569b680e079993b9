// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/reconnect.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/check.h"
#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr uint64_t kFirstPauseMs = 10;
constexpr uint64_t kLongestPauseMs = 1000;

}  // namespace

absl::StatusOr<NbdConnection> OpenLink(const NbdUri& uri, const Options& options) {
  return OpenNbd(uri, {.extents = true},
                 static_cast<int>((options.connect_timeout_ms + 999) / 1000));
}

Reconnect::~Reconnect() {
  if (thread_.joinable()) thread_.join();
}

void Reconnect::Begin() {
  const std::lock_guard lock(mutex_);
  if (stop_) return;
  if (thread_.joinable()) thread_.join();  // the last one's, which is done
  thread_ = std::thread([this] { Attempt(); });
}

void Reconnect::PrepareToStop() {
  std::thread thread;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    thread = std::move(thread_);
  }
  wake_.notify_all();
  if (thread.joinable()) thread.join();
}

void Reconnect::Attempt() {
  const uint64_t until_ns = MonotonicNs() + options_.reconnect_ms * kMillisecond;
  uint64_t pause_ms = kFirstPauseMs;
  for (;;) {
    outcome_ = OpenLink(uri_, options_);
    if (outcome_.ok() || MonotonicNs() >= until_ns || !Pause(pause_ms)) break;
    pause_ms = std::min(2 * pause_ms, kLongestPauseMs);
  }
  engine_.Post(*this);
}

bool Reconnect::Pause(uint64_t pause_ms) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, std::chrono::milliseconds(pause_ms), [this] { return stop_; });
}

void Reconnect::Run() { done_(std::exchange(outcome_, absl::UnavailableError(""))); }

}  // namespace internal
SLUICE_SDK_END
