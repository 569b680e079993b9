// SPDX-License-Identifier: Apache-2.0
// bare_client URI: a batching socket loop and nothing else, the yardstick of `sluice bench`'s own
// CPU. It keeps `depth` requests of one size in flight, all built before; what comes back is
// counted in bytes, not read. Prints one line of JSON.
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "client/bench/time.h"
#include "client/nbd_connection.h"
#include "client/uri.h"
#include "proto/nbd_transmission.h"

namespace sluice::bench {
namespace {

constexpr size_t kReceiveBytes = 256 * kKiB;

struct Words {
  std::string uri;
  bool write = false;
  uint32_t block_size = 4096, depth = 32;
  uint64_t poll_us = 0;
  double seconds = 2;
};

// `depth` requests one behind the other.
std::vector<uint8_t> Requests(const Words& words) {
  const size_t each = nbd::kRequestBytes + (words.write ? words.block_size : 0);
  std::vector<uint8_t> bytes(each * words.depth, 0x5a);
  for (uint32_t i = 0; i < words.depth; ++i) {
    nbd::EncodeRequest(
        {.command = words.write ? nbd::Command::kWrite : nbd::Command::kRead,
         .cookie = i,
         .offset = uint64_t{i} * words.block_size,
         .length = words.block_size},
        std::span<uint8_t, nbd::kRequestBytes>(bytes.data() + i * each, nbd::kRequestBytes));
  }
  return bytes;
}

bool SendAll(int fd, ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

ssize_t Receive(int fd, ByteSpan room, uint64_t poll_ns) {
  if (poll_ns > 0) {
    const uint64_t until_ns = NowNs() + poll_ns;
    do {
      const ssize_t got = recv(fd, room.data(), room.size(), MSG_DONTWAIT);
      if (got >= 0 || errno != EAGAIN) return got;
    } while (NowNs() < until_ns);
  }
  return recv(fd, room.data(), room.size(), 0);
}

int Measure(int fd, const Words& words) {
  const std::vector<uint8_t> requests = Requests(words);
  const size_t request_bytes = requests.size() / words.depth;
  const size_t reply_bytes = nbd::kSimpleReplyBytes + (words.write ? 0 : words.block_size);
  std::vector<uint8_t> room(kReceiveBytes);
  uint64_t answered = 0;
  size_t part = 0;  // bytes of a reply that is not complete
  const uint64_t begin_ns = NowNs();
  const uint64_t cpu_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  const auto limit_ns = begin_ns + static_cast<uint64_t>(words.seconds * kSecond);
  uint64_t now_ns = begin_ns;
  bool sent = SendAll(fd, requests);
  while (sent && now_ns < limit_ns) {
    const ssize_t got = Receive(fd, room, words.poll_us * kMicrosecond);
    if (got <= 0) return 1;
    part += static_cast<size_t>(got);
    const size_t replies = part / reply_bytes;
    part -= replies * reply_bytes;
    answered += replies;
    sent = SendAll(fd, ConstByteSpan(requests).first(replies * request_bytes));
    now_ns = NowNs();
  }
  const auto cpu_us = static_cast<double>(ClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_ns) / 1e3;
  const double seconds = static_cast<double>(now_ns - begin_ns) / kSecond;
  const auto count = static_cast<double>(answered);
  std::printf(
      "{\"iops\": %.1f, \"requests\": %.0f, \"seconds\": %.3f, "
      "\"client_cpu_us_per_request\": %.4f}\n",
      count / seconds, count, seconds, cpu_us / count);
  return sent ? 0 : 1;
}

int Main(int argc, char** argv) {
  CLI::App app{"a batching socket loop", "bare_client"};
  Words words;
  app.add_flag("--write", words.write, "WRITE instead of READ: the export's begin is overwritten");
  app.add_option("--block-size", words.block_size)->check(CLI::Range(512, 1 << 20));
  app.add_option("--depth", words.depth)->check(CLI::Range(1, 1024));
  app.add_option("--poll", words.poll_us, "µs before it sleeps");
  app.add_option("--time", words.seconds, "seconds")->check(CLI::Range(0.01, 3600.0));
  app.add_option("URI", words.uri)->required();
  CLI11_PARSE(app, argc, argv);
  const auto uri = ParseNbdUri(words.uri);
  if (!uri.ok()) {
    std::fprintf(stderr, "bare_client: %s\n", std::string(uri.status().message()).c_str());
    return 2;
  }
  const auto connection = OpenNbd(*uri, {}, 10);
  if (!connection.ok()) {
    std::fprintf(stderr, "bare_client: %s\n", std::string(connection.status().message()).c_str());
    return 1;
  }
  return Measure(connection->fd(), words);
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
