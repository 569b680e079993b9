// SPDX-License-Identifier: Apache-2.0
// One relayed connection, run by hand: the peer is a real TLS client on a thread of its own while
// it shakes hands, gRPC is the other end of a socket pair.
#include "server/grpc/relayed.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/units.h"
#include "server/grpc/relay.h"
#include "tests/server/grpc/frames.h"
#include "tests/server/grpc/test_authority.h"

namespace sluice::rpc {
namespace {

class RelayedTest : public testing::Test {
 protected:
  RelayedTest() {
    signal(SIGPIPE, SIG_IGN);
    authority_.Issue("vm7");
    std::vector<std::string> warnings;
    auto context = TlsContext::Load(authority_.files(), Relay::kProtocol, warnings);
    EXPECT_TRUE(context.ok()) << context.status();
    const auto [ours, theirs] = Pair();
    relayed_ = std::make_unique<Relayed>(OwnedFd(ours), *context, 64 * 1024);
    std::thread client(
        [this, fd = theirs] { client_ = std::make_unique<TlsClient>(fd, authority_, "vm7"); });
    while (relayed_->state() == Relayed::State::kShaking) Run();
    client.join();
    const auto [inner, grpc] = Pair();
    grpc_ = OwnedFd(grpc);
    relayed_->Open(OwnedFd(inner), *book_.EnterHolder("vm7", kSecond));
  }

  static std::pair<int, int> Pair() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return {ends[0], ends[1]};
  }
  bool Run() {
    relayed_->TellOuter(true, true);
    return relayed_->Run(kSecond);
  }
  // Bytes that have come to gRPC and not been taken yet.
  size_t Come() {
    std::string bytes(1 << 20, 0);
    const ssize_t got = recv(grpc_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    return got < 0 ? 0 : static_cast<size_t>(got);
  }

  TestAuthority authority_;
  GuestBook book_{8};
  std::unique_ptr<TlsClient> client_;
  OwnedFd grpc_;
  std::unique_ptr<Relayed> relayed_;
};

TEST_F(RelayedTest, WhoSendsMuchLetsOthersHaveTheirTurn) {
  std::thread sender([this] {
    client_->Send(Greeting());
    for (int i = 0; i < 64; ++i) client_->Send(FrameOf(kData, 0, 1, 16'000));
    client_->Send(FrameOf(kData, 0, 1, 1));
  });
  const size_t all = Greeting().size() + 64 * 16'009 + 10;
  size_t come = 0;
  while (come < all) {
    Run();
    const size_t now = Come();
    EXPECT_LE(now, 320 * kKiB);  // of one turn
    come += now;
  }
  sender.join();
  EXPECT_EQ(come, all);
}

// A record of one byte costs the relay as much as a large one.
TEST_F(RelayedTest, WhoSendsLittleAtATimeLetsOthersHaveTheirTurn) {
  client_->Send(Greeting() + FrameOf(kData, 0, 1, 16'000).substr(0, 9));
  EXPECT_FALSE(Run());
  Come();
  for (int i = 0; i < 150; ++i) client_->Send("x");  // as many as the socket holds, about
  EXPECT_TRUE(Run());
  const size_t come = Come();
  EXPECT_GE(come, 16u);
  EXPECT_LE(come, 100u);
  while (Run()) {
  }
  EXPECT_EQ(come + Come(), 150u);
}

}  // namespace
}  // namespace sluice::rpc
