// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_loop.h"

#include <grpc/support/time.h>

#include <algorithm>

#include "core/check.h"
#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr uint64_t kLongestSleepNs = 3600 * kSecond;

gpr_timespec After(uint64_t ns) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(static_cast<int64_t>(ns), GPR_TIMESPAN));
}

}  // namespace

GrpcLoop::GrpcLoop(Handler& handler) : handler_(handler) {
  thread_ = std::thread([this] { Loop(); });
}

GrpcLoop::~GrpcLoop() {
  SLUICE_CHECK(!OnThread());
  stop_.store(true);
  Wake();
  thread_.join();
  // Nobody posts any more: all that may still come is the alarm.
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) SLUICE_CHECK(tag == &alarm_);
}

void GrpcLoop::Wake() {
  if (!alarm_set_.exchange(true)) alarm_.Set(&queue_, gpr_time_0(GPR_CLOCK_MONOTONIC), &alarm_);
}

void GrpcLoop::Loop() {
  while (Turn()) {
  }
}

bool GrpcLoop::Turn() {
  RunPosted();
  handler_.OnTurnEnd();
  if (stop_.load(std::memory_order_relaxed) && guests_ == 0) return false;
  uint64_t sleep_ns = 0;
  if (!posted()) {
    const uint64_t now_ns = MonotonicNs();
    const uint64_t tick_ns = handler_.next_tick_ns();
    sleep_ns = std::min(tick_ns - std::min(tick_ns, now_ns), kLongestSleepNs);
  }
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, After(sleep_ns)) == ::grpc::CompletionQueue::GOT_EVENT) {
    if (tag == &alarm_) {
      alarm_set_.store(false);
    } else {
      static_cast<Tag*>(tag)->Proceed(ok);
    }
  }
  if (const uint64_t now_ns = MonotonicNs(); now_ns >= handler_.next_tick_ns()) {
    handler_.OnTick(now_ns);
  }
  return true;
}

}  // namespace internal
SLUICE_SDK_END
