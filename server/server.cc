// SPDX-License-Identifier: Apache-2.0
#include "server/server.h"

#include <sched.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/units.h"
#include "core/unix_time.h"
#include "server/notify.h"
#include "server/stats_log.h"
#include "server/text.h"
#include "server/version.h"
#include "storage/bufq.h"

namespace sluice {
namespace {

constexpr uint64_t kCloseLookNs = 10 * kMillisecond;

// Tells one start from another.
std::string RandomText() {
  uint8_t bytes[16];
  SLUICE_CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes), sizeof(bytes)});
}

uint16_t UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<uint16_t>(std::clamp(CPU_COUNT(&set), 1, int{Reactor::kMax}));
}

nbd::DoorOptions DoorOptionsOf(const LimitsConfig& limits) {
  nbd::DoorOptions options;
  options.handshakes = limits.handshakes;
  options.connections = limits.connections;
  options.handshake_timeout_ns = limits.handshake_timeout_s * kSecond;
  options.payload_timeout_ns = limits.payload_timeout_s * kSecond;
  options.idle_timeout_ns = limits.idle_timeout_s * kSecond;
  options.requests = limits.requests_per_connection;
  return options;
}

absl::StatusOr<rpc::DoorOptions::Tls> TlsOptionsOf(const Config& config) {
  rpc::DoorOptions::Tls tls;
  tls.relay.files = {config.grpc.tls->cert, config.grpc.tls->key, config.grpc.tls->client_ca};
  tls.relay.admins = config.grpc.tls->admin;
  tls.relay.connections_per_host = config.grpc.connections_per_host;
  tls.relay.handshake_timeout_ns = config.limits.handshake_timeout_s * kSecond;
  std::vector<std::string> warnings;
  auto context = TlsContext::Load(tls.relay.files, rpc::Relay::kProtocol, warnings);
  for (const std::string& warning : warnings) Log(LogLevel::kWarning, warning);
  if (!context.ok()) return context.status();
  tls.context = *std::move(context);
  return tls;
}

void AddArrivals(const ListenerStats& arrivals, DoorSnapshot& to) {
  to.accepted = arrivals.accepted.value();
  to.accept_errors = arrivals.errors.value();
  to.delayed = arrivals.delayed.value();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Create(const Config& config) {
  std::unique_ptr<Server> server(new Server());
  if (auto status = server->Build(config); !status.ok()) return status;
  return server;
}

// What was made at run time is opened with what the config declares.
absl::Status Server::OpenState(Config& config) {
  const bool grpc = !config.grpc.listen.empty();
  if (!grpc && config.state_dir.empty()) return absl::OkStatus();
  const std::string folder = config.state_dir.empty() ? StateDir::DefaultPath() : config.state_dir;
  if (folder.empty()) {
    return absl::FailedPreconditionError(
        "the gRPC door needs a folder for its state: name one with state_dir (--state-dir)");
  }
  auto state = StateDir::Open(folder);
  if (!state.ok()) return state.status();
  state_ = *std::move(state);
  auto made = Control::AddSaved(*state_, config);
  if (!made.ok()) return made.status();
  made_ = *std::move(made);
  const auto start = Control::CountStart(*state_);
  if (!start.ok()) return start.status();
  start_ = *start;
  // Without sessions nobody counts the writers.
  return grpc ? absl::OkStatus() : rpc::DurableEpochs::SpendAll(*state_);
}

// Before all else, so that a start that takes its time can be watched.
absl::Status Server::OpenHttp(const HttpConfig& http) {
  std::vector<std::unique_ptr<ListeningSocket>> sockets;
  for (const Address& address : http.listen) {
    auto opened = Listen(address, {http.insecure_tcp, http.socket_mode, http.socket_owner});
    if (!opened.ok()) return opened.status();
    for (auto& socket : *opened) sockets.push_back(std::move(socket));
  }
  if (sockets.empty()) return absl::OkStatus();
  auto door = http::Door::Open(std::move(sockets), watch_.MakePages());
  if (!door.ok()) return door.status();
  http_ = *std::move(door);
  return absl::OkStatus();
}

absl::Status Server::Build(Config config) {
  if (auto status = OpenHttp(config.http); !status.ok()) return status;
  if (auto status = OpenState(config); !status.ok()) return status;
  drain_timeout_ns_ = config.limits.drain_timeout_s * kSecond;
  const uint16_t count =
      config.reactors != 0 ? static_cast<uint16_t>(config.reactors) : UsableCpus();
  std::vector<std::unique_ptr<Poller>> pollers;
  for (uint16_t i = 0; i < count; ++i) {
    auto poller = RingPoller::Create();
    if (!poller.ok()) return poller.status();
    pollers.push_back(*std::move(poller));
  }
  ReactorOptions options;
  options.poll_budget_ns = config.poll_us * kMicrosecond;
  options.buffer_bytes = AlignUp(config.limits.pool_bytes, BufferPool::kBlockMax);
  reactors_ = std::make_unique<ReactorSet>(std::move(pollers), clock_, options);

  BufqRegistry::Get().SetModuleFolder(config.strategy_dir);
  worker_ = std::make_unique<Worker>();
  factory_ = std::make_unique<ConfiguredDisks>(
      *reactors_, *worker_,
      ConfiguredDisks::Shared{config.limits.io_timeout_s, FlowWeights(config.exports),
                              options.credits});
  auto topology = Topology::Build(config.topology, count, *factory_);
  if (!topology.ok()) return topology.status();
  topology_ = *std::move(topology);
  if (state_ != nullptr) {
    auto status = Control::SaveBuilt(*state_, config, made_, *topology_);
    if (!status.ok()) return status;
  }

  std::vector<ExportTable::Entry> entries;
  for (const ExportConfig& each : config.exports) {
    auto target = topology_->Share(each.volume);
    entries.push_back({each, target.get(), target, topology_->StandsOn(each.volume)});
  }
  exports_ = std::make_unique<LiveExports>(
      *reactors_, std::make_shared<const ExportTable>(entries, config.nbd.default_export));
  if (auto status = OpenDoors(config); !status.ok()) return status;
  facts_ = FactsOf(config);
  OpenControl(std::move(config));
  AttachWatch();
  return absl::OkStatus();
}

void Server::OpenControl(Config config) {
  nbd_clients_ = std::make_unique<NbdClients>(*reactors_, *nbd_);
  std::vector<ClientDoor*> doors{nbd_clients_.get()};
  if (grpc_ != nullptr) {
    grpc_clients_ = std::make_unique<rpc::Clients>(reactors_->at(0), grpc_->registry());
    doors.push_back(grpc_clients_.get());
  }
  const Control::House house{*reactors_,       *factory_,    *exports_,
                             std::move(doors), state_.get(), clock_};
  control_ = std::make_unique<Control>(house, std::move(config), std::move(made_),
                                       std::move(topology_), start_);
  nbd_clients_->WatchBy(control_->events());
  if (grpc_clients_ != nullptr) grpc_clients_->WatchBy(control_->events());
}

rpc::ServerFacts Server::FactsOf(const Config& config) {
  rpc::ServerFacts facts;
  facts.version = kVersion;
  facts.instance = RandomText();
  facts.began_unix_ns = UnixNowNs();
  if (!config.nbd.listen.empty()) facts.features.push_back("nbd");
  if (!config.http.listen.empty()) facts.features.push_back("http");
  facts.features.insert(facts.features.end(), {"io-stream", "unary-io", "block-status", "verify",
                                               "crc32c", "sessions", "disks", "volumes", "exports",
                                               "events", "stats", "slice", "concat", "stripe"});
  if (!config.strategy_dir.empty()) facts.features.push_back("strategy-modules");
  if (!config.disk_roots.empty()) facts.features.push_back("add-path-disks");
  if (config.grpc.tls) facts.features.push_back("tls");
  facts.nbd_connections = config.limits.connections;
  facts.grpc_connections = config.grpc.connections;
  facts.pool_bytes = AlignUp(config.limits.pool_bytes, BufferPool::kBlockMax);
  facts.drain_timeout_ms = config.limits.drain_timeout_s * 1000;
  return facts;
}

void Server::AttachWatch() {
  StatsSources sources;
  sources.clock = &clock_;
  sources.started_ns = clock_.NowNs();
  sources.reactors = reactors_.get();
  for (uint16_t id = 0; id < reactors_->size(); ++id) {
    sources.rings.push_back(&static_cast<RingPoller&>(reactors_->at(id).poller()));
  }
  sources.disks = factory_.get();
  sources.exports = exports_.get();
  sources.doors.push_back([this] {
    DoorSnapshot door = nbd_->Snapshot();
    AddArrivals(nbd_arrivals_, door);
    return door;
  });
  if (grpc_ != nullptr) {
    sources.doors.push_back([this] {
      DoorSnapshot door = grpc_->Snapshot();
      AddArrivals(grpc_arrivals_, door);
      return door;
    });
  }
  watch_.Attach(std::move(sources));
}

absl::Status Server::OpenDoors(const Config& config) {
  auto signals = Signals::Create();
  if (!signals.ok()) return signals.status();
  signals_ = *std::move(signals);
  if (const uint64_t timeout_ns = WatchdogTimeoutNs(); timeout_ns != 0) {
    watchdog_ =
        std::make_unique<Watchdog>(*reactors_, timeout_ns, [] { NotifyManager("WATCHDOG=1"); });
  }
  nbd_ = std::make_unique<nbd::Door>(*reactors_, *exports_, DoorOptionsOf(config.limits),
                                     [this] { ResumeListening(); });
  if (auto status = OpenNbd(config.nbd); !status.ok()) return status;
  return config.grpc.listen.empty() ? absl::OkStatus() : OpenGrpc(config);
}

// Any thread.
void Server::ResumeListening() {
  reactors_->at(0).Post([this] {
    for (const auto& [door, listener] : listeners_) listener->Resume();
  });
}

absl::Status Server::OpenNbd(const NbdConfig& nbd) {
  for (const Address& address : nbd.listen) {
    auto sockets = Listen(address, {nbd.insecure_tcp, nbd.socket_mode, nbd.socket_owner});
    if (!sockets.ok()) return sockets.status();
    for (auto& socket : *sockets) {
      listeners_.push_back({"nbd", std::make_unique<Listener>(
                                       reactors_->at(0), std::move(socket), nbd_->handshakes(),
                                       nbd_arrivals_, [this](int fd, Turnstile::Ticket ticket) {
                                         TuneConnection(fd);
                                         Peer peer = DescribePeer(fd);
                                         nbd_->Enter(std::make_unique<PlainTransport>(fd),
                                                     std::move(peer), std::move(ticket));
                                       })});
    }
  }
  return absl::OkStatus();
}

absl::Status Server::OpenGrpc(const Config& config) {
  epoch_worker_ = std::make_unique<Worker>();
  auto epochs = rpc::DurableEpochs::Load(*state_, *epoch_worker_, reactors_->at(0));
  if (!epochs.ok()) return epochs.status();
  epochs_ = *std::move(epochs);
  rpc::DoorOptions options;
  options.connections = config.grpc.connections;
  options.threads = std::max(1u, UsableCpus() / 2u);
  options.lease_ns = config.grpc.lease_s * kSecond;
  options.poll_budget_ns = config.poll_us * kMicrosecond;
  if (config.grpc.tls.has_value()) {
    auto tls = TlsOptionsOf(config);
    if (!tls.ok()) return tls.status();
    options.tls = *std::move(tls);
  }
  grpc_ = std::make_unique<rpc::Door>(
      *reactors_, reactors_->at(0), *exports_, *epochs_, options,
      [this](const Export& exported, bool all, absl::AnyInvocable<void()> done) {
        nbd_->Admit(exported, 0, std::move(done), all);
      },
      [this] { ResumeListening(); });
  nbd_->AnnounceWriters(
      [this](std::shared_ptr<const Export> exported, absl::AnyInvocable<void(bool)> done) {
        Reactor& asked = *Reactor::Current();
        reactors_->at(0).Post(
            [this, &asked, exported = std::move(exported), done = std::move(done)]() mutable {
              grpc_->registry().OnNbdWriter(
                  std::move(exported), [&asked, done = std::move(done)](bool may) mutable {
                    asked.Post([done = std::move(done), may]() mutable { done(may); });
                  });
            });
      });
  for (const Address& address : config.grpc.listen) {
    auto sockets = Listen(address, {config.grpc.insecure_tcp || config.grpc.tls.has_value(),
                                    config.grpc.socket_mode, config.grpc.socket_owner});
    if (!sockets.ok()) return sockets.status();
    const bool local = address.kind == Address::Kind::kUnix;
    Turnstile& turnstile = local ? grpc_->local_connections() : grpc_->connections();
    for (auto& socket : *sockets) {
      listeners_.push_back({"grpc", std::make_unique<Listener>(
                                        reactors_->at(0), std::move(socket), turnstile,
                                        grpc_arrivals_, [this](int fd, Turnstile::Ticket ticket) {
                                          TuneConnection(fd);
                                          grpc_->Enter(fd, DescribePeer(fd), std::move(ticket));
                                        })});
    }
  }
  return absl::OkStatus();
}

Server::~Server() = default;

int Server::Run() {
  std::string ready = "ready";
  for (const auto& [door, listener] : listeners_) {
    absl::StrAppend(&ready, " ", door, "=", listener->address().ToString());
  }
  if (http_ != nullptr) {
    for (const std::string& address : http_->Addresses()) {
      absl::StrAppend(&ready, " http=", address);
    }
  }
  for (uint16_t id = 0; id < reactors_->size(); ++id) {
    threads_.emplace_back([&reactor = reactors_->at(id)] { reactor.Run(); });
  }
  factory_->Attach();
  if (grpc_ != nullptr) {
    rpc::Management management{*control_, *reactors_, facts_, [this] { return watch_.Snapshot(); },
                               [this](uint32_t timeout_ms) { Drain(timeout_ms); }};
    if (auto status = grpc_->Start(std::move(management)); !status.ok())
      GiveUp(std::string(status.message()).c_str());
  }
  reactors_->at(0).Post([this] { StartListening(); });
  watch_.BeginServing();
  std::printf("%s\n", ready.c_str());
  std::fflush(stdout);
  Log(LogLevel::kInfo, ready);
  NotifyManager(absl::StrCat("READY=1\nSTATUS=", ready));
  drained_.wait();
  // Its own threads end here, while the reactors still run.
  topology_ = control_->topology();
  control_.reset();
  reactors_->at(0).Post([this] { StopReactors(); });
  for (std::thread& thread : threads_) thread.join();
  factory_->Stop();
  for (const Disk* disk : factory_->disks()) {
    if (!disk->idle()) GiveUp("a disk hangs");
  }
  LogStats();
  http_.reset();
  Log(LogLevel::kInfo, absl::StrCat("stopped, exit status ", exit_status_));
  return exit_status_;
}

void Server::StartListening() {
  signals_->Start(reactors_->at(0), [this](int signal) { OnSignal(signal); });
  if (watchdog_ != nullptr) watchdog_->Start();
  listening_ = listeners_.size();
  for (const auto& [door, listener] : listeners_) listener->Start();
}

void Server::OnSignal(int signal) {
  if (signal == SIGHUP) {
    Log(LogLevel::kInfo, "SIGHUP: certificates are read anew, the config is at start only");
    if (grpc_ != nullptr) grpc_->ReloadTls();
    return;
  }
  if (signal == SIGUSR1) return worker_->Run([this] { LogStats(); });
  const std::string name = absl::StrCat("SIG", sigabbrev_np(signal));
  if (draining_) GiveUp("a second signal");
  BeginDrain(name);
}

// Any thread. A drain under way goes on as it is.
void Server::Drain(uint32_t timeout_ms) {
  reactors_->at(0).Post([this, timeout_ms] {
    if (draining_) return;
    drain_timeout_ns_ = timeout_ms * kMillisecond;
    BeginDrain("a client's call");
  });
}

void Server::LogStats() {
  const StatsSnapshot stats = watch_.Snapshot();
  for (const DiskSnapshot& disk : stats.disks) {
    Log(LogLevel::kInfo, StatsLine(disk, stats.reactors[disk.home]));
  }
  if (grpc_ != nullptr) grpc_->LogStats();
}

void Server::BeginDrain(const std::string& why) {
  Log(LogLevel::kInfo, absl::StrCat(why, ": draining"));
  draining_ = true;
  watch_.BeginDrain();
  NotifyManager("STOPPING=1\nSTATUS=draining");
  drain_timer_.server = close_timer_.server = this;
  drain_timer_.run = [](Timer& timer) noexcept {
    static_cast<ServerTimer&>(timer).server->GiveUp("the drain took too long");
  };
  close_timer_.run = [](Timer& timer) noexcept {
    static_cast<ServerTimer&>(timer).server->CloseControl();
  };
  reactors_->at(0).Arm(drain_timer_, reactors_->at(0).now_ns() + drain_timeout_ns_);
  for (const auto& [door, listener] : listeners_) listener->Stop([this] { ListenerStopped(); });
}

void Server::ListenerStopped() {
  if (--listening_ > 0) return;
  // Not inside a listener's own call.
  reactors_->at(0).Post([this] {
    listeners_.clear();
    CloseControl();
  });
}

// A change under way may need this reactor to get on: it is not waited for here.
void Server::CloseControl() {
  if (control_->Close()) return DrainDoors();
  reactors_->at(0).Arm(close_timer_, reactors_->at(0).now_ns() + kCloseLookNs);
}

void Server::DrainDoors() {
  undrained_ = grpc_ != nullptr ? 2 : 1;
  nbd_->Drain([this] { DoorDrained(); });
  if (grpc_ != nullptr) grpc_->Drain([this] { DoorDrained(); });
}

void Server::DoorDrained() {
  if (--undrained_ == 0) FlushDisks();
}

void Server::FlushDisks() {
  for (Disk* disk : factory_->disks()) {
    FlushJob& job = flushes_.emplace_back();
    job.disk = disk->name();
    job.bio.op = Op::kFlush;
    job.bio.target = disk;
    job.bio.release = [](Bio&) noexcept {};
    flushing_.Add(job.bio, job.callback);
    Submit(job.bio);
  }
  flushing_.WhenAll(
      [](BioGroup&, void* server) noexcept { static_cast<Server*>(server)->DisksFlushed(); }, this);
}

void Server::DisksFlushed() {
  for (const FlushJob& job : flushes_) {
    if (job.bio.error == 0) continue;
    exit_status_ = 1;
    Log(LogLevel::kError, absl::StrCat("disk ", Quote(job.disk),
                                       ": the last flush failed: ", std::strerror(job.bio.error)));
  }
  signals_->Stop([this] { drained_.count_down(); });
}

void Server::StopReactors() {
  reactors_->at(0).Disarm(drain_timer_);
  if (watchdog_ != nullptr) watchdog_->Stop();
  for (uint16_t id = 0; id < reactors_->size(); ++id) reactors_->at(id).Stop();
}

void Server::GiveUp(const char* why) {
  Log(LogLevel::kError, absl::StrCat("gave up draining: ", why));
  for (const auto& [door, listener] : listeners_) listener->RemoveFile();
  if (http_ != nullptr) http_->RemoveFiles();
  _exit(1);
}

}  // namespace sluice
