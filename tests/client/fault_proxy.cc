// SPDX-License-Identifier: Apache-2.0
#include "tests/client/fault_proxy.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace sluice {
namespace {

std::string ProxyPath() {
  static std::atomic<int> number = 0;
  return ::testing::TempDir() + "sluice-proxy-" + std::to_string(getpid()) + "-" +
         std::to_string(number++);
}

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

bool SendAll(int fd, const char* bytes, size_t count) {
  return send(fd, bytes, count, MSG_NOSIGNAL) == static_cast<ssize_t>(count);
}

}  // namespace

FaultProxy::FaultProxy(std::string server_path)
    : server_path_(std::move(server_path)), path_(ProxyPath()) {
  const sockaddr_un address = AddressOf(path_);
  listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(listen(listener_, 16), 0);
  accepting_ = std::thread([this] { Accept(); });
}

FaultProxy::~FaultProxy() {
  ending_ = true;
  hold_ = false;
  shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  Reset();
  for (std::thread& relay : relays_) relay.join();
  for (const int fd : fds_) close(fd);
  close(listener_);
  unlink(path_.c_str());
}

void FaultProxy::Reset() {
  const std::lock_guard lock(mutex_);
  for (const int fd : fds_) shutdown(fd, SHUT_RDWR);
}

void FaultProxy::Accept() {
  for (int client; (client = accept(listener_, nullptr, nullptr)) >= 0;) {
    if (refuse_) {
      close(client);
      continue;
    }
    const int server = socket(AF_UNIX, SOCK_STREAM, 0);
    const sockaddr_un address = AddressOf(server_path_);
    if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      close(server);  // it is down: so is the way to it
      close(client);
      continue;
    }
    ++accepted_;
    const std::lock_guard lock(mutex_);
    fds_.push_back(client);
    fds_.push_back(server);
    relays_.emplace_back([this, client, server] { Relay(client, server); });
  }
}

void FaultProxy::Relay(int client, int server) {
  bool open = true;
  while (open && !ending_) {
    pollfd ready[] = {{.fd = client, .events = POLLIN, .revents = 0},
                      {.fd = server, .events = POLLIN, .revents = 0}};
    if (hold_) ready[1].events = 0;
    poll(ready, 2, 20);
    if (ready[0].revents != 0) open = PassRequests(client, server);
    if (open && ready[1].revents != 0 && !hold_) open = PassReplies(server, client);
  }
  shutdown(client, SHUT_RDWR);
  shutdown(server, SHUT_RDWR);
}

bool FaultProxy::PassRequests(int client, int server) {
  char bytes[65536];
  const ssize_t got = recv(client, bytes, sizeof(bytes), 0);
  if (got <= 0) return false;
  const int64_t left = requests_left_;
  const auto count = std::min<int64_t>(got, left);
  if (!SendAll(server, bytes, static_cast<size_t>(count))) return false;
  if (left == INT64_MAX) return true;
  requests_left_ = count < left ? left - count : INT64_MAX;
  return count < left;
}

bool FaultProxy::PassReplies(int server, int client) {
  char bytes[65536];
  const ssize_t got = recv(server, bytes, sizeof(bytes), 0);
  if (got <= 0) return false;
  if (delay_ms_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms_));
  // Asked before anything is passed on: what the client does next is for later bytes.
  const bool twice = duplicate_.exchange(false);
  const int64_t left = replies_left_;
  const auto count = std::min<int64_t>(got, left);
  if (!SendAll(client, bytes, static_cast<size_t>(count))) return false;
  if (twice && !SendAll(client, bytes, static_cast<size_t>(count))) {
    return false;
  }
  if (left == INT64_MAX) return true;
  replies_left_ = count < left ? left - count : INT64_MAX;
  return count < left;
}

}  // namespace sluice
