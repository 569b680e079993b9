// SPDX-License-Identifier: Apache-2.0
// socket/receive_... and socket/send_...: the kernel's part of 32 requests on a unix socket: one
// receive of all of them into flat memory, one send of all their replies.
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "core/check.h"
#include "proto/nbd_transmission.h"
#include "tests/bench/stages/phase.h"
#include "tests/bench/stages/traffic.h"

namespace sluice::bench {
namespace {

enum Phase { kReceive, kSend };

class SocketPair {
 public:
  SocketPair() {
    SLUICE_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_) == 0);
    const int bytes = 1 << 20;
    for (const int fd : fds_) {
      SLUICE_CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
    }
  }
  ~SocketPair() {
    for (const int fd : fds_) close(fd);
  }
  int client() const { return fds_[0]; }
  int server() const { return fds_[1]; }

 private:
  int fds_[2];
};

void Socket(benchmark::State& state, Phase chosen, nbd::Command command) {
  SocketPair sockets;
  const bool read = command == nbd::Command::kRead;
  const std::vector<Batch> batches = MakeBatches(command, Order::kRandom, 1);
  std::vector<uint8_t> requests = batches[0].bytes;
  std::vector<uint8_t> payload(kBatch * kPage);
  uint8_t header[nbd::kSimpleReplyBytes];
  nbd::EncodeSimpleReply({nbd::Error::kNone, 1}, header);
  std::vector<iovec> replies;
  for (uint32_t i = 0; i < kBatch; ++i) {
    replies.push_back({header, sizeof(header)});
    if (read) replies.push_back({payload.data() + i * kPage, kPage});
  }
  const size_t reply_bytes = kBatch * (sizeof(header) + (read ? kPage : 0));
  std::vector<uint8_t> room(std::max(requests.size(), reply_bytes));

  PhaseTimer timer(state, chosen);
  for (auto _ : state) {
    SLUICE_CHECK(send(sockets.client(), requests.data(), requests.size(), 0) ==
                 static_cast<ssize_t>(requests.size()));
    timer.Do(kReceive, [&] {
      SLUICE_CHECK(recv(sockets.server(), room.data(), room.size(), 0) ==
                   static_cast<ssize_t>(requests.size()));
    });
    timer.Do(kSend, [&] {
      msghdr message{};
      message.msg_iov = replies.data();
      message.msg_iovlen = replies.size();
      SLUICE_CHECK(sendmsg(sockets.server(), &message, MSG_NOSIGNAL) ==
                   static_cast<ssize_t>(reply_bytes));
    });
    SLUICE_CHECK(recv(sockets.client(), room.data(), reply_bytes, MSG_WAITALL) ==
                 static_cast<ssize_t>(reply_bytes));
    timer.EndIteration();
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}

#define SOCKET_BENCH(name, command)                                          \
  BENCHMARK_CAPTURE(Socket, receive_##name, kReceive, nbd::Command::command) \
      ->Name("socket/receive_" #name)                                        \
      ->UseManualTime();                                                     \
  BENCHMARK_CAPTURE(Socket, send_##name, kSend, nbd::Command::command)       \
      ->Name("socket/send_" #name)                                           \
      ->UseManualTime()
SOCKET_BENCH(read, kRead);
SOCKET_BENCH(write, kWrite);

}  // namespace
}  // namespace sluice::bench
