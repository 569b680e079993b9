// SPDX-License-Identifier: Apache-2.0
// limit_wire [--poll US] [--size BYTES] ADDRESS: a null NBD server of one thread, the most that a
// server with this wire and these system calls can do. ADDRESS is unix:PATH or HOST:PORT. It prints
// "ready nbd=ADDRESS" and serves until it is killed.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "client/bench/time.h"
#include "core/check.h"
#include "core/size.h"
#include "proto/nbd_handshake.h"
#include "server/address.h"
#include "server/socket.h"
#include "tests/bench/limits/null_responder.h"

namespace sluice::bench {
namespace {

constexpr int kHandshakeSeconds = 2;
constexpr uint32_t kMaxOptionBytes = 16 << 10;

std::string socket_file;  // of a unix socket: a signal ends the process, its file goes too

bool ReceiveAll(int fd, ByteSpan room) {
  return recv(fd, room.data(), room.size(), MSG_WAITALL) == static_cast<ssize_t>(room.size());
}

bool SendAll(int fd, ConstByteSpan bytes) {
  return send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

bool Reply(int fd, nbd::Option option, nbd::OptionReply type, ConstByteSpan data) {
  const auto header = nbd::EncodeOptionReplyHeader(
      {.option = option, .type = type, .length = static_cast<uint32_t>(data.size())});
  return SendAll(fd, header) && SendAll(fd, data);
}

// Blocking, and of the handshake only what leads to GO. Any export name will do.
bool Handshake(int fd, uint64_t size) {
  const timeval patience{.tv_sec = kHandshakeSeconds, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  std::array<uint8_t, nbd::kClientFlagsBytes> flags;
  if (!SendAll(fd, nbd::EncodeGreeting(nbd::kFixedNewstyle | nbd::kNoZeroes))) return false;
  if (!ReceiveAll(fd, flags)) return false;
  while (true) {
    std::array<uint8_t, nbd::kOptionHeaderBytes> bytes;
    if (!ReceiveAll(fd, bytes)) return false;
    const auto header = nbd::DecodeOptionHeader(bytes);
    if (!header || header->length > kMaxOptionBytes) return false;
    std::vector<uint8_t> data(header->length);
    if (!ReceiveAll(fd, data)) return false;
    if (header->option != nbd::Option::kGo) {
      if (!Reply(fd, header->option, nbd::OptionReply::kErrUnsup, {})) return false;
      continue;
    }
    constexpr uint16_t kFlags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kSendTrim |
                                nbd::kSendWriteZeroes | nbd::kCanMultiConn;
    return Reply(fd, header->option, nbd::OptionReply::kInfo,
                 nbd::EncodeInfoExport({.size = size, .flags = kFlags})) &&
           Reply(fd, header->option, nbd::OptionReply::kInfo, nbd::EncodeInfoBlockSize({})) &&
           Reply(fd, header->option, nbd::OptionReply::kAck, {});
  }
}

class LimitWire {
 public:
  LimitWire(std::vector<std::unique_ptr<ListeningSocket>> listeners, uint64_t size,
            uint64_t poll_ns)
      : listeners_(std::move(listeners)), size_(size), poll_ns_(poll_ns) {
    for (const auto& listener : listeners_) {
      Watch(EPOLL_CTL_ADD, listener->fd(), EPOLLIN, listener.get());
    }
  }

  [[noreturn]] void Run() {
    while (true) {
      if (poll_ns_ > 0 && PollOnce()) continue;
      std::array<epoll_event, 64> events;
      const int count = epoll_wait(epoll_, events.data(), events.size(), -1);
      for (int i = 0; i < count; ++i) {
        void* const who = events[static_cast<size_t>(i)].data.ptr;
        const bool arrival = std::any_of(listeners_.begin(), listeners_.end(),
                                         [&](const auto& one) { return one.get() == who; });
        if (arrival) {
          Accept(static_cast<ListeningSocket*>(who)->fd());
        } else {
          ServeOne(*static_cast<NullResponder*>(who));
        }
      }
      Bury();
    }
  }

 private:
  void Watch(int operation, int fd, uint32_t events, void* who) const {
    epoll_event event{};
    event.events = events;
    event.data.ptr = who;
    SLUICE_CHECK(epoll_ctl(epoll_, operation, fd, &event) == 0);
  }

  void Accept(int listener) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    TuneConnection(fd);
    if (!Handshake(fd, size_)) {
      close(fd);
      return;
    }
    connections_.emplace_back(fd);
    Watch(EPOLL_CTL_ADD, fd, EPOLLIN, &connections_.back());
  }

  bool ServeOne(NullResponder& connection) {
    const bool waited = connection.unsent();
    const NullResponder::Turn turn = connection.Serve();
    if (turn == NullResponder::Turn::kClosed) {
      closed_.push_back(&connection);
    } else if (connection.unsent() != waited) {
      Watch(EPOLL_CTL_MOD, connection.fd(), connection.unsent() ? EPOLLOUT : EPOLLIN, &connection);
    }
    return turn != NullResponder::Turn::kNothing;
  }

  bool PollOnce() {
    const uint64_t until_ns = NowNs() + poll_ns_;
    do {
      bool any = false;
      for (NullResponder& connection : connections_) any = ServeOne(connection) || any;
      Bury();
      if (any) return true;
    } while (!connections_.empty() && NowNs() < until_ns);
    return false;
  }

  void Bury() {
    for (NullResponder* gone : closed_) {
      connections_.remove_if([&](const NullResponder& one) { return &one == gone; });
    }
    closed_.clear();
  }

  const std::vector<std::unique_ptr<ListeningSocket>> listeners_;
  const uint64_t size_;
  const uint64_t poll_ns_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  std::list<NullResponder> connections_;
  std::vector<NullResponder*> closed_;
};

void End(int) {
  if (!socket_file.empty()) unlink(socket_file.c_str());
  _exit(0);
}

int Main(int argc, char** argv) {
  CLI::App app{"a null NBD server of one thread", "limit_wire"};
  uint64_t poll_us = 0;
  std::string size = "4G";
  std::string where;
  app.add_option("--poll", poll_us, "ask the sockets again for so many µs before sleeping");
  app.add_option("--size", size, "what the export is said to have");
  app.add_option("ADDRESS", where, "unix:PATH or HOST:PORT")->required();
  CLI11_PARSE(app, argc, argv);
  const auto bytes = ParseSize(size);
  const auto address = ParseAddress(where);
  if (!bytes.ok() || !address.ok()) {
    std::fprintf(stderr, "limit_wire: bad --size or ADDRESS (see --help)\n");
    return 2;
  }
  auto listeners = Listen(*address, {});
  if (!listeners.ok()) {
    std::fprintf(stderr, "limit_wire: %s\n", std::string(listeners.status().message()).c_str());
    return 1;
  }
  socket_file = address->path;
  signal(SIGTERM, End);
  signal(SIGINT, End);
  std::printf("ready nbd=%s\n", listeners->front()->address().ToString().c_str());
  std::fflush(stdout);
  LimitWire(*std::move(listeners), *bytes, poll_us * kMicrosecond).Run();
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
