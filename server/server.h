// SPDX-License-Identifier: Apache-2.0
// The process around the doors: reactors and their threads, disks, listeners, signals, the drain.
//
// Drain (on the first SIGTERM or SIGINT): listening ends; the control plane changes nothing more;
// handshakes are told ERR_SHUTDOWN; what is in flight is finished and answered, what comes new gets
// ESHUTDOWN; connections end with everything answered received; every disk is flushed; Run()
// returns 0, or 1 if a flush failed. A second signal or the drain's time limit ends the process
// with 1 at once, which loses nothing that was answered. SIGUSR1 logs each disk's counters, and so
// does the end.
#pragma once

#include <cstdint>
#include <latch>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "core/clock.h"
#include "core/group.h"
#include "core/reactor.h"
#include "server/config.h"
#include "server/control/clients.h"
#include "server/control/control.h"
#include "server/control/live_exports.h"
#include "server/disk_factory.h"
#include "server/grpc/clients.h"
#include "server/grpc/door.h"
#include "server/grpc/epochs.h"
#include "server/http/door.h"
#include "server/http/watch.h"
#include "server/listener.h"
#include "server/nbd/door.h"
#include "server/signals.h"
#include "server/state_dir.h"
#include "server/watchdog.h"
#include "storage/topology.h"

namespace sluice {

class Server {
 public:
  // Opens everything; nothing is served yet. Errors name the cure. REQUIRES: BlockSignals(); a
  // checked config. Blocks.
  static absl::StatusOr<std::unique_ptr<Server>> Create(const Config& config);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves; prints the ready line; returns the exit status when drained.
  int Run();

 private:
  Server() = default;

  absl::Status Build(Config config);
  absl::Status OpenState(Config& config);
  absl::Status OpenDoors(const Config& config);
  absl::Status OpenNbd(const NbdConfig& nbd);
  absl::Status OpenGrpc(const Config& config);
  absl::Status OpenHttp(const HttpConfig& http);
  void AttachWatch();
  void OpenControl(Config config);
  rpc::ServerFacts FactsOf(const Config& config);
  void Drain(uint32_t timeout_ms);
  void ResumeListening();

  // --- reactor 0 ---
  void StartListening();
  void OnSignal(int signal);
  void BeginDrain(const std::string& why);
  void ListenerStopped();
  void CloseControl();
  void DrainDoors();
  void DoorDrained();
  void FlushDisks();
  void DisksFlushed();
  void StopReactors();
  [[noreturn]] void GiveUp(const char* why);

  // --- the worker, and the end ---
  void LogStats();

  struct FlushJob {
    Bio bio;
    Callback callback;
    std::string disk;
  };
  struct ServerTimer : Timer {
    Server* server = nullptr;
  };

  SystemClock clock_;
  uint64_t drain_timeout_ns_ = 0;
  std::unique_ptr<ReactorSet> reactors_;
  std::unique_ptr<StateDir>
      state_;           // null: nothing outlives the process, and there is no gRPC door
  Control::Made made_;  // what the state adds to the config
  uint32_t start_ = 0;  // Control::CountStart()
  std::unique_ptr<rpc::Epochs> epochs_;  // null without a gRPC door
  // Run what is queued before they end, and post to reactors.
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Worker> epoch_worker_;  // a drive that hangs holds up no writer of another one
  std::unique_ptr<ConfiguredDisks> factory_;
  std::shared_ptr<const Topology> topology_;  // the control plane's while there is one
  std::unique_ptr<LiveExports> exports_;
  std::unique_ptr<nbd::Door> nbd_;
  std::unique_ptr<rpc::Door> grpc_;  // null: not asked for
  std::unique_ptr<NbdClients> nbd_clients_;
  std::unique_ptr<rpc::Clients> grpc_clients_;
  std::unique_ptr<Control> control_;
  struct Listening {
    const char* door;  // as the ready line names it
    std::unique_ptr<Listener> listener;
  };
  ListenerStats nbd_arrivals_;
  ListenerStats grpc_arrivals_;
  std::vector<Listening> listeners_;
  size_t listening_ = 0;
  int undrained_ = 0;  // doors
  std::unique_ptr<Signals> signals_;
  std::unique_ptr<Watchdog> watchdog_;  // null: the service manager does not look
  rpc::ServerFacts facts_;
  std::vector<std::thread> threads_;
  http::Watch watch_;
  std::unique_ptr<http::Door> http_;  // null: not asked for

  bool draining_ = false;
  ServerTimer drain_timer_;
  ServerTimer close_timer_;
  std::list<FlushJob> flushes_;
  BioGroup flushing_;
  std::latch drained_{1};
  int exit_status_ = 0;
};

}  // namespace sluice
