// SPDX-License-Identifier: Apache-2.0
// The relay with its thread, real TLS clients, and, in gRPC's place, whoever sends back what came.
// What the thread sanitizer should see.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/units.h"
#include "server/grpc/relay.h"
#include "tests/server/grpc/frames.h"
#include "tests/server/grpc/test_authority.h"

namespace sluice::rpc {
namespace {

class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    signal(SIGPIPE, SIG_IGN);
    authority_.Issue("vm7");
    authority_.Issue("ops");
    Start(60 * kSecond);
  }
  ~RelayTest() override { Stop(); }

  void Start(uint64_t handshake_ns) {
    RelayOptions options;
    options.files = authority_.files();
    options.admins = {"ops"};
    options.frame_max = 64 * 1024;
    options.handshake_timeout_ns = handshake_ns;
    std::vector<std::string> warnings;
    auto context = TlsContext::Load(options.files, Relay::kProtocol, warnings);
    EXPECT_TRUE(context.ok()) << context.status();
    relay_ = std::make_unique<Relay>(clock_, options, *context, callers_,
                                     [this](int fd) { Deliver(fd); });
    EXPECT_TRUE(relay_->Start().ok());
  }
  void Stop() {
    relay_->Drain();
    relay_->Stop();
    for (std::thread& echo : echoes_) echo.join();
    echoes_.clear();
  }

  // On the relay's thread.
  void Deliver(int fd) {
    const Caller caller = callers_.Find(PeerOf(fd));
    if (caller.identity.name == "ops") admins_ += caller.identity.admin ? 1 : 0;
    if (caller.identity.name == "vm7") others_ += caller.identity.admin ? 0 : 1;
    last_ = fd;
    echoes_.emplace_back([fd] {
      const int flags = fcntl(fd, F_GETFL);
      fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
      char buffer[4096];
      for (ssize_t got = 0; (got = read(fd, buffer, sizeof(buffer))) > 0;) {
        for (ssize_t sent = 0; sent < got;) {
          const ssize_t now = send(fd, buffer + sent, static_cast<size_t>(got - sent), 0);
          if (now <= 0) break;
          sent += now;
        }
      }
      close(fd);
    });
  }
  // As gRPC names the other end.
  static std::string PeerOf(int fd) {
    sockaddr_un name{};
    socklen_t length = sizeof(name);
    EXPECT_EQ(getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length), 0);
    const size_t size = length - offsetof(sockaddr_un, sun_path) - 1;
    return "unix-abstract:" + std::string(name.sun_path + 1, size);
  }

  int Connect() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    relay_->Enter(ends[0], Peer{"test", 1}, turnstile_.Enter());
    return ends[1];
  }
  std::unique_ptr<TlsClient> Connect(const std::string& name) {
    return std::make_unique<TlsClient>(Connect(), authority_, name);
  }
  bool Becomes(const std::function<bool()>& condition, int seconds = 5) {
    for (int i = 0; i < 100 * seconds && !condition(); ++i) usleep(10'000);
    return condition();
  }

  SystemClock clock_;
  TestAuthority authority_;
  Callers callers_;
  Turnstile turnstile_{1000};
  std::atomic<int> admins_{0}, others_{0};
  std::atomic<int> last_{-1};        // delivered
  std::vector<std::thread> echoes_;  // the relay's thread's, until it has stopped
  std::unique_ptr<Relay> relay_;
};

// Frames of all sizes up to 64 KiB, and the answer that an echo gives to them.
std::string Talk(int frames) {
  std::string talk;
  for (int i = 0; i < frames; ++i) {
    talk += FrameOf(kData, 0, 1, static_cast<size_t>(1 + i * 7919 % 65'536));
  }
  return talk;
}

TEST_F(RelayTest, BytesPassBothWaysWholeAndInOrder) {
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([this, &good] {
      const auto client = Connect("vm7");
      const std::string talk = Greeting() + Talk(100);
      // In parts that fit into the buffers on the way, cut anywhere.
      for (size_t at = 0, part = 1; at < talk.size(); at += part, part = part * 3 % 60'000 + 1) {
        const std::string sent = talk.substr(at, part);
        if (!client->Send(sent) || client->Receive(sent.size()) != sent) return;
      }
      ++good;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good.load(), 4);
  EXPECT_EQ(relay_->counts().let_in.value(), 4u);
}

TEST_F(RelayTest, ItIsKnownWhoCalls) {
  const auto one = Connect("vm7");
  const auto other = Connect("ops");
  EXPECT_TRUE(Becomes([&] { return others_ == 1 && admins_ == 1; }));
}

TEST_F(RelayTest, AStrangerIsNeverDelivered) {
  const auto stranger = Connect("");
  stranger->Send(Greeting());
  EXPECT_EQ(stranger->Receive(1), "");
  const int plain = Connect();
  const std::string greeting = Greeting();
  EXPECT_EQ(send(plain, greeting.data(), greeting.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(greeting.size()));
  EXPECT_TRUE(Becomes([&] { return relay_->counts().strangers.value() == 2; }));
  close(plain);
  EXPECT_EQ(relay_->counts().let_in.value(), 0u);
  EXPECT_TRUE(Becomes([&] { return turnstile_.inside() == 0; }));
}

TEST_F(RelayTest, ASilentHandshakeIsCut) {
  Stop();
  Start(kSecond / 2);
  const int silent = Connect();
  char byte = 0;
  EXPECT_LE(recv(silent, &byte, 1, 0), 0);
  close(silent);
  EXPECT_TRUE(Becomes([&] { return relay_->counts().strangers.value() == 1; }));
}

TEST_F(RelayTest, AnOffenderIsToldClosedAndKeptOut) {
  const auto offender = Connect("vm7");
  std::string flood = Greeting();
  for (int i = 0; i < 300; ++i) flood += FrameOf(kPing, 0, 0, 8);
  EXPECT_TRUE(offender->Send(flood));
  const std::string last = offender->Receive(1 << 20);
  EXPECT_NE(last.find("floods with PING"), std::string::npos);
  EXPECT_TRUE(Becomes([&] { return relay_->counts().offenders.value() == 1; }));
  const auto again = Connect("vm7");
  EXPECT_EQ(again->Receive(1), "");
  EXPECT_EQ(relay_->counts().kept_out.value(), 1u);
  const auto good = Connect("ops");
  EXPECT_TRUE(good->Send(Greeting()));
  EXPECT_EQ(good->Receive(Greeting().size()), Greeting());
}

TEST_F(RelayTest, WhoFloodsWithNewKeysIsCut) {
  const auto offender = Connect("vm7");
  const auto good = Connect("ops");
  ASSERT_TRUE(offender->shaken());
  offender->UpdateKeys(1000);
  EXPECT_TRUE(Becomes([&] { return turnstile_.inside() == 1; }));
  EXPECT_TRUE(good->Send(Greeting()));
  EXPECT_EQ(good->Receive(Greeting().size()), Greeting());
}

TEST_F(RelayTest, NewKeysBetweenDataAreNoOffence) {
  const auto client = Connect("vm7");
  EXPECT_TRUE(client->Send(Greeting()));
  EXPECT_EQ(client->Receive(Greeting().size()), Greeting());
  const std::string frame = FrameOf(kData, 0, 1, 100);
  for (int i = 0; i < 50; ++i) {
    client->UpdateKeys(2);
    ASSERT_TRUE(client->Send(frame));
    ASSERT_EQ(client->Receive(frame.size()), frame);
  }
}

TEST_F(RelayTest, WhoDoesNotReadIsNotReadFor) {
  const auto client = Connect("vm7");
  const std::string talk = Greeting() + Talk(500);  // 16 MiB, many times what all buffers hold
  std::atomic<bool> sent{false};
  std::thread sender([&] {
    client->Send(talk);
    sent = true;
  });
  usleep(300'000);
  EXPECT_FALSE(sent.load());
  Stop();
  sender.join();
  EXPECT_EQ(turnstile_.inside(), 0u);
  Start(60 * kSecond);
}

TEST_F(RelayTest, WhoDoesNotTakeTheLastAnswerIsLetGoOf) {
  const std::string talk = Greeting() + Talk(500);
  const auto client = Connect("vm7");
  std::thread sender([&] { client->Send(talk); });
  usleep(1'000'000);
  shutdown(last_, SHUT_RDWR);
  EXPECT_FALSE(Becomes([&] { return turnstile_.inside() == 0; }, 1));
  EXPECT_TRUE(Becomes([&] { return turnstile_.inside() == 0; }, 10));
  sender.join();
}

TEST_F(RelayTest, ReloadingAndComingAndGoingDisturbNobody) {
  const auto steady = Connect("ops");
  EXPECT_TRUE(steady->Send(Greeting()));
  EXPECT_EQ(steady->Receive(Greeting().size()), Greeting());
  std::thread reloader([this] {
    for (int i = 0; i < 20; ++i) relay_->Reload();
  });
  for (int i = 0; i < 20; ++i) {
    const auto client = Connect("vm7");
    EXPECT_TRUE(client->shaken());
    const std::string frame = FrameOf(kData, 0, 1, 100);
    EXPECT_TRUE(steady->Send(frame));
    EXPECT_EQ(steady->Receive(frame.size()), frame);
  }
  reloader.join();
}

}  // namespace
}  // namespace sluice::rpc
