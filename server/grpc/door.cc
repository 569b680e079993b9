// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/door.h"

#include <fcntl.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <latch>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/spin.h"
#include "core/units.h"
#include "server/grpc/call.h"
#include "server/grpc/control_services.h"

namespace sluice::rpc {
namespace {

constexpr int kMetadataMax = 8 * 1024;   // of one call, bytes
constexpr int kConcurrentStreams = 128;  // of one connection
constexpr int kFrameMax = 256 * 1024;    // bytes: larger ones would hold up small messages
constexpr int kPingEveryMs = 5'000;      // a client may, at most
constexpr int kPingStrikes = 2;          // and is sent away after so many more
constexpr int kKeepaliveMs = 30'000;     // we ask a silent client so often
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kHandshakeTimeoutMs = 10'000;
constexpr size_t kQuotaBytes = 256 * kMiB;  // of gRPC's own buffers
constexpr int kQuotaThreads = 16;
constexpr int kKeptBytes = 32 * 1024 * 1024;              // free memory that an arena keeps
constexpr auto kShutdownGrace = std::chrono::seconds(1);  // for streams that do not end
// What gRPC may come to announce to a client in place of kFrameMax: it goes by its estimate of what
// the way holds, up to HTTP/2's most, and keeps clients to it by itself.
constexpr uint32_t kFrameAnnouncedMax = (1 << 24) - 1;

// The memory of messages is used again. As the C library does it by itself, most of it goes back to
// the kernel each time and is faulted in anew: a third of the server's CPU at 64 KiB an op.
void KeepMemory() {
  mallopt(M_MMAP_THRESHOLD, 2 * int{kMessageMax});
  mallopt(M_TRIM_THRESHOLD, kKeptBytes);
}

void SetLimits(::grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMessageMax);
  builder.SetMaxSendMessageSize(2 * kMessageMax);
  const std::pair<const char*, int> arguments[] = {
      {GRPC_ARG_MAX_METADATA_SIZE, kMetadataMax},
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, kConcurrentStreams},
      {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameMax},
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kPingEveryMs},
      {GRPC_ARG_HTTP2_MAX_PING_STRIKES, kPingStrikes},
      {GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs},
  };
  for (const auto& [name, value] : arguments) builder.AddChannelArgument(name, value);
  ::grpc::ResourceQuota quota("sluice");
  quota.Resize(kQuotaBytes);
  quota.SetMaxThreads(kQuotaThreads);
  builder.SetResourceQuota(quota);
}

// Awaits an event, behind others for a while without sleeping; false: there are no more.
bool Next(::grpc::ServerCompletionQueue& cq, SpinBudget& spin, void** tag, bool* ok) {
  SystemClock clock;
  const uint64_t begin_ns = clock.NowNs();
  const uint64_t end_ns = begin_ns + spin.ns();
  for (uint64_t now_ns = begin_ns; now_ns < end_ns;) {
    const auto outcome = cq.AsyncNext(tag, ok, gpr_inf_past(GPR_CLOCK_MONOTONIC));
    if (outcome != ::grpc::CompletionQueue::TIMEOUT) {
      return outcome == ::grpc::CompletionQueue::GOT_EVENT;
    }
    clock.Yield();
    const uint64_t before_ns = std::exchange(now_ns, clock.NowNs());
    if (!spin.MayGoOn(now_ns - before_ns, now_ns)) break;
  }
  const bool more = cq.Next(tag, ok);
  const uint64_t now_ns = clock.NowNs();
  spin.Learn(now_ns - begin_ns, now_ns);
  return more;
}

void Loop(::grpc::ServerCompletionQueue& cq, uint64_t poll_budget_ns) {
  SpinBudget spin(poll_budget_ns);
  void* tag = nullptr;
  bool ok = false;
  while (Next(cq, spin, &tag, &ok)) static_cast<Tag*>(tag)->Proceed(ok);
}

}  // namespace

struct Door::Inside {
  Inside(ReactorSet& reactors, Reactor& its_reactor, const ExportDirectory& exports, Epochs& epochs,
         const DoorOptions& its_options, Registry::SettleNbd settle_nbd,
         absl::AnyInvocable<void()> its_room)
      : options(its_options),
        here(its_reactor),
        room(std::move(its_room)),
        connections(options.connections, [this] { room(); }),
        local_connections(options.connections, [this] { room(); }),
        registry(reactors, here, exports, epochs, {options.lease_ns, 1000, SessionOptions()},
                 std::move(settle_nbd)),
        host(registry, here) {
    if (!options.tls.has_value()) return;
    RelayOptions relay_options = options.tls->relay;
    relay_options.frame_max = kFrameAnnouncedMax;
    relay = std::make_unique<Relay>(clock, std::move(relay_options), options.tls->context,
                                    host.callers, [this](int fd) { Deliver(fd); });
  }

  // A connection, seen by a duplicate of its descriptor: the kernel tells when it is over.
  struct Watch : RingOp {
    Inside* inside = nullptr;
    int fd = -1;
    std::string name;
    Turnstile::Ticket ticket;
    std::list<Watch>::iterator self;
  };
  void Over(Watch& watch);
  void Deliver(int fd);
  void StopServer();
  void Stopped();
  void RegisterControl(::grpc::ServerBuilder& builder);

  const DoorOptions options;
  Reactor& here;
  absl::AnyInvocable<void()> room;
  Turnstile connections;
  Turnstile local_connections;
  Registry registry;
  Host host;
  std::unique_ptr<ControlServices> control;
  std::unique_ptr<::grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::vector<std::unique_ptr<::grpc::ServerCompletionQueue>> queues;
  std::unique_ptr<::grpc::Server> server;
  std::vector<std::thread> threads;
  std::thread stopper;
  std::latch no_calls{1};

  SystemClock clock;
  std::unique_ptr<Relay> relay;  // null: no TLS
  Counter unseen;                // connections refused, for they could not be watched
  uint64_t last_id = 0;
  std::list<Watch> watches;
  bool stopped = false;
  absl::AnyInvocable<void()> drained;
};

Door::Door(ReactorSet& reactors, Reactor& here, const ExportDirectory& exports, Epochs& epochs,
           const DoorOptions& options, Registry::SettleNbd settle_nbd,
           absl::AnyInvocable<void()> room)
    : inside_(std::make_unique<Inside>(reactors, here, exports, epochs, options,
                                       std::move(settle_nbd), std::move(room))) {}

Door::~Door() {
  if (inside_->stopper.joinable()) inside_->stopper.join();
  SLUICE_CHECK(inside_->server == nullptr && inside_->watches.empty());
}

Turnstile& Door::connections() { return inside_->connections; }
Turnstile& Door::local_connections() { return inside_->local_connections; }

DoorSnapshot Door::Snapshot() const {
  DoorSnapshot to;
  to.name = DoorName(DoorKind::kGrpc);
  to.connections = uint64_t{inside_->connections.inside()} + inside_->local_connections.inside();
  to.connections_max = inside_->connections.limit();
  to.refused = {{"descriptors", inside_->unseen.value()}};
  if (inside_->relay == nullptr) return to;
  const RelayCounts& relay = inside_->relay->counts();
  to.refused.push_back({"per_host_limit", relay.turned_away.value()});
  to.refused.push_back({"tls_handshake", relay.strangers.value()});
  to.refused.push_back({"flood", relay.offenders.value()});
  to.refused.push_back({"kept_out", relay.kept_out.value()});
  return to;
}

Registry& Door::registry() { return inside_->registry; }

absl::Status Door::Start(Management management) {
  KeepMemory();
  Host& host = inside_->host;
  inside_->control = std::make_unique<ControlServices>(std::move(management));
  host.control = inside_->control.get();
  ::grpc::EnableDefaultHealthCheckService(false);
  ::grpc::ServerBuilder builder;
  SetLimits(builder);
  using External = ::grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  inside_->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      External::FROM_FD, ::grpc::InsecureServerCredentials());
  builder.RegisterService(&host.block);
  inside_->RegisterControl(builder);
  builder.RegisterService(&host.health);
  builder.RegisterService(&host.reflection);
  host.services.insert(
      host.services.end(),
      {v1::BlockService::service_full_name(), ::grpc::health::v1::Health::service_full_name(),
       ::grpc::reflection::v1alpha::ServerReflection::service_full_name()});
  for (uint32_t i = 0; i < inside_->options.threads; ++i) {
    inside_->queues.push_back(builder.AddCompletionQueue());
  }
  inside_->server = builder.BuildAndStart();
  if (inside_->server == nullptr) return absl::InternalError("grpc: the server does not start");
  for (const auto& queue : inside_->queues) {
    AwaitStreams(host, *queue);
    AwaitUnary(host, *queue);
    AwaitRanges(host, *queue);
    AwaitObservers(host, *queue);
  }
  for (const auto await : {AwaitDisks, AwaitVolumes, AwaitExports, AwaitOperations, AwaitStats,
                           AwaitServer, AwaitWaiters}) {
    await(host, *inside_->queues.front());
  }
  for (const auto& queue : inside_->queues) {
    inside_->threads.emplace_back(
        [this, &queue = *queue] { Loop(queue, inside_->options.poll_budget_ns); });
  }
  return inside_->relay != nullptr ? inside_->relay->Start() : absl::OkStatus();
}

void Door::ReloadTls() {
  if (inside_->relay != nullptr) inside_->relay->Reload();
}

void Door::LogStats() const {
  if (inside_->relay == nullptr) return;
  const RelayCounts& counts = inside_->relay->counts();
  Log(LogLevel::kInfo,
      absl::StrCat("grpc tls: let in ", counts.let_in.value(), ", of one host too many ",
                   counts.turned_away.value(), ", strangers ", counts.strangers.value(),
                   ", closed for flooding ", counts.offenders.value(), ", came back too early ",
                   counts.kept_out.value()));
}

void Door::Inside::RegisterControl(::grpc::ServerBuilder& builder) {
  const auto add = [&](::grpc::Service& service, const char* name) {
    builder.RegisterService(&service);
    host.services.emplace_back(name);
  };
  add(control->disk, v1::DiskService::service_full_name());
  add(control->volume, v1::VolumeService::service_full_name());
  add(control->exports, v1::ExportService::service_full_name());
  add(control->session, v1::SessionService::service_full_name());
  add(control->operation, v1::OperationService::service_full_name());
  add(control->stats, v1::StatsService::service_full_name());
  add(control->server, v1::ServerService::service_full_name());
}

void Door::Enter(int fd, const Peer& peer, Turnstile::Ticket ticket) {
  if (inside_->relay != nullptr && !peer.local) {
    return inside_->relay->Enter(fd, peer, std::move(ticket));
  }
  const int watched = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  const std::string name = absl::StrCat("grpc ", ++inside_->last_id, " (", peer.text, "): ");
  if (watched < 0) {
    inside_->unseen.Add(1);
    Log(LogLevel::kWarning, absl::StrCat(name, "refused: no descriptor is free"));
    close(fd);
    return;
  }
  Log(LogLevel::kInfo, absl::StrCat(name, "connected"));
  Inside::Watch& watch = inside_->watches.emplace_back();
  watch.self = std::prev(inside_->watches.end());
  watch.inside = inside_.get();
  watch.fd = watched;
  watch.name = name;
  watch.ticket = std::move(ticket);
  watch.done = [](RingOp& op) noexcept {
    auto& over = static_cast<Inside::Watch&>(op);
    over.inside->Over(over);
  };
  // Hang-up and errors are told unasked.
  static_cast<RingPoller&>(inside_->here.poller()).PollFd(watch, watched, 0);
  inside_->Deliver(fd);
}

void Door::Inside::Deliver(int fd) {
  ::grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = fd;
  acceptor->HandleNewConnection(&connection);
}

void Door::Inside::Over(Watch& watch) {
  Log(LogLevel::kInfo, absl::StrCat(watch.name, "closed"));
  close(watch.fd);
  watches.erase(watch.self);
  if (stopped) Stopped();
}

void Door::Drain(absl::AnyInvocable<void()> done) {
  inside_->drained = std::move(done);
  inside_->host.draining.store(true);
  if (inside_->relay != nullptr) inside_->relay->Drain();
  inside_->host.at_drain.Tell();
  inside_->registry.Drain([inside = inside_.get()] { inside->StopServer(); });
}

// Waits for the calls to end, so it has a thread of its own. A call may use its queue to its end:
// the queues are shut down after the last one.
void Door::Inside::StopServer() {
  stopper = std::thread([this] {
    host.none_left = [this] { no_calls.count_down(); };
    server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
    host.Leave();
    no_calls.wait();
    for (const auto& queue : queues) queue->Shutdown();
    for (std::thread& thread : threads) thread.join();
    server = nullptr;
    if (relay != nullptr) relay->Stop();
    here.Post([this] { Stopped(); });
  });
}

// The server, or a connection after it, is gone.
void Door::Inside::Stopped() {
  stopped = true;
  if (watches.empty() && drained != nullptr) std::exchange(drained, nullptr)();
}

}  // namespace sluice::rpc
