// SPDX-License-Identifier: Apache-2.0
#include "client/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/units.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;

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

}  // namespace
}  // namespace sluice
