// SPDX-License-Identifier: Apache-2.0
// Sockets, the accept loop and the plain transport, against the kernel.
#include "server/listener.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/ring.h"
#include "core/units.h"
#include "server/nbd/transport.h"

namespace sluice {
namespace {

Address At(const std::string& text) { return *ParseAddress(text); }

std::string FreshPath() {
  static int count = 0;
  return absl::StrCat(testing::TempDir(), "/sluice_", getpid(), "_", ++count, ".sock");
}

// A client's socket, connected or -1.
int ConnectTo(const Address& address) {
  if (address.kind == Address::Kind::kUnix) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    address.path.copy(name.sun_path, sizeof(name.sun_path) - 1);
    if (connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0) return fd;
    close(fd);
    return -1;
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(address.port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0) return fd;
  close(fd);
  return -1;
}

class RingTest : public testing::Test {
 protected:
  // Turns the reactor until `done`, for 5 s at most.
  bool Until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      reactor().Turn();
    }
    return true;
  }
  void TurnFor(int milliseconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
    while (std::chrono::steady_clock::now() < end) reactor().Turn();
  }
  Reactor& reactor() { return reactors_.at(0); }

  SystemClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(*RingPoller::Create());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{64, kMiB, 0}};
};

class ListenerTest : public RingTest {
 protected:
  ~ListenerTest() override {
    Stop();
    for (const int fd : clients_) close(fd);
    Clear();
  }

  const Address& Start(const Address& address, uint32_t limit = 8) {
    auto sockets = Listen(address, {});
    EXPECT_TRUE(sockets.ok()) << sockets.status();
    turnstile_ = std::make_unique<Turnstile>(limit, [this] { listener_->Resume(); });
    listener_ = std::make_unique<Listener>(reactor(), std::move(sockets->at(0)), *turnstile_,
                                           stats_, [this](int fd, Turnstile::Ticket ticket) {
                                             entered_.push_back({fd, std::move(ticket)});
                                           });
    reactor().Post([this] { listener_->Start(); });
    return listener_->address();
  }
  void Stop() {
    if (listener_ == nullptr) return;
    bool stopped = false;
    reactor().Post([&] { listener_->Stop([&] { stopped = true; }); });
    EXPECT_TRUE(Until([&] { return stopped; }));
    listener_.reset();
  }
  void Clear() {
    for (Entered& entered : entered_) close(entered.fd);
    entered_.clear();
  }
  void Connect(const Address& address) {
    clients_.push_back(ConnectTo(address));
    ASSERT_GE(clients_.back(), 0);
  }

  struct Entered {
    int fd;
    Turnstile::Ticket ticket;
  };
  std::unique_ptr<Turnstile> turnstile_;
  ListenerStats stats_;
  std::unique_ptr<Listener> listener_;
  std::vector<Entered> entered_;
  std::vector<int> clients_;
};

TEST_F(ListenerTest, AcceptsOverTcpAndTellsTheRealPort) {
  const Address address = Start(At("127.0.0.1:0"));
  EXPECT_NE(address.port, 0);
  Connect(address);
  Connect(address);
  ASSERT_TRUE(Until([&] { return entered_.size() == 2; }));
  const int fd = entered_[0].fd;
  EXPECT_EQ(DescribePeer(fd).text.substr(0, 10), "127.0.0.1:");
  EXPECT_EQ(DescribePeer(fd).hash, DescribePeer(entered_[1].fd).hash);
  TuneConnection(fd);
  int value = 0;
  socklen_t size = sizeof(value);
  getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size);
  EXPECT_NE(value, 0);
  getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &size);
  EXPECT_NE(value, 0);
  getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size);
  EXPECT_EQ(value, 30000);
}

TEST_F(ListenerTest, AUnixSocketHasItsModeAndGoesWithItsListener) {
  const std::string path = FreshPath();
  const Address address = Start(At("unix:" + path));
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  Connect(address);
  ASSERT_TRUE(Until([&] { return entered_.size() == 1; }));
  EXPECT_EQ(DescribePeer(entered_[0].fd).text,
            absl::StrCat("unix uid ", geteuid(), " pid ", getpid()));
  Stop();
  EXPECT_NE(stat(path.c_str(), &info), 0);
  EXPECT_EQ(ConnectTo(address), -1);
}

TEST_F(ListenerTest, WhoFindsTheTurnstileFullWaits) {
  const Address address = Start(At("127.0.0.1:0"), 2);
  for (int i = 0; i < 4; ++i) Connect(address);
  ASSERT_TRUE(Until([&] { return entered_.size() == 2; }));
  TurnFor(50);
  EXPECT_EQ(entered_.size(), 2u);
  EXPECT_EQ(turnstile_->inside(), 2u);
  reactor().Post([&] { entered_[0].ticket = Turnstile::Ticket(); });
  ASSERT_TRUE(Until([&] { return entered_.size() == 3; }));
  reactor().Post([&] { entered_[1].ticket = Turnstile::Ticket(); });
  ASSERT_TRUE(Until([&] { return entered_.size() == 4; }));
  EXPECT_EQ(turnstile_->inside(), 2u);
  EXPECT_EQ(stats_.accepted.value(), 4u);
  EXPECT_EQ(stats_.delayed.value(), 2u);
}

// CVE-2023-4785's kind: no descriptor left must not end the listening for good.
TEST_F(ListenerTest, SurvivesALackOfDescriptors) {
  const Address address = Start(At("127.0.0.1:0"));
  Connect(address);
  ASSERT_TRUE(Until([&] { return entered_.size() == 1; }));
  const int next = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int spare = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest_free = dup(0);
  close(lowest_free);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest_free);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(address.port);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // The accept that is under way was prepared under the old limit; the one after it fails.
  EXPECT_EQ(connect(next, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  ASSERT_TRUE(Until([&] { return entered_.size() == 2; }));
  EXPECT_EQ(connect(spare, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  TurnFor(250);
  EXPECT_EQ(entered_.size(), 2u);
  EXPECT_GE(stats_.errors.value(), 1u);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(Until([&] { return entered_.size() == 3; }));
  close(next);
  close(spare);
}

TEST(Listen, ReplacesAStaleSocketOnly) {
  const Address address = At("unix:" + FreshPath());
  {
    // What a killed server leaves behind.
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    address.path.copy(name.sun_path, sizeof(name.sun_path) - 1);
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    close(fd);
  }
  const auto first = Listen(address, {});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Listen(address, {});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr("in use"));
  const int client = ConnectTo(address);
  EXPECT_GE(client, 0);  // the failed attempt did the living one no harm
  close(client);
}

TEST(Listen, WaitsForAPredecessorThatIsDying) {
  for (const std::string& text : {std::string("127.0.0.1:0"), "unix:" + FreshPath()}) {
    auto dying = Listen(At(text), {});
    ASSERT_TRUE(dying.ok()) << dying.status();
    const Address address = dying->front()->address();
    std::thread death([&dying] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      dying->clear();
    });
    const auto successor = Listen(address, {});
    EXPECT_TRUE(successor.ok()) << successor.status();
    death.join();
  }
}

TEST(Listen, NeverRemovesAFileThatIsNoSocket) {
  const std::string path = FreshPath();
  std::ofstream(path) << "precious";
  EXPECT_FALSE(Listen(At("unix:" + path), {}).ok());
  std::string word;
  std::ifstream(path) >> word;
  EXPECT_EQ(word, "precious");
  unlink(path.c_str());
}

TEST(Listen, LeavesAnothersSocketAtItsPathAlone) {
  const Address address = At("unix:" + FreshPath());
  auto first = Listen(address, {});
  ASSERT_TRUE(first.ok());
  unlink(address.path.c_str());
  auto second = Listen(address, {});
  ASSERT_TRUE(second.ok());
  first->clear();
  const int client = ConnectTo(address);
  EXPECT_GE(client, 0);
  close(client);
}

TEST(Listen, ErrorsNameAddressAndCure) {
  const auto beyond = Listen(At("0.0.0.0:0"), {});
  EXPECT_THAT(std::string(beyond.status().message()), testing::HasSubstr("insecure_tcp"));
  ListenOptions options;
  options.beyond_loopback = true;
  EXPECT_TRUE(Listen(At("0.0.0.0:0"), options).ok());
  const auto first = Listen(At("127.0.0.1:0"), {});
  ASSERT_TRUE(first.ok());
  const auto taken = Listen(first->at(0)->address(), {});
  EXPECT_THAT(std::string(taken.status().message()),
              testing::HasSubstr(first->at(0)->address().ToString()));
  EXPECT_FALSE(Listen(At("unix:/nonexistent/folder/x"), {}).ok());
  options.socket_owner = "no-such-user:";
  const auto owner = Listen(At("unix:" + FreshPath()), options);
  EXPECT_THAT(std::string(owner.status().message()), testing::HasSubstr("no-such-user"));
}

TEST(Turnstile, LetsInAsManyAsItsLimitAndTellsOfRoom) {
  int room = 0;
  Turnstile turnstile(2, [&room] { ++room; });
  Turnstile::Ticket first = turnstile.Enter();
  {
    const Turnstile::Ticket second = turnstile.Enter();
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(turnstile.Enter());
    EXPECT_EQ(room, 0);
  }
  EXPECT_EQ(room, 1);
  Turnstile::Ticket moved = std::move(first);
  EXPECT_EQ(turnstile.inside(), 1u);
  moved = Turnstile::Ticket();
  EXPECT_EQ(turnstile.inside(), 0u);
  EXPECT_EQ(room, 1);  // nobody had been turned away since
}

class PlainTransportTest : public RingTest, protected Transport::User {
 protected:
  PlainTransportTest() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_), 0);
    transport_ = std::make_unique<PlainTransport>(ends_[0]);
    OnReactor([&] { transport_->Attach(reactor(), *this); });
  }
  ~PlainTransportTest() override {
    OnReactor([&] { transport_->Abort(); });
    EXPECT_TRUE(Until([&] { return transport_->idle(); }));
    transport_.reset();
    close(ends_[1]);
  }
  void OnReactor(std::function<void()> work) {
    bool done = false;
    reactor().Post([&] {
      work();
      done = true;
    });
    ASSERT_TRUE(Until([&] { return done; }));
  }
  void Receive() {
    OnReactor([&] { transport_->Receive(&into_, 1); });
  }
  void OnReceived(int result) noexcept override { received_.push_back(result); }
  void OnWritable() noexcept override { ++writable_; }

  int ends_[2] = {-1, -1};
  std::unique_ptr<PlainTransport> transport_;
  char buffer_[64] = {};
  iovec into_{buffer_, sizeof(buffer_)};
  std::vector<int> received_;
  int writable_ = 0;
};

TEST_F(PlainTransportTest, ReceivesWhatComesAndTheEnd) {
  Receive();
  EXPECT_FALSE(transport_->idle());
  ASSERT_EQ(write(ends_[1], "hello", 5), 5);
  ASSERT_TRUE(Until([&] { return received_.size() == 1; }));
  EXPECT_EQ(received_[0], 5);
  EXPECT_EQ(std::string(buffer_, 5), "hello");
  Receive();
  EXPECT_FALSE(transport_->PeerClosed());
  shutdown(ends_[1], SHUT_WR);
  EXPECT_TRUE(transport_->PeerClosed());
  ASSERT_TRUE(Until([&] { return received_.size() == 2; }));
  EXPECT_EQ(received_[1], 0);
}

TEST_F(PlainTransportTest, ACancelledReceiveEndsAndTakesNothing) {
  Receive();
  TurnFor(5);
  EXPECT_TRUE(received_.empty());
  OnReactor([&] { transport_->CancelReceive(); });
  ASSERT_TRUE(Until([&] { return received_.size() == 1; }));
  EXPECT_EQ(received_[0], -ECANCELED);
  ASSERT_EQ(write(ends_[1], "later", 5), 5);
  Receive();
  ASSERT_TRUE(Until([&] { return received_.size() == 2; }));
  EXPECT_EQ(received_[1], 5);
}

TEST_F(PlainTransportTest, SendsWhatGoesAndTellsWhenMoreDoes) {
  std::vector<char> block(1 << 20, 'x');
  const iovec from{block.data(), block.size()};
  int sent = transport_->Send(&from, 1);
  ASSERT_GT(sent, 0);
  for (int i = 0; i < 64 && sent > 0; ++i) sent = transport_->Send(&from, 1);
  EXPECT_EQ(sent, -EAGAIN);
  OnReactor([&] { transport_->AwaitWritable(); });
  TurnFor(5);
  EXPECT_EQ(writable_, 0);
  fcntl(ends_[1], F_SETFL, O_NONBLOCK);
  while (read(ends_[1], block.data(), block.size()) > 0) {
  }
  ASSERT_TRUE(Until([&] { return writable_ == 1; }));
  EXPECT_GT(transport_->Send(&from, 1), 0);
}

TEST_F(PlainTransportTest, AbortEndsEveryWait) {
  Receive();
  OnReactor([&] { transport_->Abort(); });
  ASSERT_TRUE(Until([&] { return received_.size() == 1; }));
  EXPECT_LE(received_[0], 0);
  char byte = 0;
  EXPECT_EQ(read(ends_[1], &byte, 1), 0);
  const iovec from{&byte, 1};
  EXPECT_EQ(transport_->Send(&from, 1), -EPIPE);
}

}  // namespace
}  // namespace sluice
