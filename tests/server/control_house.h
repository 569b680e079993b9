// SPDX-License-Identifier: Apache-2.0
// A control plane over two real reactors, with both doors and a folder of its own. It starts with
// what its config and its saved state say, and may be started again.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/ring.h"
#include "core/units.h"
#include "server/control/control.h"
#include "server/grpc/clients.h"
#include "server/grpc/door.h"
#include "server/stats_collector.h"
#include "tests/server/socket_client.h"

namespace sluice {

inline DiskSpec MemoryDisk(const std::string& name, uint64_t bytes = 4 * kMiB) {
  DiskSpec disk;
  disk.name = name;
  disk.kind = DiskSpec::Kind::kMemory;
  disk.size_bytes = bytes;
  return disk;
}
inline DiskSpec FileDisk(const std::string& name, const std::string& path, uint64_t bytes = 0) {
  DiskSpec disk = MemoryDisk(name, bytes);
  disk.kind = DiskSpec::Kind::kPath;
  disk.path = path;
  return disk;
}
inline VolumeSpec ConcatOf(const std::string& name, std::vector<std::string> legs) {
  VolumeSpec volume;
  volume.name = name;
  volume.kind = VolumeSpec::Kind::kConcat;
  volume.legs = std::move(legs);
  return volume;
}
inline VolumeSpec SliceOf(const std::string& name, const std::string& of, uint64_t offset,
                          uint64_t bytes) {
  VolumeSpec volume = ConcatOf(name, {of});
  volume.kind = VolumeSpec::Kind::kSlice;
  volume.offset_bytes = offset;
  volume.size_bytes = bytes;
  return volume;
}
inline ExportConfig ExportOf(const std::string& name, const std::string& volume) {
  ExportConfig config;
  config.name = name;
  config.volume = volume;
  return config;
}

// A running server, but for its listeners.
class ControlHouse {
 public:
  ControlHouse(Config config, const std::string& state_folder) {
    const auto problem = CompleteAndCheck(config);
    EXPECT_FALSE(problem) << problem->key << ": " << problem->text;
    state_ = *StateDir::Open(state_folder);
    auto made = Control::AddSaved(*state_, config);
    EXPECT_TRUE(made.ok()) << made.status();
    topology_ = *Topology::Build(config.topology, reactors_.size(), disks_);
    EXPECT_TRUE(Control::SaveBuilt(*state_, config, *made, *topology_).ok());
    std::vector<ExportTable::Entry> entries;
    for (const ExportConfig& each : config.exports) {
      auto target = topology_->Share(each.volume);
      entries.push_back({each, target.get(), target, topology_->StandsOn(each.volume)});
    }
    exports_ = std::make_unique<LiveExports>(
        reactors_, std::make_shared<const ExportTable>(entries, config.nbd.default_export));
    nbd::DoorOptions limits;
    limits.handshake_timeout_ns = limits.payload_timeout_ns = 30 * kSecond;
    door_ = std::make_unique<nbd::Door>(reactors_, *exports_, limits, nullptr);
    clients_ = std::make_unique<NbdClients>(reactors_, *door_);
    epochs_ = *rpc::DurableEpochs::Load(*state_, worker_, reactors_.at(0));
    rpc::DoorOptions grpc_limits;
    grpc_limits.lease_ns = 30 * kSecond;
    grpc_ = std::make_unique<rpc::Door>(
        reactors_, reactors_.at(0), *exports_, *epochs_, grpc_limits,
        [this](const Export& exported, bool all, absl::AnyInvocable<void()> done) {
          door_->Admit(exported, 0, std::move(done), all);
        },
        nullptr);
    sessions_ = std::make_unique<rpc::Clients>(reactors_.at(0), grpc_->registry());
    for (uint16_t id = 0; id < reactors_.size(); ++id) {
      threads_.emplace_back([this, id] { reactors_.at(id).Run(); });
    }
    disks_.Attach();
    control = std::make_unique<Control>(
        Control::House{
            reactors_, disks_, *exports_, {clients_.get(), sessions_.get()}, state_.get(), clock_},
        std::move(config), *made, std::exchange(topology_, nullptr), *Control::CountStart(*state_));
    clients_->WatchBy(control->events());
    sessions_->WatchBy(control->events());
    rpc::Management management{*control,
                               reactors_,
                               {},
                               [this] { return Look(); },
                               [this](uint32_t timeout_ms) { drain_asked_ms = timeout_ms; }};
    EXPECT_TRUE(grpc_->Start(std::move(management)).ok());
  }
  ~ControlHouse() {
    while (!control->Close()) std::this_thread::yield();
    DrainDoors();
    topology_ = control->topology();
    control.reset();
    for (uint16_t id = 0; id < reactors_.size(); ++id) reactors_.at(id).Stop();
    for (std::thread& thread : threads_) thread.join();
    disks_.Stop();
    door_.reset();
    grpc_.reset();
    exports_.reset();
    topology_.reset();
    EXPECT_TRUE(disks_.disks().empty());
  }

  // Until the server has noticed that those who left are gone; at most 10 s.
  void AwaitNoClients() {
    for (int tries = 0; tries < 1000 && !control->ListClients().empty(); ++tries) usleep(10'000);
  }
  nbd::SocketClient Connect() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    door_->Enter(std::make_unique<PlainTransport>(ends[0]), Peer{"a test", 1},
                 door_->handshakes().Enter());
    return nbd::SocketClient(ends[1]);
  }
  // The client's end of a new connection to the gRPC door.
  int ConnectGrpc() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    reactors_.at(0).Post([this, fd = ends[0]] {
      grpc_->Enter(fd, Peer{"a test", 1}, grpc_->connections().Enter());
    });
    return ends[1];
  }
  // Once; the destructor does it at the latest.
  void DrainDoors() {
    if (std::exchange(drained_, true)) return;
    std::latch drained(2);
    door_->Drain([&drained] { drained.count_down(); });
    reactors_.at(0).Post([&] { grpc_->Drain([&drained] { drained.count_down(); }); });
    drained.wait();
  }
  ConfiguredDisks& disks() { return disks_; }
  StatsSources Sources() {
    StatsSources sources;
    sources.clock = &clock_;
    sources.reactors = &reactors_;
    sources.disks = &disks_;
    sources.exports = exports_.get();
    sources.doors.push_back([this] { return door_->Snapshot(); });
    return sources;
  }
  StatsSnapshot Look() {
    StatsSources sources = Sources();
    return TakeSnapshot(sources);
  }
  // Until every reactor has ended the turn that it is in.
  void Settle() { PassAll(reactors_); }

 private:
  static std::vector<std::unique_ptr<Poller>> Rings() {
    std::vector<std::unique_ptr<Poller>> pollers;
    pollers.push_back(*RingPoller::Create());
    pollers.push_back(*RingPoller::Create());
    return pollers;
  }

  SystemClock clock_;
  ReactorSet reactors_{Rings(), clock_, ReactorOptions{1024, 64 * kMiB, 50'000}};
  Worker worker_;
  ConfiguredDisks disks_{reactors_, worker_, ConfiguredDisks::Shared{60, {}, 1024}};
  std::unique_ptr<StateDir> state_;
  std::shared_ptr<const Topology> topology_;
  std::unique_ptr<LiveExports> exports_;
  std::unique_ptr<nbd::Door> door_;
  std::unique_ptr<NbdClients> clients_;
  std::unique_ptr<rpc::Epochs> epochs_;
  std::unique_ptr<rpc::Door> grpc_;
  std::unique_ptr<rpc::Clients> sessions_;
  std::vector<std::thread> threads_;
  bool drained_ = false;

 public:
  std::unique_ptr<Control> control;
  std::atomic<uint32_t> drain_asked_ms{0};
};

class ControlTest : public testing::Test {
 protected:
  ControlTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/disks");
    config_.topology.disks = {MemoryDisk("base")};
    config_.exports = {ExportOf("base", "base")};
    config_.disk_roots = {folder_ + "/disks"};
    Start();
  }
  ~ControlTest() override {
    house_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Start() {
    house_.reset();
    house_ = std::make_unique<ControlHouse>(config_, folder_ + "/state");
  }
  Control& control() { return *house_->control; }
  // "ok", or the message.
  static std::string Said(const absl::Status& status) {
    return status.ok() ? "ok" : std::string(status.message());
  }
  template <typename T>
  static std::string Said(const absl::StatusOr<T>& status) {
    return Said(status.status());
  }
  std::string Path(const std::string& name) const { return folder_ + "/disks/" + name; }

  const std::string folder_ =
      testing::TempDir() + "control_test." + std::to_string(static_cast<long>(getpid()));
  Config config_;
  std::unique_ptr<ControlHouse> house_;
};

}  // namespace sluice
