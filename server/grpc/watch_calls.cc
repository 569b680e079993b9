// SPDX-License-Identifier: Apache-2.0
// Calls that answer as things happen: WatchEvents and WaitOperation.
#include <chrono>
#include <memory>

#include "server/grpc/control_convert.h"
#include "server/grpc/control_services.h"
#include "server/grpc/long_call.h"

namespace sluice::rpc {
namespace {

constexpr size_t kEventsPerMessage = 256;
constexpr uint32_t kWaitMaxMs = 600'000;
constexpr uint32_t kWaitDefaultMs = 10'000;

using EventsCall = LongCall<v1::StatsService::AsyncService, v1::WatchEventsRequest,
                            ::grpc::ServerAsyncWriter<v1::WatchEventsResponse>>;

class WatchEvents final : public EventsCall {
 public:
  using EventsCall::EventsCall;

 private:
  EventLog& events() { return host_.control->management.control.events(); }

  std::shared_ptr<EventsCall> Another() override {
    return std::make_shared<WatchEvents>(host_, quota_, cq_, service_, ask_);
  }
  void Begin() override {
    since_ = request_.since_revision() != 0 ? request_.since_revision() : events().newest();
    watch_ = events().Subscribe([this] { Nudge(); });
  }
  void Advance() override {
    if (const ::grpc::Status refused = Admit(host_, context_); !refused.ok()) return Over(refused);
    const EventLog::Batch batch = events().Since(since_, kEventsPerMessage);
    if (batch.events.empty() && !batch.gap) {
      if (draining()) Over(::grpc::Status::OK);
      return;
    }
    response_.Clear();
    if (batch.gap) {
      v1::Event& gap = *response_.add_events();
      gap.set_kind(v1::EVENT_KIND_GAP);
      gap.set_revision(batch.from);
      gap.set_text("events before this revision are no longer kept");
    }
    for (const Event& event : batch.events) Describe(event, *response_.add_events());
    since_ = batch.events.empty() ? batch.from : batch.events.back().revision;
    Write(response_);
  }
  void End() override { watch_ = nullptr; }

  v1::WatchEventsResponse response_;
  uint64_t since_ = 0;
  std::unique_ptr<EventLog::Subscription> watch_;
};

using WaitCall = LongCall<v1::OperationService::AsyncService, v1::WaitOperationRequest,
                          ::grpc::ServerAsyncResponseWriter<v1::WaitOperationResponse>>;

// The log of events tells when an operation ends.
class WaitOperation final : public WaitCall {
 public:
  using WaitCall::WaitCall;

 private:
  Control& control() { return host_.control->management.control; }

  std::shared_ptr<WaitCall> Another() override {
    return std::make_shared<WaitOperation>(host_, quota_, cq_, service_, ask_);
  }
  void Begin() override {
    watch_ = control().events().Subscribe([this] { Nudge(); });
  }
  void Advance() override {
    if (const ::grpc::Status refused = Admit(host_, context_); !refused.ok()) return Over(refused);
    if (request_.timeout_ms() > kWaitMaxMs) {
      return Over(StatusOf(absl::InvalidArgumentError("timeout_ms: give at most 600000, or 0")));
    }
    const auto found = control().operations().Get(request_.id());
    if (!found.ok()) return Over(StatusOf(found.status()));
    if (found->state == Operation::State::kRunning && !late_ && !draining()) {
      if (!std::exchange(timed_, true)) WakeAt(Deadline());
      return;
    }
    v1::WaitOperationResponse response;
    Describe(*found, *response.mutable_operation());
    Answer(response);
  }
  std::chrono::steady_clock::time_point Deadline() const {
    const uint32_t ms = request_.timeout_ms() != 0 ? request_.timeout_ms() : kWaitDefaultMs;
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  }
  void OnTime() override {
    {
      const Lock lock(mutex_);
      late_ = true;
    }
    Turn();
  }
  void End() override { watch_ = nullptr; }

  bool timed_ = false;
  bool late_ = false;
  std::unique_ptr<EventLog::Subscription> watch_;
};

}  // namespace

void AwaitWaiters(Host& host, ::grpc::ServerCompletionQueue& cq) {
  std::make_shared<WatchEvents>(host, host.others.emplace_back(kLongCalls), cq, host.control->stats,
                                &v1::StatsService::AsyncService::RequestWatchEvents)
      ->Start();
  std::make_shared<WaitOperation>(host, host.others.emplace_back(kLongCalls), cq,
                                  host.control->operation,
                                  &v1::OperationService::AsyncService::RequestWaitOperation)
      ->Start();
}

}  // namespace sluice::rpc
