// SPDX-License-Identifier: Apache-2.0
#include "client/attach/watch.h"

#include <grpcpp/client_context.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "client/control/link.h"
#include "core/check.h"
#include "sluice/v1/stats.grpc.pb.h"

namespace sluice::attach {
namespace {

constexpr std::chrono::seconds kPause{5};  // before a server that is not there is called again

// Whatever happened between its user's last look and this call is among what the server keeps, or a
// gap: news either way. That it may be old news costs a look.
constexpr uint64_t kAllThatIsKept = 1;

// What may have changed an export's size.
bool Concerns(v1::EventKind kind) {
  switch (kind) {
    case v1::EVENT_KIND_GAP:
    case v1::EVENT_KIND_DISK_CHANGED:
    case v1::EVENT_KIND_VOLUME_CHANGED:
    case v1::EVENT_KIND_EXPORT_CHANGED:
    case v1::EVENT_KIND_OPERATION_CHANGED:
      return true;
    default:
      return false;
  }
}

}  // namespace

Watch::Watch(const control::ServerOptions& server)
    : event_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), thread_([this, server] { Run(server); }) {
  SLUICE_CHECK(event_fd_ >= 0);
}

Watch::~Watch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (call_) call_->TryCancel();
  }
  stop_.notify_all();
  thread_.join();
  close(event_fd_);
}

bool Watch::TakeNews() {
  uint64_t news = 0;
  return read(event_fd_, &news, sizeof(news)) == sizeof(news);
}

void Watch::Run(const control::ServerOptions& server) {
  for (;;) {
    Listen(server);
    std::unique_lock lock(mutex_);
    call_.reset();
    if (stop_.wait_for(lock, kPause, [this] { return stopping_; })) return;
  }
}

void Watch::Listen(const control::ServerOptions& server) {
  const auto link = control::Link::Open(server);
  if (!link.ok()) return;
  grpc::ClientContext* call = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    call_ = std::make_unique<grpc::ClientContext>();
    call = call_.get();
  }
  const auto stub = v1::StatsService::NewStub(link->channel());
  v1::WatchEventsRequest request;
  request.set_since_revision(kAllThatIsKept);
  const auto events = stub->WatchEvents(call, request);
  v1::WatchEventsResponse response;
  while (events->Read(&response)) {
    bool news = false;
    for (const v1::Event& event : response.events()) news = news || Concerns(event.kind());
    const uint64_t one = 1;
    if (news) SLUICE_CHECK(write(event_fd_, &one, sizeof(one)) == sizeof(one));
  }
  static_cast<void>(events->Finish());
}

}  // namespace sluice::attach
