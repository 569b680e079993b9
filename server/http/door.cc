// SPDX-License-Identifier: Apache-2.0
#include "server/http/door.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/poller.h"
#include "core/units.h"

namespace sluice::http {
namespace {

constexpr uint64_t kHeadNs = 5 * kSecond;
constexpr uint64_t kAnswerNs = 10 * kSecond;
constexpr uint64_t kLingerNs = kSecond;  // for the peer to have read it before the reset
constexpr uint64_t kBackOffNs = 100 * kMillisecond;
constexpr uint64_t kWarnEveryNs = 10 * kSecond;
constexpr int kNice = 5;

uint64_t NowNs() {
  static SystemClock clock;
  return clock.NowNs();
}

bool WouldBlock() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

absl::StatusOr<std::unique_ptr<Door>> Door::Open(
    std::vector<std::unique_ptr<ListeningSocket>> sockets, Pages pages) {
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return absl::ErrnoToStatus(errno, "http: eventfd");
  for (const auto& socket : sockets) {
    // A connection may be gone between poll(2) and accept(2), which must not block then.
    const int flags = fcntl(socket->fd(), F_GETFL);
    if (fcntl(socket->fd(), F_SETFL, flags | O_NONBLOCK) != 0) {
      const auto status = absl::ErrnoToStatus(errno, "http: a listening socket");
      close(wake_fd);
      return status;
    }
  }
  return std::unique_ptr<Door>(new Door(std::move(sockets), std::move(pages), wake_fd));
}

Door::Door(std::vector<std::unique_ptr<ListeningSocket>> sockets, Pages pages, int wake_fd)
    : sockets_(std::move(sockets)), answerer_(std::move(pages)), wake_fd_(wake_fd) {
  thread_ = std::thread([this] { Run(); });
}

Door::~Door() {
  eventfd_write(wake_fd_, 1);
  thread_.join();
  for (const Connection& connection : connections_) close(connection.fd);
  close(wake_fd_);
}

std::vector<std::string> Door::Addresses() const {
  std::vector<std::string> texts;
  for (const auto& socket : sockets_) texts.push_back(socket->address().ToString());
  return texts;
}

void Door::RemoveFiles() {
  for (const auto& socket : sockets_) socket->RemoveFile();
}

void Door::Run() {
  pthread_setname_np(pthread_self(), "http");
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  std::vector<pollfd> polled;
  for (;;) {
    uint64_t now_ns = NowNs();
    polled.assign(1, {wake_fd_, POLLIN, 0});
    for (const auto& socket : sockets_) {
      polled.push_back({now_ns < back_off_ns_ ? -1 : socket->fd(), POLLIN, 0});
    }
    for (const Connection& connection : connections_) {
      const bool writes = connection.phase == Connection::Phase::kWriting;
      polled.push_back({connection.fd, static_cast<int16_t>(writes ? POLLOUT : POLLIN), 0});
    }
    poll(polled.data(), polled.size(), TimeoutMs(now_ns));
    if (polled[0].revents != 0) return;
    now_ns = NowNs();
    size_t at = 1 + sockets_.size();
    for (auto it = connections_.begin(); it != connections_.end(); ++at) {
      const bool alive =
          it->deadline_ns > now_ns && (polled[at].revents == 0 || Serve(*it, now_ns));
      if (!alive) close(it->fd);
      it = alive ? std::next(it) : connections_.erase(it);
    }
    for (size_t i = 0; i < sockets_.size(); ++i) {
      if (polled[1 + i].revents != 0) Accept(*sockets_[i], now_ns);
    }
  }
}

int Door::TimeoutMs(uint64_t now_ns) const {
  uint64_t next_ns = back_off_ns_ > now_ns ? back_off_ns_ : kForever;
  for (const Connection& connection : connections_) {
    next_ns = std::min(next_ns, connection.deadline_ns);
  }
  if (next_ns == kForever) return -1;
  return next_ns <= now_ns ? 0 : static_cast<int>((next_ns - now_ns) / kMillisecond + 1);
}

void Door::Accept(const ListeningSocket& socket, uint64_t now_ns) {
  const int fd = accept4(socket.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    if (WouldBlock() || errno == ECONNABORTED || errno == EPROTO) return;
    back_off_ns_ = now_ns + kBackOffNs;
    if (warned_ns_ != 0 && now_ns - warned_ns_ < kWarnEveryNs) return;
    warned_ns_ = now_ns;
    Log(LogLevel::kWarning,
        absl::StrCat("http: cannot accept: ", std::strerror(errno), "; trying again every 100 ms"));
    return;
  }
  if (connections_.size() == kConnections) {
    close(connections_.front().fd);
    connections_.pop_front();
  }
  Connection& connection = connections_.emplace_back();
  connection.fd = fd;
  connection.deadline_ns = now_ns + kHeadNs;
}

bool Door::Serve(Connection& connection, uint64_t now_ns) {
  switch (connection.phase) {
    case Connection::Phase::kReading:
      return Read(connection, now_ns);
    case Connection::Phase::kWriting:
      return Write(connection, now_ns);
    case Connection::Phase::kLingering:
      return Linger(connection);
  }
  return false;
}

bool Door::Read(Connection& connection, uint64_t now_ns) {
  std::array<char, kHeadMax> bytes;
  const size_t room = kHeadMax - connection.head.size();
  const ssize_t got = recv(connection.fd, bytes.data(), room, 0);
  if (got < 0) return WouldBlock();
  if (got == 0) return false;
  connection.head.append(bytes.data(), static_cast<size_t>(got));
  const bool whole = connection.head.find("\r\n\r\n") != std::string::npos;
  if (!whole && connection.head.size() < kHeadMax) return true;
  connection.answer = whole ? answerer_.Answer(connection.head)
                            : "HTTP/1.1 431 Request Header Fields Too Large\r\n"
                              "Connection: close\r\nContent-Length: 0\r\n\r\n";
  connection.phase = Connection::Phase::kWriting;
  connection.deadline_ns = now_ns + kAnswerNs;
  return Write(connection, now_ns);
}

bool Door::Write(Connection& connection, uint64_t now_ns) {
  while (connection.sent < connection.answer.size()) {
    const ssize_t sent = send(connection.fd, connection.answer.data() + connection.sent,
                              connection.answer.size() - connection.sent, MSG_NOSIGNAL);
    if (sent < 0) return WouldBlock();
    connection.sent += static_cast<size_t>(sent);
  }
  std::string().swap(connection.answer);
  connection.sent = 0;
  shutdown(connection.fd, SHUT_WR);
  connection.phase = Connection::Phase::kLingering;
  connection.deadline_ns = now_ns + kLingerNs;
  return true;
}

bool Door::Linger(Connection& connection) {
  std::array<char, kHeadMax> refuse;
  const ssize_t got = recv(connection.fd, refuse.data(), refuse.size(), 0);
  return got > 0 || (got < 0 && WouldBlock());
}

}  // namespace sluice::http
