// SPDX-License-Identifier: Apache-2.0
#include "client/bench/grpc_worker.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/bench/time.h"
#include "core/units.h"

namespace sluice::bench {
namespace {

using internal::IoThread;
using internal::OpKind;

// How long a wait goes on before the stop flag and the patience are looked at.
constexpr auto kTick = std::chrono::milliseconds(100);

// Runs something on an I/O thread and waits for it.
void CallOn(IoThread& thread, const std::function<void()>& what) {
  class Calling final : public IoThread::Message {
   public:
    explicit Calling(const std::function<void()>& called) : called_(called) {}
    void Run() override { called_(); }

   private:
    const std::function<void()>& called_;
  } calling(what);
  thread.Call(calling);
}

OpKind KindOf(nbd::Command command) {
  switch (command) {
    case nbd::Command::kWrite:
      return OpKind::kWrite;
    case nbd::Command::kWriteZeroes:
      return OpKind::kWriteZeroes;
    case nbd::Command::kTrim:
      return OpKind::kDiscard;
    case nbd::Command::kFlush:
      return OpKind::kFlush;
    default:
      return OpKind::kRead;
  }
}

nbd::Error ErrorOf(const Status& status) {
  return status.ok() ? nbd::Error::kNone : static_cast<nbd::Error>(status.ToErrno());
}

// Not an answer to the request, but the end of the session.
bool IsLoss(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kUnknownOutcome ||
         code == StatusCode::kFenced || code == StatusCode::kProtocolError ||
         code == StatusCode::kCancelled;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcWorker>> GrpcWorker::Connect(const Options& options,
                                                                uint32_t connections) {
  if (const Status status = control::CheckSecurity(options.uri_text, options.server);
      !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(options.uri_text, ": ", status.message()));
  }
  auto engine = internal::Engine::Start();
  if (!engine.ok()) return absl::InternalError(engine.status().message());
  sluice::Options how;
  how.connections = connections;
  how.queue_depth = options.depth;
  how.access = options.changes() ? Access::kShared : Access::kReadOnly;
  how.reconnect_ms = 0;  // a session that is lost ends the run
  how.reply_timeout_ms = 0;
  how.tls = {options.server.tls_ca, options.server.tls_cert, options.server.tls_key, ""};
  how.insecure_tcp = options.server.insecure_tcp;
  auto transport = internal::OpenTransport(**engine, options.uri_text, how);
  if (!transport.ok()) {
    return absl::UnavailableError(
        absl::StrCat(options.uri_text, ": ", transport.status().message()));
  }
  return std::unique_ptr<GrpcWorker>(
      new GrpcWorker(options, connections, *std::move(engine), *std::move(transport)));
}

GrpcWorker::GrpcWorker(const Options& options, uint32_t connections,
                       std::shared_ptr<internal::Engine> engine,
                       std::unique_ptr<internal::Transport> transport)
    : options_(options),
      lanes_(connections),
      engine_(std::move(engine)),
      transport_(std::move(transport)) {}

GrpcWorker::~GrpcWorker() {
  transport_->PrepareToStop();
  CallOn(transport_->thread(), [this] { transport_->Stop(); });
}

void GrpcWorker::Prepare(const Region& region, Coverage* coverage) {
  for (Lane& lane : lanes_) {
    lane.load = std::make_unique<Load>(options_, region, coverage);
    lane.ops.resize(options_.depth);
    lane.data.resize(size_t{options_.depth} * options_.block_size);
    for (SlotOp& op : lane.ops) {
      op.owner = this;
      op.lane = &lane;
    }
  }
}

absl::Status GrpcWorker::Drive(Control& control) {
  deadline_ns_ = control.deadline_ns;
  progress_ns_.store(NowNs(), std::memory_order_relaxed);
  finished_ = false;
  lost_.clear();
  CallOn(transport_->thread(), [this] { Begin(); });
  bool stopped = false;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kTick, [this] { return finished_; })) {
    const uint64_t progress_ns = progress_ns_.load();
    const uint64_t now_ns = NowNs();  // read behind it: an answer between the two is no silence
    const uint64_t silent_ns = now_ns - std::min(now_ns, progress_ns);
    lock.unlock();
    if (!stopped && control.stop.load()) {
      stopped = true;
      CallOn(transport_->thread(), [this] { StopAll(); });
    }
    if (silent_ns >= options_.patience_ns) {
      uint64_t due = 0;
      CallOn(transport_->thread(), [this, &due] {
        for (Lane& lane : lanes_) due += lane.load->in_flight();
      });
      // Nothing touches the tally behind this.
      CallOn(transport_->thread(), [this] { transport_->Stop(); });
      return Impatient(options_, due);
    }
    lock.lock();
  }
  return lost_.empty() ? absl::OkStatus() : absl::UnavailableError(lost_);
}

void GrpcWorker::Begin() {
  cpu_ns_ = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  const uint64_t now_ns = NowNs();
  for (Lane& lane : lanes_) Pump(lane, now_ns);
  CheckFinished();
}

void GrpcWorker::StopAll() {
  for (Lane& lane : lanes_) lane.load->Stop();
  CheckFinished();
}

void GrpcWorker::Pump(Lane& lane, uint64_t now_ns) {
  // An op that ends inside Start() leaves its slot to the loop that runs already.
  if (std::exchange(pumping_, true)) return;
  lane.load->Resume(now_ns, deadline_ns_);
  while (Request* const request = lane.load->Take(now_ns)) {
    SlotOp& op = lane.ops[request->slot()];
    op.request = request;
    op.kind = KindOf(request->command);
    op.flags = lane.load->MustBeDurable(*request) ? kFua : kNone;
    op.offset = request->offset;
    op.length = request->length;
    op.data = lane.data.data() + size_t{request->slot()} * options_.block_size;
    if (op.kind == OpKind::kWrite) {
      // Writes are only read.
      const ConstByteSpan payload = lane.load->PayloadFor(*request);
      op.data = reinterpret_cast<std::byte*>(const_cast<uint8_t*>(payload.data()));
    }
    transport_->Start(op);
  }
  pumping_ = false;
}

void GrpcWorker::OnEnd(internal::Op& ended, Status status) {
  auto& op = static_cast<SlotOp&>(ended);
  Request& request = *op.request;
  Lane& lane = *op.lane;
  const uint64_t now_ns = NowNs();
  progress_ns_.store(now_ns, std::memory_order_relaxed);
  if (!status.ok() && IsLoss(status.code())) {
    for (Lane& other : lanes_) other.load->Stop();
    const std::lock_guard lock(mutex_);
    if (lost_.empty()) lost_ = status.message();
  }
  if (status.ok() && op.kind == OpKind::kRead) {
    lane.load->OnBytes(request, op.offset, {reinterpret_cast<uint8_t*>(op.data), op.length});
  }
  request.error = ErrorOf(status);
  lane.load->OnDone(request, now_ns);
  Publish();
  Pump(lane, now_ns);
  CheckFinished();
}

void GrpcWorker::CheckFinished() {
  for (Lane& lane : lanes_) {
    if (!lane.load->finished()) return;
  }
  const std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  tally().cpu_ns += ClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_ns_;
  wake_.notify_all();
}

}  // namespace sluice::bench
