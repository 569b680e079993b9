// SPDX-License-Identifier: Apache-2.0
// The whole server allocates nothing for a request: socket, session, volume, disk, ring and the
// answer. The real one runs in this process; a client with one buffer drives it.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "proto/nbd_handshake.h"
#include "proto/nbd_transmission.h"
#include "server/config.h"
#include "server/server.h"
#include "server/signals.h"
#include "tests/support/alloc_counter.h"

namespace sluice {
namespace {

constexpr uint32_t kPage = 4096;
constexpr int kBatch = 32;

// One connection that sends a batch of requests at once and reads all its answers.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Client() { close(fd_); }

  bool Open(bool structured) {
    structured_ = structured;
    if (!connected_ || !Receive(nbd::kGreetingBytes)) return false;
    const auto flags = nbd::EncodeClientFlags(nbd::kFixedNewstyle | nbd::kNoZeroes);
    Append(flags);
    if (structured) {
      Append(nbd::EncodeOptionHeader({nbd::Option::kStructuredReply, 0}));
      if (!Send() || !Receive(nbd::kOptionReplyHeaderBytes)) return false;
    }
    Append(nbd::EncodeOptionHeader({nbd::Option::kExportName, 0}));
    return Send() && Receive(10);
  }

  void Add(nbd::Command command, uint64_t offset, uint32_t length, uint16_t flags = 0) {
    const bool read = command == nbd::Command::kRead;
    if (read && structured_) {  // in one piece, so that its size is known
      flags |= nbd::kFlagDf;
      expected_ += nbd::kChunkHeaderBytes + nbd::kOffsetDataBytes + length;
    } else {
      expected_ += nbd::kSimpleReplyBytes + (read ? length : 0);
    }
    std::array<uint8_t, nbd::kRequestBytes> header;
    nbd::EncodeRequest({flags, command, ++cookie_, offset, length}, header);
    Append(header);
    if (command == nbd::Command::kWrite) out_.insert(out_.end(), length, 7);
  }
  // Sends what was added and receives all answers.
  bool Exchange() { return Send() && Receive(std::exchange(expected_, 0)); }

 private:
  template <typename Bytes>
  void Append(const Bytes& bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  bool Send() {
    size_t sent = 0;
    while (sent < out_.size()) {
      const ssize_t n = send(fd_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += static_cast<size_t>(n);
    }
    out_.clear();
    return true;
  }
  bool Receive(size_t bytes) {
    in_.resize(std::max(in_.size(), bytes));
    // In a loop: what ends the rings of an earlier server in this process may interrupt a wait.
    for (size_t received = 0; received < bytes;) {
      const ssize_t n = recv(fd_, in_.data() + received, bytes - received, MSG_WAITALL);
      if (n <= 0) return false;
      received += static_cast<size_t>(n);
    }
    return true;
  }

  const int fd_;
  bool connected_ = false;
  bool structured_ = false;
  uint64_t cookie_ = 0;
  size_t expected_ = 0;
  std::vector<uint8_t> out_;
  std::vector<uint8_t> in_;
};

class DataPathAllocTest : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/sluice-alloc-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    const auto& [disk, structured] = GetParam();
    std::string text = "nbd { listen: \"unix:" + folder_ + "/nbd\" } reactors: 1 ";
    for (const char* name : {"a", "b"}) {
      text += std::string("disk { name: \"") + name + "\" ";
      text += disk == "memory" ? "memory_bytes: 16777216 } "
                               : "path: \"" + folder_ + "/" + name + "\" create_bytes: 16777216 } ";
    }
    text += "volume { name: \"s\" stripe { chunk_bytes: 65536 leg: \"a\" leg: \"b\" } } ";
    text += "export { name: \"s\" volume: \"s\" }";
    auto config = ParseConfig("test", text);
    ASSERT_TRUE(config.ok()) << config.status();
    BlockSignals();
    auto server = Server::Create(*config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_ = std::thread([this] { status_ = server_->Run(); });
  }
  void TearDown() override {
    kill(getpid(), SIGTERM);
    if (thread_.joinable()) thread_.join();
    EXPECT_EQ(status_, 0);
    server_.reset();
    for (const char* name : {"/a", "/b", ""}) std::remove((folder_ + name).c_str());
  }

  // Batches of every kind of request that a kernel sends.
  static bool Work(Client& client, int batches) {
    for (int batch = 0; batch < batches; ++batch) {
      const uint64_t base = static_cast<uint64_t>(batch % 64) * kBatch * kPage;
      for (uint64_t i = 0; i < kBatch; ++i)
        client.Add(nbd::Command::kWrite, base + i * kPage, kPage);
      client.Add(nbd::Command::kWrite, base, kPage, nbd::kFlagFua);
      client.Add(nbd::Command::kFlush, 0, 0);
      client.Add(nbd::Command::kWriteZeroes, base, 2 * kPage);
      client.Add(nbd::Command::kTrim, base, kPage);
      if (!client.Exchange()) return false;
      for (uint64_t i = 0; i < kBatch; ++i)
        client.Add(nbd::Command::kRead, base + i * kPage, kPage);
      client.Add(nbd::Command::kRead, 0, 512 * 1024);
      client.Add(nbd::Command::kWrite, base, 256 * 1024);
      if (!client.Exchange()) return false;
    }
    return true;
  }

  std::string folder_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  int status_ = -1;
};

TEST_P(DataPathAllocTest, NoRequestAllocates) {
  Client client(folder_ + "/nbd");
  ASSERT_TRUE(client.Open(std::get<1>(GetParam())));
  ASSERT_TRUE(Work(client, 128));  // warm: every page written, every pool's memory touched
  const uint64_t before = AllocationsSoFar();
  ASSERT_TRUE(Work(client, 64));
  EXPECT_EQ(AllocationsSoFar() - before, 0u) << "allocations in " << 64 * 70 << " requests";
}

INSTANTIATE_TEST_SUITE_P(Disks, DataPathAllocTest,
                         testing::Combine(testing::Values("memory", "file"), testing::Bool()),
                         [](const auto& of) {
                           return std::get<0>(of.param) +
                                  (std::get<1>(of.param) ? "Structured" : "Simple");
                         });

}  // namespace
}  // namespace sluice
