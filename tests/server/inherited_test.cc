// SPDX-License-Identifier: Apache-2.0
// Sockets that somebody else made: which door gets them, which are refused, whose file it is.
#include "server/inherited.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/socket.h"

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

Config Served() {
  return *ParseConfig("test",
                      "disk { name: 'd' null_bytes: 4096 } export { name: 'd' volume: 'd' }"
                      "nbd { listen: '127.0.0.1:1' }");
}

int Tcp(in_addr_t host, bool listening = true) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(host);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  if (listening) {
    EXPECT_EQ(listen(fd, 1), 0);
  }
  return fd;
}

int Unix(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), size), 0);
  EXPECT_EQ(listen(fd, 1), 0);
  return fd;
}

std::string Path(const char* name) {
  return absl::StrCat(testing::TempDir(), "/inherited_", getpid(), "_", name);
}

std::string WhyRefused(int fd, const char* name) {
  Config config = Served();
  const absl::Status status = UseInherited({{fd, name}}, config);
  close(fd);
  return std::string(status.message());
}

TEST(Inherited, ADoorListensOnWhatItIsGivenAlone) {
  Config config = Served();
  const int first = Tcp(INADDR_LOOPBACK);
  const int second = Tcp(INADDR_LOOPBACK);
  ASSERT_TRUE(UseInherited({{first, "nbd"}, {second, "nbd"}}, config).ok());
  ASSERT_THAT(config.nbd.listen, SizeIs(2));
  EXPECT_EQ(config.nbd.listen[0].fd, first);
  EXPECT_EQ(config.nbd.listen[0].host, "127.0.0.1");
  EXPECT_GT(config.nbd.listen[0].port, 1);
  EXPECT_EQ(config.nbd.listen[1].fd, second);
  EXPECT_TRUE(config.grpc.listen.empty());
  for (const int fd : {first, second}) close(fd);
}

TEST(Inherited, WithoutAnyTheConfigStands) {
  Config config = Served();
  ASSERT_TRUE(UseInherited({}, config).ok());
  ASSERT_THAT(config.nbd.listen, SizeIs(1));
  EXPECT_EQ(config.nbd.listen[0], *ParseAddress("127.0.0.1:1"));
}

TEST(Inherited, ASocketOpensADoorThatTheConfigLeftShut) {
  const std::string path = Path("grpc");
  Config config = Served();
  const int fd = Unix(path);
  ASSERT_TRUE(UseInherited({{fd, "grpc"}}, config).ok());
  ASSERT_THAT(config.grpc.listen, SizeIs(1));
  EXPECT_EQ(config.grpc.listen[0].ToString(), "unix:" + path);
  EXPECT_EQ(config.nbd.listen[0].port, 1);
  close(fd);
  unlink(path.c_str());
}

TEST(Inherited, WhatADoorMayNotBeToldItMayNotBeHanded) {
  EXPECT_THAT(WhyRefused(Tcp(INADDR_ANY), "nbd"), HasSubstr("insecure_tcp"));
  EXPECT_THAT(WhyRefused(Tcp(INADDR_LOOPBACK), "grpc"), HasSubstr("insecure_tcp"));
  EXPECT_THAT(WhyRefused(Tcp(INADDR_ANY), "http"), HasSubstr("insecure_tcp"));
  Config config = Served();
  config.nbd.insecure_tcp = true;
  const int fd = Tcp(INADDR_ANY);
  EXPECT_TRUE(UseInherited({{fd, "nbd"}}, config).ok());
  close(fd);
}

TEST(Inherited, AnErrorNamesTheSocketAndTheCure) {
  EXPECT_THAT(WhyRefused(Tcp(INADDR_LOOPBACK), "sluiced.socket"),
              testing::AllOf(HasSubstr("\"sluiced.socket\""), HasSubstr("FileDescriptorName=nbd")));
  EXPECT_THAT(WhyRefused(Tcp(INADDR_LOOPBACK, false), "nbd"), HasSubstr("Accept=no"));
  EXPECT_THAT(WhyRefused(socket(AF_INET, SOCK_DGRAM, 0), "nbd"), HasSubstr("ListenStream="));
  EXPECT_THAT(WhyRefused(open("/dev/null", O_RDONLY), "nbd"), HasSubstr("ListenStream="));
  const std::string abstract = absl::StrCat(std::string(1, '\0'), "inherited_", getpid());
  EXPECT_THAT(WhyRefused(Unix(abstract), "nbd"), HasSubstr("abstract"));
}

TEST(Inherited, TheFileOfAnInheritedSocketOutlivesUs) {
  const std::string path = Path("kept");
  auto address = AddressOf(Unix(path));
  ASSERT_TRUE(address.ok()) << address.status();
  { auto sockets = Listen(*address, {}); }
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  unlink(path.c_str());
}

TEST(Inherited, ASocketIsMadeToBlockForIoUringWaitsOnNoOther) {
  auto sockets = Listen(*AddressOf(Tcp(INADDR_LOOPBACK)), {});
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  EXPECT_EQ(fcntl(sockets->at(0)->fd(), F_GETFL) & O_NONBLOCK, 0);
}

}  // namespace
}  // namespace sluice
