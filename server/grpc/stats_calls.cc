// SPDX-License-Identifier: Apache-2.0
// StatsService but for WatchEvents.
#include <chrono>
#include <memory>

#include "server/grpc/control_services.h"
#include "server/grpc/long_call.h"
#include "server/grpc/stats_snapshot.h"

namespace sluice::rpc {
namespace {

constexpr uint32_t kIntervalMinMs = 100;
constexpr uint32_t kIntervalMaxMs = 60'000;
constexpr uint32_t kIntervalDefaultMs = 1'000;

absl::Status Get(Host& host, const v1::GetStatsRequest& from, v1::GetStatsResponse& to) {
  FillStats(host.control->management.snapshot(), from.counters_only(), *to.mutable_stats());
  return absl::OkStatus();
}

using StatsCall = LongCall<v1::StatsService::AsyncService, v1::WatchStatsRequest,
                           ::grpc::ServerAsyncWriter<v1::WatchStatsResponse>>;

// One answer an interval, filled at the desk; one that finds no room there is left out.
class WatchStats final : public StatsCall {
 public:
  using StatsCall::StatsCall;

 private:
  std::shared_ptr<StatsCall> Another() override {
    return std::make_shared<WatchStats>(host_, quota_, cq_, service_, ask_);
  }
  void Advance() override {
    if (const ::grpc::Status refused = Admit(host_, context_); !refused.ok()) return Over(refused);
    const uint32_t ms = request_.interval_ms() != 0 ? request_.interval_ms() : kIntervalDefaultMs;
    if (ms < kIntervalMinMs || ms > kIntervalMaxMs) {
      return Over(
          StatusOf(absl::InvalidArgumentError("interval_ms: give 100 to 60000, or 0 for 1000")));
    }
    if (draining()) return Over(::grpc::Status::OK);
    if (fresh_) {
      fresh_ = false;
      return Write(response_);
    }
    if (filling_ || timed_) return;
    timed_ = true;
    next_ = std::max(next_ + std::chrono::milliseconds(ms), std::chrono::steady_clock::now());
    WakeAt(next_);
  }
  void OnTime() override {
    {
      const Lock lock(mutex_);
      timed_ = false;
      filling_ = host_.control->desk.Run(
          [self = std::static_pointer_cast<WatchStats>(shared_from_this())] { self->Fill(); });
    }
    Turn();
  }
  void Fill() {
    v1::WatchStatsResponse filled;
    FillStats(host_.control->management.snapshot(), request_.counters_only(),
              *filled.mutable_stats());
    {
      const Lock lock(mutex_);
      response_.Swap(&filled);
      filling_ = false;
      fresh_ = true;
    }
    Turn();
  }

  // Guarded by the mutex.
  v1::WatchStatsResponse response_;
  bool fresh_ = false;
  bool filling_ = false;
  bool timed_ = false;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace

void AwaitStats(Host& host, ::grpc::ServerCompletionQueue& cq) {
  using Stats = v1::StatsService::AsyncService;
  Stats& stats = host.control->stats;
  AwaitControl<Get>(host, cq, stats, &Stats::RequestGetStats);
  std::make_shared<WatchStats>(host, host.others.emplace_back(kLongCalls), cq, stats,
                               &Stats::RequestWatchStats)
      ->Start();
}

}  // namespace sluice::rpc
