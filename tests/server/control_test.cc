// SPDX-License-Identifier: Apache-2.0
// The control plane over real reactors: what is made, changed and taken away while clients are
// served, and what is there after a restart.
#include <gmock/gmock.h>

#include "tests/server/control_house.h"

namespace sluice {
namespace {

using nbd::Command;
using nbd::Error;
using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(ControlTest, WhatIsMadeAtRunTimeIsServedAtOnce) {
  ASSERT_EQ(Said(control().AddDisk({}, FileDisk("d0", Path("d0"), 4 * kMiB))), "ok");
  ASSERT_EQ(Said(control().AddDisk({}, MemoryDisk("d1"))), "ok");
  const auto volume = control().CreateVolume({}, ConcatOf("v", {"d0", "d1"}));
  ASSERT_EQ(Said(volume), "ok");
  EXPECT_EQ(volume->limits.size, 8 * kMiB);
  EXPECT_FALSE(house_->Connect().Open("new"));
  ASSERT_EQ(Said(control().CreateExport({}, ExportOf("new", "v"))), "ok");
  auto client = house_->Connect();
  ASSERT_TRUE(client.Open("new"));
  EXPECT_EQ(client.Ask(Command::kWrite, 65536), Error::kNone);
  EXPECT_EQ(client.Ask(Command::kRead, 65536), Error::kNone);
  EXPECT_EQ(client.Ask(Command::kFlush, 0), Error::kNone);
  EXPECT_EQ(control().GetExport("new")->clients.at("nbd"), 1u);
  EXPECT_THAT(control().GetDisk("d0")->used_by, ElementsAre("v"));
  EXPECT_THAT(control().GetVolume("v")->used_by, ElementsAre("new"));
}

TEST_F(ControlTest, WhatIsMadeAtRunTimeIsThereAfterARestart) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("d0", Path("d0"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateVolume({}, SliceOf("s", "d0", kMiB, kMiB)).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("s", "s")).ok());
  ASSERT_TRUE(control().SwapStrategy({}, "d0", "fair", 0).ok());
  ASSERT_TRUE(control().SetDepth({}, "d0", 7).ok());
  const std::string etag = control().GetDisk("d0")->etag;
  const uint64_t revision = control().events().newest();
  Start();
  const auto disk = control().GetDisk("d0");
  EXPECT_EQ(disk->strategy, "fair");
  EXPECT_EQ(disk->depth, 7u);
  EXPECT_TRUE(disk->made_at_run_time);
  EXPECT_NE(disk->etag, etag);
  EXPECT_GT(control().events().newest(), revision);
  EXPECT_TRUE(house_->Connect().Open("s"));
  house_->AwaitNoClients();
  ASSERT_EQ(Said(control().DeleteExport({}, "s", false)), "ok");
  ASSERT_EQ(Said(control().DeleteVolume({}, "s")), "ok");
  ASSERT_EQ(Said(control().RemoveDisk({}, "d0")), "ok");
  Start();
  EXPECT_TRUE(absl::IsNotFound(control().GetDisk("d0").status()));
  EXPECT_FALSE(house_->Connect().Open("s"));
}

TEST_F(ControlTest, StateThatClashesWithTheConfigIsAnError) {
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("d0")).ok());
  house_.reset();
  const auto state = *StateDir::Open(folder_ + "/state");
  Config config = config_;
  config.topology.disks.push_back(MemoryDisk("d0"));
  EXPECT_THAT(Said(Control::AddSaved(*state, config)),
              HasSubstr("the config file declares it too"));
  config = config_;
  config.exports[0].volume = "d0";
  config.topology.disks.clear();
  EXPECT_TRUE(Control::AddSaved(*state, config).ok());
}

TEST_F(ControlTest, ADiskMustLieUnderARootWithAllLinksResolved) {
  std::filesystem::create_directories(folder_ + "/outside");
  std::filesystem::create_symlink(folder_ + "/outside", Path("way_out"));
  std::filesystem::create_symlink(folder_ + "/outside/new", Path("dangling"));
  for (const std::string& path :
       {folder_ + "/outside/d", Path("way_out/d"), Path("../outside/d"), folder_ + "/disks",
        std::string("disks/d"), Path(".."), std::string("/etc/passwd")}) {
    EXPECT_TRUE(absl::IsPermissionDenied(control().AddDisk({}, FileDisk("d", path, kMiB)).status()))
        << path;
  }
  EXPECT_FALSE(control().AddDisk({}, FileDisk("d", Path("dangling"), kMiB)).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/outside/new"));
  std::filesystem::create_directories(Path("deeper"));
  std::filesystem::create_symlink(Path("deeper"), Path("inside"));
  const auto added = control().AddDisk({}, FileDisk("d", Path("inside/d"), kMiB));
  ASSERT_EQ(Said(added), "ok");
  EXPECT_EQ(added->spec.path, std::filesystem::canonical(Path("deeper")).string() + "/d");
}

TEST_F(ControlTest, TheRulesAreTheConfigsAndARefusalChangesNothing) {
  const auto count = [&] { return control().ListDisks().size() + control().ListVolumes().size(); };
  const size_t before = count();
  EXPECT_THAT(Said(control().AddDisk({}, MemoryDisk("no/name"))), HasSubstr("is no name"));
  EXPECT_EQ(Said(control().AddDisk({}, MemoryDisk("d", 1000))),
            "disk \"d\": memory_bytes: 1000 is no multiple of the block: give a multiple of 512");
  EXPECT_THAT(Said(control().CreateVolume({}, ConcatOf("v", {"none"}))), HasSubstr("\"none\""));
  EXPECT_THAT(Said(control().CreateVolume({}, SliceOf("v", "base", 0, kGiB))), HasSubstr("\"v\""));
  EXPECT_FALSE(control().CreateVolume({}, VolumeSpec{}).ok());
  EXPECT_FALSE(control().CreateExport({}, ExportOf("x", "none")).ok());
  EXPECT_FALSE(control().SwapStrategy({}, "base", "no_such", 0).ok());
  EXPECT_FALSE(control().SetDepth({}, "base", 5000).ok());
  EXPECT_EQ(count(), before);
  EXPECT_TRUE(house_->Connect().Open("base"));
}

TEST_F(ControlTest, TheSameAgainIsAnsweredWithWhatIsThereAnotherOneIsRefused) {
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("d")).ok());
  EXPECT_EQ(Said(control().AddDisk({}, MemoryDisk("d"))), "ok");
  EXPECT_TRUE(absl::IsAlreadyExists(control().AddDisk({}, MemoryDisk("d", kMiB)).status()));
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"d"})).ok());
  EXPECT_EQ(Said(control().CreateVolume({}, ConcatOf("v", {"d"}))), "ok");
  EXPECT_TRUE(absl::IsAlreadyExists(control().CreateVolume({}, ConcatOf("v", {"base"})).status()));
  ASSERT_TRUE(control().CreateExport({}, ExportOf("e", "v")).ok());
  EXPECT_EQ(Said(control().CreateExport({}, ExportOf("e", "v"))), "ok");
  EXPECT_TRUE(absl::IsAlreadyExists(control().CreateExport({}, ExportOf("e", "base")).status()));
}

TEST_F(ControlTest, TheSameFileAgainIsTheSameDiskAlsoAfterARestart) {
  for (int starts = 0; starts < 2; ++starts) {
    for (const uint64_t create_bytes : {4 * kMiB, uint64_t{0}}) {
      EXPECT_EQ(Said(control().AddDisk({}, FileDisk("d", Path("d"), create_bytes))), "ok");
    }
    EXPECT_TRUE(
        absl::IsAlreadyExists(control().AddDisk({}, FileDisk("d", Path("d"), kMiB)).status()));
    Start();
  }
}

TEST_F(ControlTest, ARequestIdIsCarriedOutOnce) {
  ASSERT_TRUE(control().AddDisk({"id", ""}, MemoryDisk("d")).ok());
  ASSERT_TRUE(control().RemoveDisk({}, "d").ok());
  EXPECT_EQ(control().AddDisk({"id", ""}, MemoryDisk("d"))->spec.name, "d");
  EXPECT_TRUE(absl::IsNotFound(control().GetDisk("d").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(control().AddDisk({"id", ""}, MemoryDisk("other")).status()));
}

TEST_F(ControlTest, AnEtagOfYesterdayIsRefused) {
  const std::string etag = control().GetDisk("base")->etag;
  const auto swapped = control().SwapStrategy({"", etag}, "base", "disksort", 0);
  ASSERT_EQ(Said(swapped), "ok");
  EXPECT_EQ(swapped->disk.strategy, "disksort");
  EXPECT_NE(swapped->disk.etag, etag);
  EXPECT_TRUE(absl::IsAborted(control().SwapStrategy({"", etag}, "base", "fcfs", 0).status()));
  EXPECT_EQ(control().GetDisk("base")->strategy, "disksort");
  EXPECT_EQ(Said(control().SetDepth({"", swapped->disk.etag}, "base", 3)), "ok");
  EXPECT_EQ(control().GetDisk("base")->depth, 3u);
}

TEST_F(ControlTest, WhatIsUsedAndWhatTheConfigDeclaresStays) {
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("d")).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"d"})).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("e", "v")).ok());
  EXPECT_EQ(Said(control().RemoveDisk({}, "d")), "disk \"d\" is used by \"v\": delete these first");
  EXPECT_EQ(Said(control().DeleteVolume({}, "v")),
            "volume \"v\" is used by \"e\": delete these first");
  EXPECT_THAT(Said(control().RemoveDisk({}, "base")), HasSubstr("declared by the config file"));
  EXPECT_THAT(Said(control().DeleteExport({}, "base", true)), HasSubstr("the config file"));
}

TEST_F(ControlTest, AnExportInUseIsDeletedByForceAloneAndItsClientsAreFenced) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("d", Path("d"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("e", "d")).ok());
  auto client = house_->Connect();
  auto other = house_->Connect();
  ASSERT_TRUE(client.Open("e"));
  ASSERT_TRUE(other.Open("base"));
  EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
  EXPECT_THAT(Said(control().DeleteExport({}, "e", false)), HasSubstr("a test"));
  EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
  ASSERT_EQ(Said(control().DeleteExport({}, "e", true)), "ok");
  EXPECT_EQ(client.Ask(Command::kWrite, 4096), std::nullopt);
  EXPECT_EQ(other.Ask(Command::kWrite, 4096), Error::kNone);
  EXPECT_FALSE(house_->Connect().Open("e"));
  EXPECT_EQ(Said(control().RemoveDisk({}, "d")), "ok");
  // It was closed: the file can be a disk again.
  for (int tries = 0; tries < 100 && !house_->disks().disks().empty(); ++tries) {
    if (control().AddDisk({}, FileDisk("d", Path("d"))).ok()) break;
    usleep(10'000);
  }
  EXPECT_TRUE(control().GetDisk("d").ok());
}

TEST_F(ControlTest, OneClientIsFencedByItsHandle) {
  auto one = house_->Connect();
  auto two = house_->Connect();
  for (auto* client : {&one, &two}) {
    ASSERT_TRUE(client->Open("base"));
    ASSERT_EQ(client->Ask(Command::kWrite, 512), Error::kNone);
  }
  const auto clients = control().ListClients();
  ASSERT_EQ(clients.size(), 2u);
  EXPECT_EQ(clients[0].exported->name, "base");
  EXPECT_TRUE(absl::IsNotFound(control().EndClient({}, "nbd-999")));
  ASSERT_EQ(Said(control().EndClient({}, clients[0].handle)), "ok");
  const int served = (one.Ask(Command::kWrite, 512) == Error::kNone ? 1 : 0) +
                     (two.Ask(Command::kWrite, 512) == Error::kNone ? 1 : 0);
  EXPECT_EQ(served, 1);
  EXPECT_EQ(control().ListClients().size(), 1u);
}

TEST_F(ControlTest, DisksOfTwoReactorsAreJoinedUnlessAClientWouldBeMoved) {
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("a")).ok());
  ASSERT_TRUE(control().AddDisk({}, FileDisk("b", Path("b"), 4 * kMiB)).ok());
  ASSERT_NE(control().GetDisk("a")->home, control().GetDisk("b")->home);
  ASSERT_TRUE(control().CreateExport({}, ExportOf("a", "a")).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("b", "b")).ok());
  {
    auto client = house_->Connect();
    ASSERT_TRUE(client.Open("b"));
    EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
    EXPECT_THAT(Said(control().CreateVolume({}, ConcatOf("v", {"a", "b"}))),
                HasSubstr("\"b\" (a test)"));
    EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
  }
  absl::Status joined = absl::UnknownError("");
  for (int tries = 0; tries < 200 && !joined.ok(); ++tries) {  // until that one has left
    joined = control().CreateVolume({}, ConcatOf("v", {"a", "b"})).status();
    usleep(10'000);
  }
  ASSERT_EQ(Said(joined), "ok");
  EXPECT_EQ(control().GetDisk("a")->home, control().GetDisk("b")->home);
  ASSERT_TRUE(control().CreateExport({}, ExportOf("v", "v")).ok());
  for (const char* name : {"v", "a", "b"}) {
    auto client = house_->Connect();
    ASSERT_TRUE(client.Open(name)) << name;
    EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone) << name;
    EXPECT_EQ(client.Ask(Command::kRead, 4096), Error::kNone) << name;
  }
}

TEST_F(ControlTest, VolumesGrowAndNeverShrink) {
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("a")).ok());
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("b")).ok());
  ASSERT_TRUE(control().CreateVolume({}, SliceOf("s", "a", kMiB, kMiB)).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("c", {"s"})).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("c", "c")).ok());
  EXPECT_EQ(control().GrowVolume({}, "s", 2 * kMiB, {})->limits.size, 2 * kMiB);
  EXPECT_EQ(control().GrowVolume({}, "c", 0, {"b"})->limits.size, 6 * kMiB);
  EXPECT_EQ(control().GetExport("c")->exported->size_bytes, 6 * kMiB);
  EXPECT_FALSE(control().GrowVolume({}, "s", kMiB, {}).ok());
  EXPECT_FALSE(control().GrowVolume({}, "s", 8 * kMiB, {}).ok());
  EXPECT_FALSE(control().GrowVolume({}, "c", kMiB, {}).ok());
  EXPECT_FALSE(control().GrowVolume({}, "c", 0, {}).ok());
  EXPECT_TRUE(house_->Connect().Open("c"));
}

TEST_F(ControlTest, AFileThatHasGrownIsServedLongerWhenItIsLookedAt) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("d", Path("d"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"d"})).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("v", "v")).ok());
  std::filesystem::resize_file(Path("d"), 8 * kMiB);
  EXPECT_EQ(control().GetDisk("d")->limits.size, 4 * kMiB);
  EXPECT_EQ(control().RescanDisk({}, "d")->disk.limits.size, 8 * kMiB);
  EXPECT_EQ(control().GetVolume("v")->limits.size, 8 * kMiB);
  EXPECT_EQ(control().GetExport("v")->exported->size_bytes, 8 * kMiB);
  std::filesystem::resize_file(Path("d"), 2 * kMiB);
  EXPECT_THAT(Said(control().RescanDisk({}, "d")), HasSubstr("shrunk"));
  std::filesystem::resize_file(Path("d"), 8 * kMiB);
  Start();  // it is saved without the size that it was made with
  EXPECT_EQ(control().GetExport("v")->exported->size_bytes, 8 * kMiB);
}

TEST_F(ControlTest, ARescanThatFailedMidwayIsDoneByTheNextOne) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("d", Path("d"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"d"})).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("v", "v")).ok());
  std::filesystem::resize_file(Path("d"), 8 * kMiB);
  std::filesystem::create_directory(folder_ + "/state/served.new");  // nothing can be saved
  EXPECT_THAT(Said(control().RescanDisk({}, "d")), HasSubstr("served.new"));
  EXPECT_EQ(control().GetExport("v")->exported->size_bytes, 4 * kMiB);
  std::filesystem::remove(folder_ + "/state/served.new");
  ASSERT_EQ(Said(control().RescanDisk({}, "d")), "ok");
  EXPECT_EQ(control().GetVolume("v")->limits.size, 8 * kMiB);
  EXPECT_EQ(control().GetExport("v")->exported->size_bytes, 8 * kMiB);
}

TEST_F(ControlTest, WhatTheStateCannotHoldIsRefusedAndChangesNothing) {
  std::string name;
  for (int i = 0; i < 64; ++i) name += "\xc3\xa9";  // one byte is four in the state
  ExportConfig large = ExportOf("", "base");
  large.allow.assign(1024, name);
  Config full;
  for (size_t i = 0; i < 30; ++i) {
    full.exports.push_back(large);
    full.exports.back().name = "e" + std::to_string(i);
  }
  house_.reset();
  {
    const auto state = *StateDir::Open(folder_ + "/state");
    ASSERT_TRUE(state->Load("served", 1).ok());
    ASSERT_EQ(Said(state->Save("served", 1, RenderParts(full))), "ok");
  }
  Start();
  absl::Status status;
  size_t there = control().ListExports().size();
  for (; status.ok() && there < 40; ++there) {
    large.name = "e" + std::to_string(there);
    status = control().CreateExport({}, large).status();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(Said(status), HasSubstr("delete something first"));
  EXPECT_EQ(control().ListExports().size(), there - 1);
  EXPECT_EQ(Said(control().DeleteExport({}, "e0", false)), "ok");
}

TEST_F(ControlTest, WhatGrowsDoesSoUnderItsClientsWhoAreServedToTheNewEnd) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("d", Path("d"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateVolume({}, ConcatOf("v", {"d"})).ok());
  ASSERT_TRUE(control().CreateVolume({}, SliceOf("s", "v", kMiB, kMiB)).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("s", "s")).ok());
  auto old = house_->Connect();
  ASSERT_TRUE(old.Open("s"));
  ASSERT_EQ(old.Ask(Command::kWrite, kMiB - 512, 512), Error::kNone);
  EXPECT_FALSE(control().GrowVolume({}, "s", 6 * kMiB, {}).ok());
  std::filesystem::resize_file(Path("d"), 8 * kMiB);
  ASSERT_EQ(Said(control().RescanDisk({}, "d")), "ok");
  EXPECT_EQ(control().GetVolume("v")->limits.size, 8 * kMiB);
  const uint64_t before = control().events().newest();
  ASSERT_EQ(Said(control().GrowVolume({}, "s", 6 * kMiB, {})), "ok");
  EXPECT_EQ(control().events().Since(before, 9).events[0].kind, EventKind::kExportChanged);
  EXPECT_EQ(old.Ask(Command::kWrite, 512), Error::kNone);
  EXPECT_EQ(old.Ask(Command::kRead, 6 * kMiB - 512, 512), Error::kNone);
  EXPECT_EQ(old.Ask(Command::kRead, 6 * kMiB, 512), Error::kInval);
  auto fresh = house_->Connect();
  ASSERT_TRUE(fresh.Open("s"));
  EXPECT_EQ(fresh.Ask(Command::kWrite, 6 * kMiB - 512, 512), Error::kNone);
  EXPECT_EQ(fresh.Ask(Command::kRead, 6 * kMiB, 512), Error::kInval);
}

TEST_F(ControlTest, ADrainedDiskRefusesItsClientsUntilTheyAreGone) {
  ASSERT_TRUE(control().AddDisk({}, FileDisk("d", Path("d"), 4 * kMiB)).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("e", "d")).ok());
  auto client = house_->Connect();
  ASSERT_TRUE(client.Open("e"));
  EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kNone);
  const auto drain = control().DrainDisk({}, "d");
  ASSERT_EQ(Said(drain), "ok");
  EXPECT_EQ(control().operations().Wait(drain->id, 10'000)->state, Operation::State::kDone);
  EXPECT_EQ(control().GetDisk("d")->state, DiskInfo::State::kDrained);
  EXPECT_EQ(client.Ask(Command::kWrite, 4096), Error::kShutdown);
  EXPECT_EQ(client.Ask(Command::kFlush, 0), Error::kNone);
  EXPECT_FALSE(control().DrainDisk({}, "d").ok());
  EXPECT_EQ(Said(control().DeleteExport({}, "e", true)), "ok");
  EXPECT_EQ(Said(control().RemoveDisk({}, "d")), "ok");
}

TEST_F(ControlTest, EventsTellWhatWasDone) {
  const uint64_t begin = control().events().newest();
  ASSERT_TRUE(control().AddDisk({}, MemoryDisk("d")).ok());
  ASSERT_TRUE(control().CreateExport({}, ExportOf("e", "d")).ok());
  ASSERT_TRUE(control().SetDepth({}, "d", 5).ok());
  ASSERT_TRUE(control().DeleteExport({}, "e", false).ok());
  ASSERT_TRUE(control().RemoveDisk({}, "d").ok());
  std::vector<EventKind> kinds;
  for (const Event& event : control().events().Since(begin, 100).events) {
    kinds.push_back(event.kind);
  }
  EXPECT_THAT(kinds,
              ElementsAre(EventKind::kDiskAdded, EventKind::kExportCreated, EventKind::kDiskChanged,
                          EventKind::kExportDeleted, EventKind::kDiskRemoved));
}

TEST_F(ControlTest, AClosedControlPlaneChangesNothing) {
  ASSERT_TRUE(control().Close());
  EXPECT_TRUE(absl::IsUnavailable(control().AddDisk({}, MemoryDisk("d")).status()));
  EXPECT_EQ(control().ListDisks().size(), 1u);
}

// Clients come, work and go while everything around them is made and taken away.
TEST_F(ControlTest, ChangesUnderLoadDisturbNobodyElse) {
  std::atomic<bool> stop{false};
  std::atomic<int> bad{0};
  std::atomic<int> good{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([&] {
      while (!stop.load()) {
        auto client = house_->Connect();
        if (!client.Open("base")) ++bad;
        for (int n = 0; n < 20; ++n) {
          ++(client.Ask(Command::kWrite, 4096) == Error::kNone ? good : bad);
        }
      }
    });
  }
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(Said(control().AddDisk({}, MemoryDisk("a"))), "ok");
    EXPECT_EQ(Said(control().AddDisk({}, MemoryDisk("b"))), "ok");
    EXPECT_EQ(Said(control().CreateVolume({}, ConcatOf("v", {"a", "b"}))), "ok");
    EXPECT_EQ(Said(control().CreateExport({}, ExportOf("v", "v"))), "ok");
    {
      auto client = house_->Connect();
      if (!client.Open("v") || client.Ask(Command::kWrite, 4096) != Error::kNone) ++bad;
      EXPECT_EQ(Said(control().SwapStrategy({}, "base", round % 2 == 0 ? "fair" : "fcfs", 0)),
                "ok");
      EXPECT_EQ(Said(control().DeleteExport({}, "v", true)), "ok");
    }
    EXPECT_EQ(Said(control().DeleteVolume({}, "v")), "ok");
    EXPECT_EQ(Said(control().RemoveDisk({}, "a")), "ok");
    EXPECT_EQ(Said(control().RemoveDisk({}, "b")), "ok");
  }
  stop.store(true);
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(bad.load(), 0);
  EXPECT_GT(good.load(), 0);
  EXPECT_EQ(control().ListDisks().size(), 1u);
}

}  // namespace
}  // namespace sluice
