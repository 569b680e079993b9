// SPDX-License-Identifier: Apache-2.0
// Whole runs against a server in this process.
#include "client/bench/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>

#include "client/bench/pattern.h"
#include "client/bench/report.h"
#include "core/units.h"
#include "tests/client/fake_server.h"

namespace sluice::bench {
namespace {

using nbd::Command;
using ::testing::HasSubstr;

Options For(const FakeServer& server, const char* mode) {
  Options options;
  options.uri_text = server.uri();
  options.uri = ParseNbdUri(options.uri_text).value();
  options.mode = *FindMode(mode);
  options.destroy = true;
  options.depth = 8;
  options.requests = 1000;
  options.patience_ns = 5 * kSecond;
  return options;
}

Result Ran(const Options& options) {
  EXPECT_TRUE(Check(options).ok());
  auto result = Run(options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : Result();
}

TEST(Bench, SendsExactlyTheRequestsItWasAskedForInEveryMode) {
  const std::pair<const char*, Command> kCases[] = {
      {"randread", Command::kRead},        {"read", Command::kRead},
      {"randwrite", Command::kWrite},      {"write", Command::kWrite},
      {"randtrim", Command::kTrim},        {"trim", Command::kTrim},
      {"randzero", Command::kWriteZeroes}, {"zero", Command::kWriteZeroes}};
  for (const auto& [mode, command] : kCases) {
    FakeServer server({});
    const Result result = Ran(For(server, mode));
    EXPECT_TRUE(result.good()) << mode;
    EXPECT_EQ(result.tally.answered, 1000u) << mode;
    EXPECT_EQ(result.tally.bytes, 1000u * 4096) << mode;
    EXPECT_EQ(result.tally.latency_ns.count(), 1000u) << mode;
    EXPECT_EQ(server.Count(command), 1000u) << mode;
    EXPECT_GT(result.iops(), 0) << mode;
  }
}

TEST(Bench, SharesRequestsAmongConnectionsAndThreads) {
  for (const uint32_t threads : {1u, 2u, 3u}) {
    FakeServer server({});
    Options options = For(server, "randrw");
    options.requests = 1001;
    options.connections = 3;
    options.threads = threads;
    const Result result = Ran(options);
    EXPECT_TRUE(result.good());
    EXPECT_EQ(server.connections(), 3u);
    EXPECT_EQ(server.Count(Command::kRead) + server.Count(Command::kWrite), 1001u);
    EXPECT_NEAR(static_cast<double>(server.Count(Command::kRead)), 700, 80);
  }
}

TEST(Bench, PollingChangesNothingButTheWaiting) {
  FakeServer server({});
  Options options = For(server, "randrw");
  options.connections = 2;
  options.poll_ns = 50 * kMicrosecond;
  options.block_size = 512 * kKiB;  // fills the sockets, so that sends have to wait
  options.requests = 200;
  const Result result = Ran(options);
  EXPECT_TRUE(result.good());
  EXPECT_EQ(result.tally.answered, 200u);
}

TEST(Bench, StopsWhenItsTimeIsOver) {
  FakeServer server({});
  Options options = For(server, "randread");
  options.requests = 0;
  options.time_ns = 100 * kMillisecond;
  const Result result = Ran(options);
  EXPECT_GE(result.seconds, 0.09);
  EXPECT_LT(result.seconds, 3);
  EXPECT_EQ(result.tally.answered, server.Count(Command::kRead));
}

TEST(Bench, WarmUpIsNotCounted) {
  FakeServer server({});
  Options options = For(server, "randread");
  options.requests = 10;
  options.warmup_ns = 50 * kMillisecond;
  const Result result = Ran(options);
  EXPECT_EQ(result.tally.answered, 10u);
  EXPECT_GT(server.Count(Command::kRead), 10u);
}

TEST(Bench, StaysInsideItsRegion) {
  FakeServer server({});
  Options options = For(server, "randwrite");
  options.offset = 64 * kKiB;
  options.size = 40 * kKiB;  // ten blocks
  ASSERT_TRUE(Ran(options).good());
  const auto& memory = server.memory();
  const auto zero = [&](size_t from, size_t to) {
    return IsZero(ConstByteSpan(memory).subspan(from, to - from));
  };
  EXPECT_TRUE(zero(0, 64 * kKiB));
  EXPECT_TRUE(zero(104 * kKiB, memory.size()));
  EXPECT_FALSE(zero(64 * kKiB, 104 * kKiB));
}

TEST(Bench, FuaGoesWithWritesAlone) {
  FakeServer server({});
  Options options = For(server, "randrw");
  options.fua = true;
  ASSERT_TRUE(Ran(options).good());
  EXPECT_EQ(server.fua_count(), server.Count(Command::kWrite));
}

TEST(Bench, FlushesOnceWhereOneCoversAllConnectionsElseOnEach) {
  for (const bool multi_conn : {true, false}) {
    FakeServer::Behaviour behaviour;
    if (!multi_conn) behaviour.flags &= static_cast<uint16_t>(~nbd::kCanMultiConn);
    FakeServer server(behaviour);
    Options options = For(server, "write");
    options.connections = 3;
    options.flush = true;
    const Result result = Ran(options);
    EXPECT_EQ(server.Count(Command::kFlush), multi_conn ? 1u : 3u);
    ASSERT_TRUE(result.durable_iops().has_value());
    EXPECT_LT(*result.durable_iops(), result.iops());
  }
}

TEST(Bench, AFailedFlushLeavesNothingDurable) {
  FakeServer server({.error = [](const nbd::Request& request) {
    return request.command == Command::kFlush ? nbd::Error::kIo : nbd::Error::kNone;
  }});
  Options options = For(server, "write");
  options.flush = true;
  const Result result = Ran(options);
  EXPECT_FALSE(result.good());
  EXPECT_FALSE(result.durable_iops().has_value());
  EXPECT_THAT(ProblemsOf(result), HasSubstr("FLUSH failed with EIO"));
}

TEST(Bench, VerifyReadsBackWhatWasWritten) {
  for (const char* mode : {"randwrite", "write", "randrw", "zero"}) {
    FakeServer server({});
    Options options = For(server, mode);
    options.verify = true;
    options.connections = 2;
    options.requests = 600;
    const Result result = Ran(options);
    EXPECT_TRUE(result.good()) << mode << ": " << ProblemsOf(result);
    EXPECT_GT(result.read_back.checked, 100u) << mode;
  }
}

TEST(Bench, VerifyOfReadsComparesWithAnEarlierRunOfTheSameSeed) {
  FakeServer server({});
  Options write = For(server, "write");
  write.verify = true;
  write.requests = 256;  // all of it
  ASSERT_TRUE(Ran(write).good());
  Options read = For(server, "randread");
  read.verify = true;
  const Result same = Ran(read);
  EXPECT_TRUE(same.good());
  EXPECT_EQ(same.tally.checked, 1000u);
  read.seed = 2;
  const Result other = Ran(read);
  EXPECT_EQ(other.mismatches(), 1000u);
  EXPECT_FALSE(other.good());
}

TEST(Bench, VerifyCatchesOneFlippedBit) {
  FakeServer server({.corrupt = [](const nbd::Request& request, ByteSpan data) {
    if (request.offset == 40960) data[777] ^= 1;
  }});
  Options options = For(server, "write");
  options.verify = true;
  options.requests = 256;
  const Result result = Ran(options);
  EXPECT_EQ(result.mismatches(), 1u);
  EXPECT_FALSE(result.good());
  EXPECT_THAT(ProblemsOf(result), HasSubstr("offset 40960"));
}

TEST(Bench, VerifyCatchesALostWrite) {
  FakeServer server({.error = [](const nbd::Request&) { return nbd::Error::kNone; },
                     .corrupt =
                         [](const nbd::Request& request, ByteSpan data) {
                           if (request.offset == 8192)
                             std::fill(data.begin(), data.end(), uint8_t{0});
                         }});
  Options options = For(server, "randrw");
  options.verify = true;
  options.requests = 3000;
  EXPECT_GT(Ran(options).mismatches(), 0u);
}

TEST(Bench, CountsErrorsByCodeAndGoesOn) {
  FakeServer server({.error = [](const nbd::Request& request) {
    return request.offset == 0      ? nbd::Error::kIo
           : request.offset == 4096 ? nbd::Error::kNoSpc
                                    : nbd::Error::kNone;
  }});
  Options options = For(server, "read");
  options.requests = 512;  // everything twice
  const Result result = Ran(options);
  EXPECT_FALSE(result.good());
  EXPECT_EQ(result.tally.answered, 512u);
  EXPECT_EQ(result.tally.errors, 4u);
  EXPECT_EQ(result.tally.errors_by_code.at(nbd::Error::kIo), 2u);
  EXPECT_EQ(result.tally.errors_by_code.at(nbd::Error::kNoSpc), 2u);
  EXPECT_EQ(result.tally.bytes, 508u * 4096);
  EXPECT_THAT(ProblemsOf(result), HasSubstr("EIO (5) 2 times, ENOSPC (28) 2 times"));
}

TEST(Bench, ALostConnectionEndsTheRunOnAllThreads) {
  FakeServer server({.close_at = 100});
  Options options = For(server, "randread");
  options.connections = 2;
  options.threads = 2;
  options.requests = 0;
  options.time_ns = 10 * kSecond;
  const Result result = Ran(options);
  EXPECT_EQ(result.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(result.seconds, 5);
  EXPECT_FALSE(result.good());
  EXPECT_GT(result.tally.answered, 0u);
  EXPECT_THAT(ProblemsOf(result), HasSubstr("closed the connection"));
}

TEST(Bench, ASilentServerIsGivenUp) {
  for (const uint32_t connections : {1u, 2u}) {
    FakeServer server({.silent_from = 10});
    Options options = For(server, "randread");
    options.connections = connections;
    options.patience_ns = 300 * kMillisecond;
    const Result result = Ran(options);
    EXPECT_EQ(result.status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_THAT(ProblemsOf(result), HasSubstr("--timeout"));
  }
}

// Every thread of the test blocks SIGINT, as the threads of a command do that has no others.
class SigintBlocked {
 public:
  SigintBlocked() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~SigintBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

TEST(Bench, ASignalEndsTheRunInOrder) {
  const SigintBlocked blocked;
  FakeServer server({});
  Options options = For(server, "randread");
  options.requests = 0;
  options.time_ns = 60 * kSecond;
  std::thread later([&] {
    while (server.Count(Command::kRead) < 100) std::this_thread::yield();
    kill(getpid(), SIGINT);
  });
  const Result result = Ran(options);
  later.join();
  EXPECT_TRUE(result.interrupted);
  EXPECT_TRUE(result.good());
  EXPECT_GE(result.tally.answered, 100u);
  EXPECT_EQ(result.tally.answered, server.Count(Command::kRead));
  EXPECT_LT(result.seconds, 30);
}

std::string Refusal(const FakeServer& server, const Options& options) {
  const auto result = Run(options);
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(server.Count(Command::kRead) + server.Count(Command::kWrite), 0u);
  return std::string(result.status().message());
}

TEST(Bench, WhatTheExportCannotIsRefusedBeforeTheFirstRequest) {
  FakeServer server({.flags = nbd::kHasFlags | nbd::kReadOnly,
                     .block_size = {.min = 4096, .preferred = 4096, .max_payload = 65536}});
  EXPECT_THAT(Refusal(server, For(server, "write")), HasSubstr("read-only"));
  Options read = For(server, "read");
  read.flush = true;
  EXPECT_THAT(Refusal(server, read), HasSubstr("--flush"));
  read = For(server, "read");
  read.block_size = 512;
  EXPECT_THAT(Refusal(server, read), HasSubstr("--block-size"));
  read.block_size = 128 * kKiB;
  EXPECT_THAT(Refusal(server, read), HasSubstr("65536"));
  read.block_size = 4096;
  read.offset = 1 << 20;
  EXPECT_THAT(Refusal(server, read), HasSubstr("not one block"));
  read.offset = 2 << 20;
  EXPECT_THAT(Refusal(server, read), HasSubstr("--offset"));
  read.offset = 0;
  read.connections = 257;
  EXPECT_THAT(Refusal(server, read), HasSubstr("for each connection"));

  FakeServer vast({.size = uint64_t{1} << 62});
  read = For(vast, "read");
  read.verify = true;
  EXPECT_THAT(Refusal(vast, read), HasSubstr("--verify"));

  FakeServer plain({.flags = nbd::kHasFlags});
  EXPECT_THAT(Refusal(plain, For(plain, "trim")), HasSubstr("no TRIM"));
  EXPECT_THAT(Refusal(plain, For(plain, "zero")), HasSubstr("no WRITE_ZEROES"));
  Options write = For(plain, "write");
  write.fua = true;
  EXPECT_THAT(Refusal(plain, write), HasSubstr("--fua"));
}

TEST(Bench, AServerThatHangsUpOrIsNotThereIsToldApart) {
  FakeServer server({.hangs_up_at_options = true});
  Options options = For(server, "read");
  options.structured = true;
  EXPECT_THAT(Refusal(server, options), HasSubstr("closed the connection"));
  options.uri.socket += "-not-there";
  EXPECT_THAT(Refusal(server, options), HasSubstr("is the server up?"));
}

}  // namespace
}  // namespace sluice::bench
