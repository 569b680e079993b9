// SPDX-License-Identifier: Apache-2.0
// What a snapshot says of known work, over real reactors.
#include "server/stats_collector.h"

#include <gmock/gmock.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/control_house.h"

namespace sluice {
namespace {

using nbd::Command;
using nbd::Error;

class StatsTest : public ControlTest {
 protected:
  StatsSnapshot Look() {
    StatsSources sources = house_->Sources();
    return TakeSnapshot(sources);
  }
  // What clients of one export did over NBD; empty if nobody was there.
  ClientSnapshot Nbd(const StatsSnapshot& stats, const std::string& name) {
    for (const ClientSnapshot& clients : stats.clients) {
      if (clients.export_name == name && clients.door == DoorKind::kNbd) return clients;
    }
    return {};
  }
  DiskSnapshot DiskOf(const StatsSnapshot& stats, const std::string& name) {
    for (const DiskSnapshot& disk : stats.disks) {
      if (disk.name == name) return disk;
    }
    ADD_FAILURE() << "no disk " << name;
    return {};
  }
};

const ClientSnapshot::Kind& Of(const ClientSnapshot& clients, RequestKind kind) {
  return clients.kinds[static_cast<size_t>(kind)];
}
const DiskSnapshot::Operation& Of(const DiskSnapshot& disk, Op op) {
  return disk.operations[static_cast<size_t>(op)];
}

TEST_F(StatsTest, KnownWorkAddsUp) {
  auto client = house_->Connect();
  ASSERT_TRUE(client.Open("base"));
  for (uint32_t i = 0; i < 3; ++i) {
    ASSERT_EQ(client.Ask(Command::kWrite, i * 65536, 4096), Error::kNone);
  }
  for (int i = 0; i < 2; ++i) ASSERT_EQ(client.Ask(Command::kRead, 0, 8192), Error::kNone);
  ASSERT_EQ(client.Ask(Command::kFlush, 0), Error::kNone);
  ASSERT_EQ(client.Ask(Command::kRead, uint64_t{1} << 40, 512), Error::kInval);
  house_->Settle();

  const StatsSnapshot stats = Look();
  const ClientSnapshot clients = Nbd(stats, "base");
  EXPECT_EQ(clients.volume, "base");
  EXPECT_EQ(Of(clients, RequestKind::kWrite).requests, 3u);
  EXPECT_EQ(Of(clients, RequestKind::kWrite).bytes, 12288u);
  EXPECT_EQ(Of(clients, RequestKind::kRead).requests, 3u);
  EXPECT_EQ(Of(clients, RequestKind::kRead).bytes, 16384u);
  for (const ClientSnapshot::Kind& kind : clients.kinds) {
    EXPECT_EQ(kind.total.count(), kind.requests);
  }
  ASSERT_EQ(clients.errors.size(), 1u);
  EXPECT_EQ(clients.errors[0].code, "EINVAL");
  EXPECT_EQ(clients.errors[0].count, 1u);
  EXPECT_EQ(clients.opened, 1u);
  EXPECT_EQ(clients.open, 1u);
  EXPECT_EQ(clients.inflight, 0u);
  EXPECT_EQ(clients.in_line, 0u);

  const DiskSnapshot disk = DiskOf(stats, "base");
  EXPECT_EQ(disk.strategy, "deadline");
  EXPECT_EQ(Of(disk, Op::kWrite).requests, 3u);
  EXPECT_EQ(Of(disk, Op::kRead).requests, 2u);
  EXPECT_EQ(disk.runs, 5u);
  EXPECT_EQ(disk.queued + disk.riding + disk.at_device, 0u);
  for (const DiskSnapshot::Operation& operation : disk.operations) {
    EXPECT_EQ(operation.stages[static_cast<int>(Stage::kDevice)].count(), operation.requests);
  }
  ASSERT_EQ(stats.answers.size(), 1u);
  EXPECT_EQ(stats.answers[0].disk, "base");
  EXPECT_EQ(stats.answers[0].operations[static_cast<int>(Op::kWrite)].count(), 3u);
}

TEST_F(StatsTest, WhoIsNeverThereIsNotToldOf) {
  EXPECT_TRUE(Look().clients.empty());
  {
    // One whose handshake is over is counted when its first request is answered, at the latest.
    auto client = house_->Connect();
    ASSERT_TRUE(client.Open("base"));
    ASSERT_EQ(client.Ask(Command::kFlush, 0), Error::kNone);
  }
  house_->AwaitNoClients();
  const StatsSnapshot stats = Look();
  ASSERT_EQ(stats.clients.size(), 1u);
  EXPECT_EQ(stats.clients[0].opened, 1u);
  EXPECT_EQ(stats.clients[0].open, 0u);
}

TEST_F(StatsTest, AnswersOverSeveralDisksBelongToNone) {
  ASSERT_EQ(Said(control().AddDisk({}, MemoryDisk("d0"))), "ok");
  ASSERT_EQ(Said(control().AddDisk({}, MemoryDisk("d1"))), "ok");
  ASSERT_EQ(Said(control().CreateVolume({}, ConcatOf("v", {"d0", "d1"}))), "ok");
  ASSERT_EQ(Said(control().CreateVolume({}, SliceOf("s", "base", 0, kMiB))), "ok");
  ASSERT_EQ(Said(control().CreateExport({}, ExportOf("v", "v"))), "ok");
  ASSERT_EQ(Said(control().CreateExport({}, ExportOf("s", "s"))), "ok");
  for (const char* name : {"v", "s"}) {
    auto client = house_->Connect();
    ASSERT_TRUE(client.Open(name));
    ASSERT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
  }
  house_->AwaitNoClients();
  const StatsSnapshot stats = Look();
  for (const AnswerSnapshot& answer : stats.answers) {
    EXPECT_EQ(answer.operations[static_cast<int>(Op::kWrite)].count(), 1u) << answer.disk;
  }
  ASSERT_EQ(stats.answers.size(), 2u);
  EXPECT_EQ(stats.answers[0].disk, "*");
  EXPECT_EQ(stats.answers[1].disk, "base");
}

TEST_F(StatsTest, AnExportThatGrowsKeepsItsCounts) {
  ASSERT_EQ(Said(control().CreateVolume({}, SliceOf("s", "base", 0, kMiB))), "ok");
  ASSERT_EQ(Said(control().CreateExport({}, ExportOf("s", "s"))), "ok");
  {
    auto client = house_->Connect();
    ASSERT_TRUE(client.Open("s"));
    ASSERT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
  }
  house_->AwaitNoClients();
  ASSERT_EQ(Said(control().GrowVolume({}, "s", 2 * kMiB, {})), "ok");
  EXPECT_EQ(Of(Nbd(Look(), "s"), RequestKind::kWrite).requests, 1u);
}

// Under the thread sanitizer this is what it is for.
TEST_F(StatsTest, LooksWhileClientsAndDisksComeAndGo) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        auto client = house_->Connect();
        if (!client.Open("base")) continue;
        client.Ask(Command::kWrite, 4096);
        client.Send(Command::kRead, 0, 4096);
      }
    });
  }
  uint64_t last = 0;
  for (int i = 0; i < 50; ++i) {
    const std::string name = "d" + std::to_string(i);
    ASSERT_EQ(Said(control().AddDisk({}, MemoryDisk(name))), "ok");
    const StatsSnapshot stats = Look();
    const uint64_t writes = Of(Nbd(stats, "base"), RequestKind::kWrite).requests;
    EXPECT_GE(writes, last);
    last = writes;
    EXPECT_EQ(DiskOf(stats, name).runs, 0u);
    ASSERT_EQ(Said(control().RemoveDisk({}, name)), "ok");
    Look();
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  house_->AwaitNoClients();
  const ClientSnapshot clients = Nbd(Look(), "base");
  EXPECT_EQ(clients.open, 0u);
  EXPECT_EQ(clients.inflight, 0u);
}

}  // namespace
}  // namespace sluice
