// SPDX-License-Identifier: Apache-2.0
// limit_ping: the bare round trip of a small request and its reply between two processes, nothing
// else: what no server's latency can be below. Prints one line of JSON.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "client/bench/histogram.h"
#include "client/bench/time.h"
#include "core/check.h"
#include "proto/bytes.h"

namespace sluice::bench {
namespace {

// Receives exactly `room`, asking for `poll_ns` before each sleep. False when the peer has gone.
bool ReceiveAll(int fd, ByteSpan room, uint64_t poll_ns) {
  uint64_t until_ns = poll_ns == 0 ? 0 : NowNs() + poll_ns;
  while (!room.empty()) {
    const bool polling = until_ns != 0 && NowNs() < until_ns;
    const ssize_t got = recv(fd, room.data(), room.size(), polling ? MSG_DONTWAIT : 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return false;
    room = room.subspan(static_cast<size_t>(got));
  }
  return true;
}

bool SendAll(int fd, ConstByteSpan bytes) {
  return send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

void Pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  SLUICE_CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

std::pair<int, int> UnixPair() {
  int fds[2];
  SLUICE_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  return {fds[0], fds[1]};
}

std::pair<int, int> TcpPair() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const at = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof(address);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_CHECK(bind(listener, at, length) == 0 && listen(listener, 1) == 0);
  SLUICE_CHECK(getsockname(listener, at, &length) == 0 && connect(client, at, length) == 0);
  const int server = accept(listener, nullptr, nullptr);
  SLUICE_CHECK(server >= 0);
  close(listener);
  const int on = 1;
  for (const int fd : {client, server}) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  return {client, server};
}

struct Words {
  bool tcp = false;
  uint32_t request_bytes = 28, reply_bytes = 4112;
  uint64_t client_poll_us = 0, server_poll_us = 0;
  int client_cpu = -1, server_cpu = -1;
  double seconds = 2;
};

[[noreturn]] void Echo(int fd, const Words& words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Pin(words.server_cpu);
  std::vector<uint8_t> request(words.request_bytes);
  const std::vector<uint8_t> reply(words.reply_bytes, 0x5a);
  while (ReceiveAll(fd, request, words.server_poll_us * kMicrosecond) && SendAll(fd, reply)) {
  }
  _exit(0);
}

void Ping(int fd, const Words& words) {
  Pin(words.client_cpu);
  const std::vector<uint8_t> request(words.request_bytes, 0xa5);
  std::vector<uint8_t> reply(words.reply_bytes);
  const auto latency = std::make_unique<Histogram>();
  const uint64_t begin_ns = NowNs();
  const auto limit_ns = begin_ns + static_cast<uint64_t>(words.seconds * kSecond);
  const uint64_t cpu_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  uint64_t now_ns = begin_ns;
  while (now_ns < limit_ns) {
    SLUICE_CHECK(SendAll(fd, request));
    SLUICE_CHECK(ReceiveAll(fd, reply, words.client_poll_us * kMicrosecond));
    const uint64_t done_ns = NowNs();
    latency->Record(done_ns - now_ns);
    now_ns = done_ns;
  }
  const auto trips = static_cast<double>(latency->count());
  const double seconds = static_cast<double>(now_ns - begin_ns) / kSecond;
  const double cpu_us = static_cast<double>(ClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_ns) / 1e3;
  std::printf(
      "{\"p50_us\": %.3f, \"p99_us\": %.3f, \"p99.9_us\": %.3f, \"mean_us\": %.3f, "
      "\"iops\": %.1f, \"requests\": %.0f, \"seconds\": %.3f, "
      "\"client_cpu_us_per_request\": %.3f}\n",
      static_cast<double>(latency->Quantile(0.5)) / 1e3,
      static_cast<double>(latency->Quantile(0.99)) / 1e3,
      static_cast<double>(latency->Quantile(0.999)) / 1e3, latency->mean() / 1e3, trips / seconds,
      trips, seconds, cpu_us / trips);
}

int Main(int argc, char** argv) {
  CLI::App app{"a bare round trip between two processes", "limit_ping"};
  Words words;
  app.add_flag("--tcp", words.tcp, "over loopback TCP instead of a unix socket");
  app.add_option("--request-bytes", words.request_bytes)->check(CLI::Range(1, 65536));
  app.add_option("--reply-bytes", words.reply_bytes)->check(CLI::Range(1, 65536));
  app.add_option("--client-poll", words.client_poll_us, "µs before the client sleeps");
  app.add_option("--server-poll", words.server_poll_us, "µs before the server sleeps");
  app.add_option("--client-cpu", words.client_cpu);
  app.add_option("--server-cpu", words.server_cpu);
  app.add_option("--time", words.seconds, "seconds")->check(CLI::Range(0.01, 3600.0));
  CLI11_PARSE(app, argc, argv);
  const auto [client, server] = words.tcp ? TcpPair() : UnixPair();
  const pid_t child = fork();
  SLUICE_CHECK(child >= 0);
  if (child == 0) {
    close(client);
    Echo(server, words);
  }
  close(server);
  Ping(client, words);
  close(client);
  int status = 0;
  SLUICE_CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
