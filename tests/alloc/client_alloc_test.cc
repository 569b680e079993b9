// SPDX-License-Identifier: Apache-2.0
// A run of `sluice bench` allocates for its start and its end, never for a request.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "client/bench/bench.h"
#include "core/units.h"
#include "tests/client/fake_server.h"
#include "tests/support/alloc_counter.h"

namespace sluice::bench {
namespace {

// A server in a process of its own: the counter sees the client alone.
class OtherProcess {
 public:
  OtherProcess() {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    child_ = fork();
    if (child_ == 0) {
      const FakeServer server({});
      const std::string uri = server.uri();
      static_cast<void>(write(ends[1], uri.data(), uri.size()) < 0);
      pause();
      _exit(0);
    }
    std::array<char, 256> text{};
    const ssize_t length = read(ends[0], text.data(), text.size());
    EXPECT_GT(length, 0);
    uri_.assign(text.data(), static_cast<size_t>(length));
    close(ends[0]);
    close(ends[1]);
  }
  ~OtherProcess() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    unlink(ParseNbdUri(uri_).value().socket.c_str());
  }

  const std::string& uri() const { return uri_; }

 private:
  pid_t child_ = -1;
  std::string uri_;
};

uint64_t AllocationsOf(const std::string& uri, const char* mode, bool verify, uint64_t requests) {
  Options options;
  options.uri = ParseNbdUri(uri).value();
  options.mode = *FindMode(mode);
  options.destroy = true;
  options.verify = verify;
  options.connections = 2;
  options.requests = requests;
  options.patience_ns = 5 * kSecond;
  const uint64_t before = AllocationsSoFar();
  const auto result = Run(options);
  const uint64_t after = AllocationsSoFar();
  EXPECT_TRUE(result.ok() && result->good());
  EXPECT_EQ(result->tally.answered, requests);
  return after - before;
}

TEST(ClientAllocations, TwentyTimesTheRequestsAllocateNoMore) {
  const OtherProcess server;
  for (const char* mode : {"write", "randread", "randrw", "zero"}) {
    for (const bool verify : {false, true}) {
      AllocationsOf(server.uri(), mode, verify, 500);  // leaves data to read, and its own caches
      EXPECT_EQ(AllocationsOf(server.uri(), mode, verify, 500),
                AllocationsOf(server.uri(), mode, verify, 10000))
          << mode << (verify ? " with --verify" : "");
    }
  }
}

}  // namespace
}  // namespace sluice::bench
