// SPDX-License-Identifier: Apache-2.0
// Connections of one disk on two reactors with real rings, sockets and threads: what every client
// may rely on holds whichever reactor it is served on. What the thread sanitizer should see.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "core/ring.h"
#include "core/units.h"
#include "core/worker.h"
#include "server/nbd/door.h"
#include "storage/bufq.h"
#include "storage/disk.h"
#include "storage/medium_file.h"
#include "storage/medium_memory.h"
#include "tests/server/socket_client.h"
#include "tests/sim/host.h"

namespace sluice::nbd {
namespace {

constexpr uint32_t kBlock = 4096;
constexpr uint64_t kSize = 4 * kMiB;
constexpr int kClients = 4;
constexpr uint64_t kBlocksEach = 4;

// Says that reactor 0 uses all of its CPU, when told to.
class BusyClock final : public Clock {
 public:
  uint64_t NowNs() noexcept override { return system_.NowNs(); }
  uint64_t ThreadCpuNs() noexcept override {
    const uint64_t now_ns = NowNs();
    const bool busy = busy_.load() && Reactor::Current()->id() == 0;
    return busy ? now_ns : 0;
  }
  void MakeBusy() { busy_.store(true); }

 private:
  SystemClock system_;
  std::atomic<bool> busy_{false};
};

// Counts what crosses; otherwise the disk itself.
class Watched final : public Target {
 public:
  explicit Watched(Disk& disk) : disk_(disk) {}
  uint16_t home() const noexcept override { return disk_.home(); }
  const Limits& limits() const noexcept override { return disk_.limits(); }
  void Strategy(Bio& bio) noexcept override {
    (bio.home == home() ? at_home : crossed).Add(1);
    disk_.Strategy(bio);
  }
  void Cancel(Bio& bio) noexcept override { disk_.Cancel(bio); }
  void QueryExtents(ExtentQuery& query) noexcept override { disk_.QueryExtents(query); }
  Counter at_home;
  Counter crossed;

 private:
  Disk& disk_;
};

class PlacementThreads : public testing::TestWithParam<const char*> {
 protected:
  PlacementThreads() {
    for (uint16_t id = 0; id < 2; ++id) {
      threads_.emplace_back([this, id] { reactors_.at(id).Run(); });
    }
    std::promise<void> attached;
    reactors_.at(0).Post([&] {
      disk_->medium().Attach(0);
      attached.set_value();
    });
    attached.get_future().wait();
  }
  ~PlacementThreads() override {
    std::promise<void> done;
    door_.Drain([&done] { done.set_value(); });
    done.get_future().wait();
    for (uint16_t id = 0; id < 2; ++id) reactors_.at(id).Stop();
    for (std::thread& thread : threads_) thread.join();
    EXPECT_TRUE(disk_->idle());
    for (uint16_t id = 0; id < 2; ++id) {
      EXPECT_EQ(reactors_.at(id).bios().used(), 0u);
      EXPECT_EQ(reactors_.at(id).bios().reserved(), 0u);
      EXPECT_EQ(reactors_.at(id).buffers().free_bytes(), reactors_.at(id).buffers().bytes());
    }
  }

  std::unique_ptr<Medium> MakeMedium() {
    if (std::string_view(GetParam()) == "Memory") {
      return *MemoryMedium::Create({.size = kSize, .loans_max = 2048});
    }
    FileOptions options;
    options.path = folder_.Sparse("disk", kSize);
    return *FileMedium::Open(options, worker_);
  }
  SocketClient Open() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    door_.Enter(std::make_unique<PlainTransport>(ends[0]), Peer{"test", 1},
                door_.handshakes().Enter());
    SocketClient client(ends[1]);
    if (!client.Open("disk")) ++failures_;
    return client;
  }

  // The newest version of each block whose write was answered. A block has one writer.
  std::atomic<uint64_t> answered_[kClients * kBlocksEach] = {};
  std::atomic<int> failures_{0};
  std::atomic<int> running_{0};

  static std::vector<uint8_t> Filled(uint64_t version) {
    std::vector<uint8_t> bytes(kBlock);
    for (size_t at = 0; at < kBlock; at += sizeof(version)) {
      std::memcpy(bytes.data() + at, &version, sizeof(version));
    }
    return bytes;
  }
  // Promise 3: each sector whole, and no older than what was answered before the read was sent.
  static bool IsNoOlder(ConstByteSpan bytes, uint64_t version) {
    for (size_t sector = 0; sector < kBlock; sector += kSector) {
      uint64_t first = 0;
      std::memcpy(&first, bytes.data() + sector, sizeof(first));
      if (first < version) return false;
      for (size_t at = sector; at < sector + kSector; at += sizeof(first)) {
        if (std::memcmp(bytes.data() + at, &first, sizeof(first)) != 0) return false;
      }
    }
    return true;
  }

  // Writes its own blocks, reads everybody's, and leaves now and then with writes under way:
  // promise 6 says that none of them comes later than what its next connection writes.
  void Act(int self, int rounds) {
    std::minstd_rand random(static_cast<uint32_t>(self + 1));
    SocketClient client = Open();
    ++running_;
    uint64_t version = 0;
    for (int round = 0; round < rounds && failures_.load() == 0; ++round) {
      const uint64_t own = static_cast<uint64_t>(self) * kBlocksEach + random() % kBlocksEach;
      if (round % 50 == 49) {
        for (int i = 0; i < 8; ++i) {
          client.Send(Command::kWrite, own * kBlock, kBlock, Filled(++version));
        }
        client = Open();
      }
      ++version;
      const auto wrote = client.Ask(Command::kWrite, own * kBlock, kBlock, Filled(version));
      if (wrote != Error::kNone) ++failures_;
      answered_[own].store(version);
      if (round % 10 == 0 && client.Ask(Command::kFlush, 0, 0) != Error::kNone) ++failures_;
      const uint64_t any = random() % std::size(answered_);
      const uint64_t floor = answered_[any].load();
      if (client.Ask(Command::kRead, any * kBlock, kBlock) != Error::kNone ||
          !IsNoOlder(client.data(), floor)) {
        ++failures_;
      }
    }
  }

  BusyClock clock_;
  sim::TempDir folder_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(*RingPoller::Create());
                         pollers.push_back(*RingPoller::Create());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{1024, 16 * kMiB, 50'000}};
  Worker worker_;
  std::unique_ptr<Disk> disk_ =
      std::make_unique<Disk>(DiskOptions{.name = "disk", .bios_max = 2048}, MakeMedium(),
                             *Bufq::Alloc(kBufqDiskDefault, 0, {}), reactors_.at(0));
  Watched target_{*disk_};
  ExportTable exports_{{{ExportConfig{"disk", "disk", "", false, 1, 100}, &target_}}, ""};
  Door door_{reactors_, exports_,
             DoorOptions{.handshake_timeout_ns = 30 * kSecond, .payload_timeout_ns = 30 * kSecond},
             nullptr};
  std::vector<std::thread> threads_;
};

TEST_P(PlacementThreads, ClientsOfBothReactorsReadWhatAnyOfThemWrote) {
  constexpr int kRounds = 1000;
  std::vector<std::thread> clients;
  for (int self = 0; self < kClients / 2; ++self) {
    clients.emplace_back([this, self] { Act(self, kRounds); });
  }
  while (running_.load() + failures_.load() < kClients / 2) std::this_thread::yield();
  clock_.MakeBusy();
  std::this_thread::sleep_for(std::chrono::milliseconds(250));  // two windows of the load
  for (int self = kClients / 2; self < kClients; ++self) {
    clients.emplace_back([this, self] { Act(self, kRounds); });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failures_.load(), 0);
  EXPECT_GT(target_.at_home.value(), 0u);
  EXPECT_GT(target_.crossed.value(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Media, PlacementThreads, testing::Values("Memory", "File"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace sluice::nbd
