// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "core/units.h"

namespace sluice {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

absl::StatusOr<ClientCommand> Parse(std::vector<const char*> words) {
  words.insert(words.begin(), "sluice");
  return ParseClientCommandLine(static_cast<int>(words.size()), words.data());
}

bench::Options Bench(std::vector<const char*> words) {
  words.insert(words.begin(), {"bench", "nbd://h/x"});
  const auto command = Parse(std::move(words));
  EXPECT_TRUE(command.ok()) << command.status();
  return command.ok() ? command->bench : bench::Options();
}

std::string Refusal(std::vector<const char*> words) {
  words.insert(words.begin(), {"bench", "nbd://h/x"});
  const auto command = Parse(std::move(words));
  EXPECT_EQ(command.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(command.status().message());
}

TEST(ClientCli, TheDefaultsAreThoseTheHelpTells) {
  const bench::Options options = Bench({});
  EXPECT_EQ(options.mode.name, "randread");
  EXPECT_EQ(options.block_size, 4096u);
  EXPECT_EQ(options.depth, 32u);
  EXPECT_EQ(options.connections, 1u);
  EXPECT_EQ(options.threads, 1u);
  EXPECT_EQ(options.time_ns, 10 * kSecond);
  EXPECT_EQ(options.warmup_ns, kSecond);
  EXPECT_EQ(options.patience_ns, 30 * kSecond);
  EXPECT_EQ(options.poll_ns, 0u);
  EXPECT_EQ(options.seed, 1u);
  EXPECT_EQ(options.requests, 0u);
}

TEST(ClientCli, EveryOptionArrives) {
  const bench::Options options = Bench({"--rw",
                                        "randrw",
                                        "--destroy",
                                        "--read-percent",
                                        "55",
                                        "--block-size",
                                        "128k",
                                        "--depth",
                                        "8",
                                        "--connections",
                                        "4",
                                        "--time",
                                        "250ms",
                                        "--requests",
                                        "77",
                                        "--warmup",
                                        "2s",
                                        "--offset",
                                        "1M",
                                        "--size",
                                        "2G",
                                        "--fua",
                                        "--flush",
                                        "--verify",
                                        "--seed",
                                        "9",
                                        "--structured",
                                        "--poll",
                                        "50",
                                        "--threads",
                                        "2",
                                        "--timeout",
                                        "5s",
                                        "--json",
                                        "--histogram"});
  EXPECT_EQ(options.reads(), 55u);
  EXPECT_EQ(options.block_size, 128 * kKiB);
  EXPECT_EQ(options.depth, 8u);
  EXPECT_EQ(options.connections, 4u);
  EXPECT_EQ(options.time_ns, 250 * kMillisecond);
  EXPECT_EQ(options.requests, 77u);
  EXPECT_EQ(options.warmup_ns, 2 * kSecond);
  EXPECT_EQ(options.offset, kMiB);
  EXPECT_EQ(options.size, 2 * kGiB);
  EXPECT_EQ(options.seed, 9u);
  EXPECT_EQ(options.poll_ns, 50 * kMicrosecond);
  EXPECT_EQ(options.threads, 2u);
  EXPECT_EQ(options.patience_ns, 5 * kSecond);
  EXPECT_TRUE(options.destroy && options.fua && options.flush && options.verify);
  EXPECT_TRUE(options.structured && options.json && options.histogram);
}

TEST(ClientCli, ACountOfRequestsAloneHasNoTimeLimitAndNoWarmUp) {
  const bench::Options options = Bench({"--requests", "5"});
  EXPECT_EQ(options.time_ns, 0u);
  EXPECT_EQ(options.warmup_ns, 0u);
}

TEST(ClientCli, WhatOverwritesDataMustSaySo) {
  for (const char* mode :
       {"write", "randwrite", "rw", "randrw", "trim", "randtrim", "zero", "randzero"}) {
    EXPECT_THAT(Refusal({"--rw", mode}), HasSubstr("--destroy")) << mode;
    EXPECT_TRUE(Bench({"--rw", mode, "--destroy"}).changes()) << mode;
  }
  EXPECT_FALSE(Bench({"--rw", "read"}).changes());
  EXPECT_FALSE(Bench({"--rw", "randrw", "--read-percent", "100"}).changes());
}

TEST(ClientCli, ARefusalNamesTheOption) {
  EXPECT_THAT(Refusal({"--rw", "reed"}), HasSubstr("--rw"));
  EXPECT_THAT(Refusal({"--rw", "read", "--read-percent", "5"}), HasSubstr("--read-percent"));
  EXPECT_THAT(Refusal({"--rw", "rw", "--destroy", "--read-percent", "101"}),
              HasSubstr("--read-percent"));
  for (const char* size : {"0", "511", "4097", "65M", "8G", "4kb", "-4k", ""}) {
    EXPECT_THAT(Refusal({"--block-size", size}), HasSubstr("--block-size")) << size;
  }
  EXPECT_THAT(Refusal({"--depth", "0"}), HasSubstr("--depth"));
  EXPECT_THAT(Refusal({"--depth", "4097"}), HasSubstr("--depth"));
  EXPECT_THAT(Refusal({"--depth", "many"}), HasSubstr("--depth"));
  EXPECT_THAT(Refusal({"--connections", "1025"}), HasSubstr("--connections"));
  EXPECT_THAT(Refusal({"--threads", "2"}), HasSubstr("--threads"));
  for (const char* time : {"-1s", "1", "x", "9999999h"}) {
    EXPECT_THAT(Refusal({"--time", time}), HasSubstr("--time")) << time;
  }
  EXPECT_THAT(Refusal({"--time", "0"}), HasSubstr("--requests"));
  EXPECT_THAT(Refusal({"--timeout", "0s"}), HasSubstr("--timeout"));
  EXPECT_THAT(Refusal({"--offset", "1"}), HasSubstr("--offset"));
  EXPECT_THAT(Refusal({"--poll", "1000001"}), HasSubstr("--poll"));
  EXPECT_THAT(Refusal({"--fua"}), HasSubstr("--fua"));
  EXPECT_THAT(Refusal({"--rw", "trim", "--destroy", "--verify"}), HasSubstr("--verify"));
  EXPECT_THAT(Refusal({"--block-size", "64M", "--verify"}), HasSubstr("--verify"));
  EXPECT_THAT(Refusal({"--no-such-option"}), HasSubstr("--help"));
}

TEST(ClientCli, ABadOrMissingUriIsRefused) {
  EXPECT_THAT(std::string(Parse({"bench", "h:1"}).status().message()), HasSubstr("nbd://"));
  EXPECT_THAT(std::string(Parse({"bench"}).status().message()), HasSubstr("URI"));
  EXPECT_FALSE(Parse({}).ok());
  EXPECT_FALSE(Parse({"dance"}).ok());
}

TEST(ClientCli, HelpAndVersionArePrinted) {
  EXPECT_THAT(Parse({"--version"}).value().text, HasSubstr("sluice 0."));
  EXPECT_THAT(Parse({"--help"}).value().text, HasSubstr("bench"));
  const ClientCommand help = Parse({"bench", "--help"}).value();
  EXPECT_EQ(help.kind, ClientCommand::Kind::kPrint);
  for (const char* option : {"--rw", "--destroy", "--block-size", "--verify", "--json", "--poll"}) {
    EXPECT_THAT(help.text, HasSubstr(option));
  }
  for (const bench::Mode& mode : bench::kModes) {
    EXPECT_THAT(help.text, HasSubstr(std::string(mode.name)));
  }
}

TEST(ClientCommandLine, CommandsTakeTheirRangeAndRefuseWhatCannotBe) {
  const auto read = Parse({"read", "--offset", "1M", "--length", "4k", "nbd://h/x"});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kind, ClientCommand::Kind::kCommand);
  EXPECT_EQ(read->run, command::Read);
  EXPECT_EQ(read->options.source, "nbd://h/x");
  EXPECT_EQ(read->options.offset, kMiB);
  EXPECT_EQ(read->options.length, 4 * kKiB);
  const auto copy = Parse({"copy", "a", "b", "--resume", "j", "--verify"});
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(copy->run, command::Copy);
  EXPECT_EQ(copy->options.journal, "j");
  EXPECT_TRUE(copy->options.verify);
  EXPECT_EQ(copy->options.length, std::nullopt);
  EXPECT_THAT(std::string(Parse({"copy", "a", "b", "--connections", "65"}).status().message()),
              HasSubstr("--connections"));
  EXPECT_FALSE(Parse({"map", "--offset", "x", "nbd://h"}).ok());
  EXPECT_FALSE(Parse({"copy", "a"}).ok());
}

std::string Why(std::vector<const char*> words) {
  const auto command = Parse(std::move(words));
  EXPECT_EQ(command.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(command.status().message());
}

std::vector<std::string> Completed(std::vector<const char*> words) {
  words.insert(words.begin(), {"complete", "--"});
  const auto command = Parse(std::move(words));
  EXPECT_TRUE(command.ok()) << command.status();
  std::vector<std::string> found;
  for (const absl::string_view line : absl::StrSplit(command->text, '\n', absl::SkipEmpty())) {
    found.emplace_back(line.substr(0, line.find('\t')));
  }
  return found;
}

TEST(ClientCommandLine, TheServerMayStandBeforeOrBehindTheCommand) {
  for (const auto& words :
       std::vector<std::vector<const char*>>{{"--server", "unix:/s", "disk", "list", "--json"},
                                             {"disk", "list", "--json", "--server", "unix:/s"}}) {
    const auto command = Parse(words);
    ASSERT_TRUE(command.ok()) << command.status();
    EXPECT_EQ(command->kind, ClientCommand::Kind::kControl);
    EXPECT_EQ(command->server.address, "unix:/s");
  }
  setenv("SLUICE_SERVER", "h:7", 1);
  EXPECT_EQ(Parse({"disk", "list"})->server.address, "h:7");
  unsetenv("SLUICE_SERVER");
  EXPECT_EQ(Parse({"disk", "list"})->server.address, control::kDefaultAddress);
}

TEST(ClientCommandLine, WhatWasMeantIsGuessed) {
  EXPECT_THAT(Why({"dsik"}), HasSubstr("no command dsik: did you mean disk?"));
  EXPECT_THAT(Why({"disk", "lst"}), HasSubstr("disk: no command lst: did you mean list?"));
  EXPECT_THAT(Why({"disk", "strat"}), HasSubstr("did you mean strategies?"));
  EXPECT_THAT(Why({"disk", "list", "--jsno"}), HasSubstr("did you mean --json?"));
  EXPECT_THAT(Why({"ls", "--sever", "x"}), HasSubstr("did you mean --server?"));
  EXPECT_THAT(Why({"volume", "create", "mirror", "m"}),
              HasSubstr("there is slice, concat, stripe"));
  EXPECT_THAT(Why({"disk"}), HasSubstr("disk: give a command: list, show"));
  EXPECT_THAT(Why({"disk", "swap", "d0"}), HasSubstr("STRATEGY"));
  EXPECT_THAT(Why({"disk", "swap", "d0"}), HasSubstr("sluice disk swap --help"));
}

TEST(ClientCommandLine, ManagementRefusesWhatCannotBe) {
  EXPECT_THAT(Why({"disk", "add", "d", "relative"}), HasSubstr("TARGET"));
  EXPECT_THAT(Why({"disk", "add", "d", "memory:many"}), HasSubstr("TARGET"));
  EXPECT_THAT(Why({"disk", "add", "d", "/p", "--depth", "1025"}), HasSubstr("--depth"));
  EXPECT_THAT(Why({"disk", "depth", "d", "-1"}), HasSubstr("-1"));
  EXPECT_THAT(Why({"volume", "create", "slice", "s", "d0"}), HasSubstr("--size"));
  EXPECT_THAT(Why({"volume", "create", "concat", "c", "d0", "d1", "--leg-bytes", "some"}),
              HasSubstr("--leg-bytes"));
  EXPECT_THAT(Why({"volume", "grow", "s"}), HasSubstr("--size"));
  EXPECT_THAT(Why({"volume", "grow", "s", "--size", "1", "--add", "d"}), HasSubstr("--add"));
  EXPECT_THAT(Why({"export", "create", "e", "v", "--exclusive", "me"}), HasSubstr("sessions"));
  EXPECT_THAT(Why({"export", "create", "e", "v", "--priority", "3"}), HasSubstr("--priority"));
  EXPECT_THAT(Why({"export", "update", "e"}), HasSubstr("--description"));
  EXPECT_THAT(Why({"export", "update", "e", "--read-only", "--read-write"}),
              HasSubstr("--read-write"));
  EXPECT_THAT(Why({"export", "update", "e", "--weight", "0"}), HasSubstr("--weight"));
  EXPECT_TRUE(Parse({"export", "update", "e", "--description", ""}).ok());
  EXPECT_THAT(Why({"server", "log-level", "loud"}), HasSubstr("debug"));
  EXPECT_THAT(Why({"top", "--interval", "1ms"}), HasSubstr("--interval"));
}

TEST(ClientCompletion, OffersCommandsOptionsAndChoices) {
  EXPECT_THAT(Completed({"d"}),
              AllOf(Contains("disk"), Contains("drain"), Not(Contains("complete"))));
  EXPECT_THAT(Completed({"disk", ""}), AllOf(Contains("swap"), Contains("strategies")));
  EXPECT_THAT(Completed({"disk", "add", "-"}),
              AllOf(Contains("--create"), Contains("--server"), Not(Contains("--force"))));
  EXPECT_THAT(Completed({"bench", "--rw", ""}), Contains("randwrite"));
  EXPECT_THAT(Completed({"server", "log-level", ""}), Contains("warning"));
  EXPECT_THAT(Completed({"copy", ""}), Contains(":files"));
  EXPECT_THAT(Completed({"read", "--output", ""}), ElementsAre(":files"));
  EXPECT_THAT(Completed({"--server", "unix:/nowhere", "disk", "show", ""}), IsEmpty());
}

TEST(ClientCompletion, ThereIsAScriptForEachShell) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(Parse({"completion", shell})->text, HasSubstr("complete --")) << shell;
  }
  EXPECT_THAT(Why({"completion", "csh"}), HasSubstr("bash, zsh or fish"));
}

}  // namespace
}  // namespace sluice
