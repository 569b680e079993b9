// SPDX-License-Identifier: Apache-2.0
// `sluice events`
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include "absl/strings/str_format.h"
#include "client/control/commands.h"
#include "client/control/json.h"
#include "client/control/words.h"
#include "sluice/v1/stats.grpc.pb.h"

namespace sluice::control {
namespace {

// What is kept comes at once: a server that is silent for so long has said it all.
constexpr auto kQuiet = std::chrono::milliseconds(500);
// The revision before every event.
constexpr uint64_t kBeginning = 1;

std::string LineOf(const v1::Event& event) {
  return absl::StrFormat("%s  %-18s %-16s %s  [%d]\n", TimeText(event.unix_ns()),
                         EnumText(*v1::EventKind_descriptor(), event.kind()),
                         Harmless(event.subject()), Harmless(event.text()), event.revision());
}

// Cancels a call that has brought nothing for kQuiet.
class Silence {
 public:
  explicit Silence(grpc::ClientContext& context)
      : thread_([this, &context] {
          std::unique_lock lock(mutex_);
          while (!over_) {
            heard_ = false;
            wake_.wait_for(lock, kQuiet, [this] { return over_ || heard_; });
            if (over_ || heard_) continue;
            over_ = true;
            context.TryCancel();
          }
        }) {}
  ~Silence() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  void Heard() {
    const std::lock_guard lock(mutex_);
    heard_ = true;
    wake_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool heard_ = false, over_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace

int ShowEvents(const Link& link, const EventOptions& options) {
  const bool everything = options.since == 0 && !options.follow;
  v1::WatchEventsRequest request;
  request.set_since_revision(everything ? kBeginning : options.since);
  const auto stub = v1::StatsService::NewStub(link.channel());
  grpc::ClientContext context;
  if (!options.follow) Link::Prepare(context, options.patience);
  const auto stream = stub->WatchEvents(&context, request);
  std::unique_ptr<Silence> silence;
  if (!options.follow) {
    // The connection is no part of the silence.
    stream->WaitForInitialMetadata();
    silence = std::make_unique<Silence>(context);
  }
  v1::WatchEventsResponse answer;
  while (stream->Read(&answer)) {
    if (silence) silence->Heard();
    for (const v1::Event& event : answer.events()) {
      // Who asks for everything knows that it does not begin with the first.
      if (everything && event.kind() == v1::EVENT_KIND_GAP) continue;
      Print(options.json ? JsonOf(event) + "\n" : LineOf(event));
    }
    std::fflush(stdout);
  }
  silence.reset();
  const grpc::Status status = stream->Finish();
  const bool ended = status.ok() || (!options.follow && status.error_code() == grpc::CANCELLED);
  return ended ? 0 : Fail(link.Explain(status));
}

}  // namespace sluice::control
