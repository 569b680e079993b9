// SPDX-License-Identifier: Apache-2.0
// The handshake against servers that follow a script, whatever the client says.
#include "client/nbd_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "core/units.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

// What a server says, put together piece by piece.
class Script {
 public:
  explicit Script(uint16_t flags = nbd::kFixedNewstyle | nbd::kNoZeroes) {
    Add(nbd::EncodeGreeting(flags));
  }
  Script& Add(ConstByteSpan more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }
  Script& Text(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }
  Script& Reply(nbd::OptionReply type, ConstByteSpan data = {},
                nbd::Option option = nbd::Option::kGo) {
    Header(type, static_cast<uint32_t>(data.size()), option);
    return Add(data);
  }
  Script& Header(nbd::OptionReply type, uint32_t length, nbd::Option option = nbd::Option::kGo) {
    return Add(nbd::EncodeOptionReplyHeader({.option = option, .type = type, .length = length}));
  }
  Script& Export(uint64_t size, uint16_t flags) {
    return Reply(nbd::OptionReply::kInfo, nbd::EncodeInfoExport({size, flags}));
  }
  Script& BlockSize(const nbd::InfoBlockSize& sizes) {
    return Reply(nbd::OptionReply::kInfo, nbd::EncodeInfoBlockSize(sizes));
  }
  Script& Ack() { return Reply(nbd::OptionReply::kAck); }
  Script& Error(nbd::OptionReply type, std::string_view text) {
    Header(type, static_cast<uint32_t>(text.size()));
    return Text(text);
  }

  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

// Opens a connection to a server that says `script`, half closes, and reads to the end.
absl::StatusOr<NbdConnection> Open(const Script& script, bool structured = false) {
  const std::string path = ::testing::TempDir() + "sluice-script-" + std::to_string(getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(listen(listener, 1), 0);
  std::thread server([&] {
    const int fd = accept(listener, nullptr, nullptr);
    const Bytes& bytes = script.bytes();
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), std::ssize(bytes));
    shutdown(fd, SHUT_WR);
    uint8_t room[4096];
    while (recv(fd, room, sizeof(room), 0) > 0) {
    }
    close(fd);
  });
  NbdUri uri;
  uri.socket = path;
  uri.export_name = "disk";
  auto connection = OpenNbd(uri, {.structured = structured}, 5);
  const bool open = connection.ok();
  if (open) shutdown(connection->fd(), SHUT_RDWR);
  server.join();
  close(listener);
  unlink(path.c_str());
  return connection;
}

std::string Refusal(const Script& script, bool structured = false) {
  return std::string(Open(script, structured).status().message());
}

TEST(NbdConnection, TakesWhatTheServerTells) {
  const auto connection = Open(Script()
                                   .BlockSize({.min = 512, .preferred = 4096, .max_payload = kMiB})
                                   .Export(123 * kMiB, nbd::kHasFlags | nbd::kReadOnly)
                                   .Ack());
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ(connection->size_bytes(), 123 * kMiB);
  EXPECT_TRUE(connection->Has(nbd::kReadOnly));
  EXPECT_FALSE(connection->Has(nbd::kSendFlush));
  EXPECT_EQ(connection->block_size().min, 512u);
  EXPECT_EQ(connection->block_size().max_payload, kMiB);
  EXPECT_FALSE(connection->structured());
}

TEST(NbdConnection, WithoutBlockSizesTheProtocolsDefaultsHold) {
  const auto connection = Open(Script().Export(kMiB, nbd::kHasFlags).Ack());
  ASSERT_TRUE(connection.ok());
  EXPECT_EQ(connection->block_size(), nbd::InfoBlockSize());
}

TEST(NbdConnection, StructuredRepliesAreDemandedWhenAskedFor) {
  Script agreed;
  agreed.Reply(nbd::OptionReply::kAck, {}, nbd::Option::kStructuredReply);
  agreed.Export(kMiB, nbd::kHasFlags).Ack();
  const auto connection = Open(agreed, true);
  ASSERT_TRUE(connection.ok());
  EXPECT_TRUE(connection->structured());
  Script refused;
  refused.Reply(nbd::OptionReply::kErrUnsup, {}, nbd::Option::kStructuredReply);
  EXPECT_THAT(Refusal(refused, true), HasSubstr("--structured"));
}

TEST(NbdConnection, ARefusedExportSaysWhyAndWhatToDo) {
  using R = nbd::OptionReply;
  EXPECT_THAT(Refusal(Script().Error(R::kErrUnknown, "none\nhere")), HasSubstr("none\\nhere"));
  EXPECT_THAT(Refusal(Script().Error(R::kErrUnknown, "")), HasSubstr("no export \"disk\""));
  EXPECT_THAT(Refusal(Script().Error(R::kErrTlsReqd, "")), HasSubstr("TLS"));
  EXPECT_THAT(Refusal(Script().Error(R::kErrUnsup, "")), HasSubstr("too old"));
  EXPECT_THAT(Refusal(Script().Error(R::kErrShutdown, "")), HasSubstr("shutting down"));
  EXPECT_THAT(Refusal(Script().Error(R::kErrPolicy, "not you")), HasSubstr("not you"));
}

TEST(NbdConnection, WhatIsNoNbdServerIsToldSo) {
  EXPECT_THAT(Refusal(Script(nbd::kNoZeroes)), HasSubstr("too old"));
  EXPECT_THAT(Refusal(Script().Text("HTTP/1.1 400 Bad Request\r\n")), HasSubstr("not speak NBD"));
  EXPECT_THAT(Refusal(Script()), HasSubstr("closed the connection"));
  EXPECT_THAT(Refusal(Script().Export(1, 1)), HasSubstr("closed the connection"));
}

TEST(NbdConnection, ABrokenHandshakeIsRefused) {
  using R = nbd::OptionReply;
  EXPECT_THAT(Refusal(Script().Ack()), HasSubstr("without the export's size"));
  EXPECT_THAT(Refusal(Script().Header(R::kInfo, UINT32_MAX)), HasSubstr("too long"));
  EXPECT_THAT(Refusal(Script().Reply(R::kAck, {}, nbd::Option::kList)), HasSubstr("no reply to"));
  EXPECT_THAT(Refusal(Script().Reply(R::kServer)), HasSubstr("strange"));
  EXPECT_THAT(Refusal(Script().Reply(R::kInfo, Bytes{0, 0, 1})), HasSubstr("malformed export"));
  EXPECT_THAT(Refusal(Script().Reply(R::kInfo, Bytes{0, 3, 1})), HasSubstr("malformed block"));
  for (const uint32_t min : {0u, 3u, UINT32_MAX}) {
    EXPECT_THAT(Refusal(Script().BlockSize({.min = min})), HasSubstr("malformed block")) << min;
  }
  Script endless;
  for (int i = 0; i < 100; ++i) endless.Export(1, 1);
  EXPECT_THAT(Refusal(endless), HasSubstr("without end"));
}

}  // namespace
}  // namespace sluice
