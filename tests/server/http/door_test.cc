// SPDX-License-Identifier: Apache-2.0
#include "server/http/door.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/units.h"
#include "server/socket.h"

namespace sluice::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGet[] = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n";

class Client {
 public:
  explicit Client(const Address& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(address.port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Send(const std::string& text) {
    EXPECT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // All until the server closes, or "timeout".
  std::string ReadAll(int seconds = 10) {
    std::string all;
    std::vector<char> bytes(65536);
    for (;;) {
      pollfd polled{fd_, POLLIN, 0};
      if (poll(&polled, 1, seconds * 1000) == 0) return "timeout";
      const ssize_t got = recv(fd_, bytes.data(), bytes.size(), 0);
      if (got <= 0) return all;
      all.append(bytes.data(), static_cast<size_t>(got));
    }
  }
  std::string Get() {
    Send(kGet);
    return ReadAll();
  }

 private:
  int fd_;
};

class HttpDoorTest : public testing::Test {
 protected:
  HttpDoorTest() {
    auto sockets = *Listen(*ParseAddress("127.0.0.1:0"), {});
    address_ = sockets.front()->address();
    Pages pages;
    pages.emplace("/page", [this] { return Page{200, std::string(page_bytes_.load(), 'x')}; });
    door_ = *Door::Open(std::move(sockets), std::move(pages));
  }

  std::atomic<size_t> page_bytes_{3};
  Address address_;
  std::unique_ptr<Door> door_;
};

TEST_F(HttpDoorTest, AnswersAndTellsItsRealPort) {
  EXPECT_EQ(door_->Addresses(), std::vector<std::string>{address_.ToString()});
  EXPECT_NE(address_.port, 0);
  EXPECT_THAT(Client(address_).Get(), EndsWith("\r\n\r\nxxx"));
}

TEST_F(HttpDoorTest, AHeadMayComeInPieces) {
  Client client(address_);
  for (const char* piece = kGet; *piece != '\0'; ++piece) client.Send(std::string(1, *piece));
  EXPECT_THAT(client.ReadAll(), EndsWith("xxx"));
}

TEST_F(HttpDoorTest, ALongPageReachesAReaderInItsOwnTime) {
  page_bytes_ = 32 * kMiB;
  Client slow(address_);
  slow.Send(kGet);
  page_bytes_ = 3;
  EXPECT_THAT(Client(address_).Get(), EndsWith("xxx"));  // meanwhile others are served
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_GT(slow.ReadAll().size(), 3u);
}

TEST_F(HttpDoorTest, TheSlowKeepNobodyOut) {
  std::vector<std::unique_ptr<Client>> slow;
  for (size_t i = 0; i < 5 * Door::kConnections; ++i) {
    slow.push_back(std::make_unique<Client>(address_));
    slow.back()->Send("GET /pa");
  }
  EXPECT_THAT(Client(address_).Get(), EndsWith("xxx"));
  EXPECT_EQ(slow.front()->ReadAll(), "");  // it made room
}

TEST_F(HttpDoorTest, AHeadThatDoesNotEndIsRefused) {
  Client client(address_);
  client.Send(std::string(kHeadMax, 'A'));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpDoorTest, WhoStallsIsCutOff) {
  Client client(address_);
  client.Send("GET ");
  EXPECT_EQ(client.ReadAll(9), "");
}

// Every descriptor is taken for a while: what is inside is answered, and the door takes in again
// what waited.
TEST_F(HttpDoorTest, SurvivesALackOfDescriptors) {
  Client inside(address_);
  inside.Send("GET /page");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  Client waiting(address_);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  auto late = std::make_unique<Client>(address_);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest_free = dup(0);
  close(lowest_free);
  auto starved = std::make_unique<Client>(address_);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest_free);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  inside.Send(" HTTP/1.1\r\n\r\n");
  EXPECT_THAT(inside.ReadAll(), EndsWith("xxx"));
  std::this_thread::sleep_for(std::chrono::milliseconds(250));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(waiting.Get(), EndsWith("xxx"));
  EXPECT_THAT(late->Get(), EndsWith("xxx"));
  EXPECT_THAT(starved->Get(), EndsWith("xxx"));
}

TEST_F(HttpDoorTest, EndsWhoeverIsInside) {
  Client idle(address_);
  Client half(address_);
  half.Send("GET /page HTTP");
  EXPECT_THAT(Client(address_).Get(), HasSubstr("200"));
  door_.reset();
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_EQ(half.ReadAll(), "");
}

}  // namespace
}  // namespace sluice::http
