// SPDX-License-Identifier: Apache-2.0
#include "tests/client/fake_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace sluice {
namespace {

bool Receive(int fd, ByteSpan room) {
  return room.empty() ||
         recv(fd, room.data(), room.size(), MSG_WAITALL) == static_cast<ssize_t>(room.size());
}

bool Send(int fd, ConstByteSpan bytes) {
  return send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

bool Reply(int fd, nbd::Option option, nbd::OptionReply type, ConstByteSpan data) {
  const auto header = nbd::EncodeOptionReplyHeader(
      {.option = option, .type = type, .length = static_cast<uint32_t>(data.size())});
  return Send(fd, header) && Send(fd, data);
}

std::string SocketPath() {
  static std::atomic<int> number = 0;
  return ::testing::TempDir() + "sluice-fake-" + std::to_string(getpid()) + "-" +
         std::to_string(number++);
}

}  // namespace

FakeServer::FakeServer(Behaviour behaviour)
    : behaviour_(std::move(behaviour)),
      path_(SocketPath()),
      memory_(std::min<uint64_t>(behaviour_.size, 1 << 20)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(listen(listener_, 16), 0);
  accepting_ = std::thread([this] { Accept(); });
}

FakeServer::~FakeServer() {
  shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  for (const int fd : fds_) shutdown(fd, SHUT_RDWR);
  for (std::thread& thread : serving_) thread.join();
  for (const int fd : fds_) close(fd);
  close(listener_);
  unlink(path_.c_str());
}

void FakeServer::Accept() {
  for (int fd; (fd = accept(listener_, nullptr, nullptr)) >= 0;) {
    ++accepted_;
    fds_.push_back(fd);
    const bool first = fds_.size() == 1;
    serving_.emplace_back([this, fd, first] {
      Serve(fd, first);
      shutdown(fd, SHUT_RDWR);
    });
  }
}

bool FakeServer::Handshake(int fd) const {
  uint8_t flags[nbd::kClientFlagsBytes];
  if (!Send(fd, nbd::EncodeGreeting(nbd::kFixedNewstyle | nbd::kNoZeroes))) return false;
  if (!Receive(fd, flags)) return false;
  for (;;) {
    uint8_t bytes[nbd::kOptionHeaderBytes];
    if (!Receive(fd, bytes)) return false;
    const auto header = nbd::DecodeOptionHeader(bytes);
    if (!header || header->length > 4096) return false;
    std::vector<uint8_t> data(header->length);
    if (!Receive(fd, data)) return false;
    if (header->option == nbd::Option::kGo) break;
    if (behaviour_.hangs_up_at_options) return false;
    if (!Reply(fd, header->option, nbd::OptionReply::kErrUnsup, {})) return false;
  }
  return Reply(fd, nbd::Option::kGo, nbd::OptionReply::kInfo,
               nbd::EncodeInfoExport({behaviour_.size, behaviour_.flags})) &&
         Reply(fd, nbd::Option::kGo, nbd::OptionReply::kInfo,
               nbd::EncodeInfoBlockSize(behaviour_.block_size)) &&
         Reply(fd, nbd::Option::kGo, nbd::OptionReply::kAck, {});
}

void FakeServer::Serve(int fd, bool first) {
  if (!Handshake(fd)) return;
  const bool closes = first || behaviour_.close_each;
  for (uint64_t number = 0; !closes || number < behaviour_.close_at; ++number) {
    uint8_t bytes[nbd::kRequestBytes];
    if (!Receive(fd, bytes)) return;
    const auto request = nbd::DecodeRequest(bytes);
    if (!request || request->command == nbd::Command::kDisc) return;
    if (number >= behaviour_.silent_from) continue;
    if (!ServeRequest(fd, *request)) return;
  }
}

bool FakeServer::ServeRequest(int fd, const nbd::Request& request) {
  const bool data =
      request.command == nbd::Command::kRead || request.command == nbd::Command::kWrite;
  std::vector<uint8_t> payload(data ? request.length : 0);
  if (request.command == nbd::Command::kWrite && !Receive(fd, payload)) return false;
  if (request.offset > memory_.size() || request.length > memory_.size() - request.offset) {
    return false;
  }
  ++counts_[static_cast<size_t>(request.command)];
  if ((request.flags & nbd::kFlagFua) != 0) ++fua_;
  const nbd::Error error = behaviour_.error(request);
  {
    const std::lock_guard lock(mutex_);
    const auto at = memory_.begin() + static_cast<std::ptrdiff_t>(request.offset);
    if (request.command == nbd::Command::kRead) std::copy_n(at, payload.size(), payload.begin());
    if (request.command == nbd::Command::kWrite) std::copy(payload.begin(), payload.end(), at);
    if (request.command == nbd::Command::kWriteZeroes) std::fill_n(at, request.length, uint8_t{0});
  }
  uint8_t header[nbd::kSimpleReplyBytes];
  nbd::EncodeSimpleReply({.error = error, .cookie = request.cookie}, header);
  if (!Send(fd, header)) return false;
  if (request.command != nbd::Command::kRead || error != nbd::Error::kNone) return true;
  behaviour_.corrupt(request, payload);
  return Send(fd, payload);
}

}  // namespace sluice
