// SPDX-License-Identifier: Apache-2.0
#include "server/cli.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

namespace sluice {
namespace {

absl::StatusOr<Command> Parse(const std::string& line) {
  const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  std::vector<const char*> argv{"sluiced"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

std::string Error(const std::string& line) {
  const auto command = Parse(line);
  return command.ok() ? "ok" : std::string(command.status().message());
}

TEST(Cli, ServeMakesTheSameConfigAsAFile) {
  const auto command = Parse(
      "serve --name vm --nbd 127.0.0.1:0 --nbd unix:/run/x --bufq fcfs --buffered --readonly "
      "--create 1GiB --block-size 4096 "
      "--reactors 2 --poll-us 0 --drain-timeout 5 --socket-mode 0660 --socket-owner root:root "
      "--state-dir /srv/state /srv/d.img");
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->kind, Command::Kind::kServe);
  const Config& config = command->config;
  ASSERT_EQ(config.nbd.listen.size(), 2u);
  EXPECT_EQ(config.nbd.listen[1].ToString(), "unix:/run/x");
  EXPECT_EQ(config.nbd.socket_mode, 0660u);
  EXPECT_EQ(config.nbd.socket_owner, "root:root");
  ASSERT_EQ(config.topology.disks.size(), 1u);
  EXPECT_EQ(config.topology.disks[0].path, "/srv/d.img");
  EXPECT_EQ(config.topology.disks[0].size_bytes, kGiB);
  EXPECT_EQ(config.topology.disks[0].bufq, "fcfs");
  EXPECT_TRUE(config.topology.disks[0].buffered);
  EXPECT_TRUE(config.topology.disks[0].read_only);
  EXPECT_EQ(config.topology.disks[0].block_size, 4096u);
  EXPECT_EQ(config.exports[0].name, "vm");
  EXPECT_TRUE(config.exports[0].read_only);
  EXPECT_EQ(config.reactors, 2u);
  EXPECT_EQ(config.poll_us, 0u);
  EXPECT_EQ(config.limits.drain_timeout_s, 5u);
  EXPECT_EQ(config.state_dir, "/srv/state");
}

TEST(Cli, WithoutADoorServeListensForNbdOnLoopback) {
  const auto command = Parse("serve memory:1GiB");
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.nbd.listen[0].ToString(), "127.0.0.1:10809");
  EXPECT_EQ(command->config.topology.disks[0].kind, DiskSpec::Kind::kMemory);
  EXPECT_EQ(command->config.topology.disks[0].size_bytes, kGiB);
  EXPECT_EQ(command->config.topology.disks[0].block_size, 0u);
}

TEST(Cli, NullAndMemoryTargetsHaveASize) {
  EXPECT_EQ(Parse("serve null:1T")->config.topology.disks[0].size_bytes, uint64_t{1} << 40);
  EXPECT_EQ(Error("serve memory:"), "TARGET: \"\" is no size: write bytes, 512M or 1GiB");
  EXPECT_EQ(Error("serve memory:1000"),
            "TARGET: 1000 is no multiple of the block: give a multiple of 512");
  EXPECT_EQ(Error("serve null:0"), "TARGET: 0 is out of range: give 512 to 4611686018427387904");
}

TEST(Cli, RefusalsNameTheFlagAndTheCure) {
  EXPECT_EQ(Error("serve --grpc unix:/x memory:1M"), "ok");
  EXPECT_EQ(Error("serve --grpc 127.0.0.1:0 memory:1M").substr(0, 36),
            "--grpc: 127.0.0.1:0 is plain TCP: wh");
  EXPECT_EQ(Error("serve --grpc 127.0.0.1:0 --insecure-tcp memory:1M"), "ok");
  EXPECT_EQ(Error("serve --grpc 0.0.0.0:1 --tls-cert c --tls-key k memory:1M").substr(0, 29),
            "--tls-client-ca: is missing: ");
  EXPECT_EQ(Error("serve --grpc unix:/x --tls-cert c --tls-key k --tls-client-ca a memory:1M")
                .substr(0, 26),
            "--tls-cert: serves nobody:");
  const auto tls = Parse(
      "serve --grpc 0.0.0.0:1 --nbd 0.0.0.0:2 --insecure-tcp --tls-cert c --tls-key k "
      "--tls-client-ca a --tls-admin ops memory:1M");
  ASSERT_TRUE(tls.ok()) << tls.status();
  EXPECT_FALSE(tls->config.grpc.insecure_tcp);
  EXPECT_EQ(tls->config.grpc.tls->admin, (std::vector<std::string>{"ops"}));
  EXPECT_EQ(Error("serve --http 127.0.0.1:0 memory:1M"), "ok");
  EXPECT_EQ(Error("serve --http 0.0.0.0:1 memory:1M").substr(0, 48),
            "--http: 0.0.0.0:1 is plain TCP beyond loopback: ");
  EXPECT_EQ(Error("serve --http 0.0.0.0:1 --insecure-tcp memory:1M"), "ok");
  EXPECT_EQ(Error("serve --nbd 0.0.0.0:1 memory:1M").substr(0, 47),
            "--nbd: 0.0.0.0:1 is plain TCP beyond loopback: ");
  EXPECT_EQ(Error("serve --nbd 0.0.0.0:1 --insecure-tcp memory:1M"), "ok");
  EXPECT_EQ(Error("serve --nbd x memory:1M").substr(0, 27), "--nbd: \"x\" is no address: w");
  EXPECT_EQ(Error("serve --bufq no/such memory:1M").substr(0, 8), "--bufq: ");
  EXPECT_EQ(Error("serve --state-dir here memory:1M").substr(0, 13), "--state-dir: ");
  EXPECT_EQ(Error("serve --create 1M memory:1M"), "--create: goes with a PATH only: remove it");
  EXPECT_EQ(Error("serve --create 0 /x"), "--create: 0 is out of range: give at least one block");
  EXPECT_EQ(Error("serve --block-size 1000 memory:1000K").substr(0, 14), "--block-size: ");
  EXPECT_EQ(Error("serve --block-size 128K memory:1M").substr(0, 14), "--block-size: ");
  EXPECT_EQ(Error("serve --reactors 0 memory:1M").substr(0, 12), "--reactors: ");
  EXPECT_EQ(Error("serve --reactors 65 memory:1M").substr(0, 12), "--reactors: ");
  EXPECT_EQ(Error("serve --poll-us 1001 memory:1M").substr(0, 11), "--poll-us: ");
  EXPECT_EQ(Error("serve --drain-timeout 0 memory:1M").substr(0, 17), "--drain-timeout: ");
  EXPECT_EQ(Error("serve --socket-mode 9 memory:1M").substr(0, 15), "--socket-mode: ");
}

TEST(Cli, WrongUseIsRefused) {
  for (const char* line :
       {"", "serve", "serve a b", "--nonsense", "serve --nonsense memory:1M", "--check-config",
        "--config", "serve --nbd", "serve --reactors x memory:1M",
        "--list-strategies serve memory:1M", "--config /x serve memory:1M", "frobnicate"}) {
    EXPECT_NE(Error(line), "ok") << line;
  }
}

TEST(Cli, PrintsVersionAndHelp) {
  const auto version = Parse("--version");
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(version->kind, Command::Kind::kPrint);
  EXPECT_EQ(version->text.rfind("sluiced ", 0), 0u) << version->text;
  const auto help = Parse("serve --help");
  ASSERT_TRUE(help.ok());
  EXPECT_NE(help->text.find("--insecure-tcp"), std::string::npos);
  EXPECT_EQ(Parse("--list-strategies")->kind, Command::Kind::kListStrategies);
}

TEST(Cli, ChecksAConfigFile) {
  const std::string path = testing::TempDir() + "/sluice_cli_test.conf";
  std::ofstream(path)
      << "disk { name: \"d\" null_bytes: 512 }\nexport { name: \"e\" volume: \"d\" }\n";
  EXPECT_EQ(Parse("--config " + path)->kind, Command::Kind::kServe);
  EXPECT_EQ(Parse("--config " + path + " --check-config")->kind, Command::Kind::kCheckConfig);
  std::ofstream(path) << "disk { name: \"d\"\n depth: x }\n";
  EXPECT_EQ(Error("--config " + path).rfind(path + ":2: depth: ", 0), 0u)
      << Error("--config " + path);
}

}  // namespace
}  // namespace sluice
