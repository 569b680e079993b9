// SPDX-License-Identifier: Apache-2.0
// What goes to the kernel's nbd driver, byte by byte: attributes of netlink (a 16-bit length that
// counts itself, a 16-bit type, the value, padding to 4), in the machine's byte order.
#include "client/attach/netlink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/nbd-netlink.h>

#include <cstring>
#include <map>

#include "core/units.h"

namespace sluice::attach {
namespace {

using ::testing::ElementsAre;
using Bytes = std::vector<uint8_t>;

constexpr uint16_t kNested = 1U << 15;

struct Attribute {
  uint16_t type;
  Bytes value;
};

std::vector<Attribute> Parse(std::span<const uint8_t> bytes) {
  std::vector<Attribute> attributes;
  while (bytes.size() >= 4) {
    uint16_t header[2];
    std::memcpy(header, bytes.data(), sizeof(header));
    EXPECT_GE(header[0], 4U);
    EXPECT_LE(header[0], bytes.size());
    attributes.push_back({static_cast<uint16_t>(header[1] & ~kNested),
                          Bytes(bytes.begin() + 4, bytes.begin() + header[0])});
    bytes = bytes.subspan(std::min<size_t>(bytes.size(), AlignUp(header[0], 4)));
  }
  EXPECT_TRUE(bytes.empty());
  return attributes;
}

std::map<uint16_t, Bytes> ByType(std::span<const uint8_t> bytes) {
  std::map<uint16_t, Bytes> found;
  for (Attribute& attribute : Parse(bytes)) {
    EXPECT_TRUE(found.emplace(attribute.type, std::move(attribute.value)).second) << "twice";
  }
  return found;
}

template <typename T>
T Value(const Bytes& bytes) {
  T value{};
  EXPECT_EQ(bytes.size(), sizeof(value));
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(value)));
  return value;
}

std::vector<uint32_t> SocketsOf(const Bytes& list) {
  std::vector<uint32_t> sockets;
  for (const Attribute& item : Parse(list)) {
    EXPECT_EQ(item.type, NBD_SOCK_ITEM);
    sockets.push_back(Value<uint32_t>(ByType(item.value).at(NBD_SOCK_FD)));
  }
  return sockets;
}

constexpr Device kDevice = {
    .size_bytes = 5 * kGiB, .block_bytes = 4096, .connections = 2, .flags = 0x16d};
constexpr Patience kPatience = {.request_timeout_s = 15, .dead_connection_timeout_s = 630};

TEST(AttachNetlink, ConnectTellsEverythingOfTheDevice) {
  const int sockets[] = {7, 9};
  auto told = ByType(netlink::EncodeConnect(3, kDevice, kPatience, "sluice nbd://h/e", sockets));
  EXPECT_EQ(Value<uint32_t>(told.at(NBD_ATTR_INDEX)), 3U);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_SIZE_BYTES)), 5 * kGiB);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_BLOCK_SIZE_BYTES)), 4096U);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_SERVER_FLAGS)), 0x16dU);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_TIMEOUT)), 15U);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_DEAD_CONN_TIMEOUT)), 630U);
  EXPECT_THAT(SocketsOf(told.at(NBD_ATTR_SOCKETS)), ElementsAre(7, 9));
  const Bytes& name = told.at(NBD_ATTR_BACKEND_IDENTIFIER);
  EXPECT_EQ(std::string(name.begin(), name.end()), std::string("sluice nbd://h/e\0", 17));
}

TEST(AttachNetlink, TheDeviceNeverDisconnectsByItself) {
  const int sockets[] = {7};
  auto told = ByType(netlink::EncodeConnect(3, kDevice, kPatience, "x", sockets));
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_CLIENT_FLAGS)), 0U);
}

TEST(AttachNetlink, WithoutAnIndexTheKernelChooses) {
  const int sockets[] = {7};
  EXPECT_FALSE(ByType(netlink::EncodeConnect(std::nullopt, kDevice, kPatience, "x", sockets))
                   .contains(NBD_ATTR_INDEX));
}

TEST(AttachNetlink, TheLongestRequestFits) {
  const std::vector<int> sockets(kMaxConnections, 1);
  const std::string name(kMaxIdentifierBytes, 'x');
  auto told = ByType(netlink::EncodeConnect(3, kDevice, kPatience, name, sockets));
  EXPECT_EQ(SocketsOf(told.at(NBD_ATTR_SOCKETS)).size(), kMaxConnections);
}

TEST(AttachNetlink, ReconfigureTellsOnlyWhatChanges) {
  auto told = ByType(netlink::EncodeReconfigure(3, "x", {}));
  EXPECT_EQ(told.size(), 2U);  // the index and whose it is
  EXPECT_EQ(Value<uint32_t>(told.at(NBD_ATTR_INDEX)), 3U);
  const int sockets[] = {5};
  told = ByType(netlink::EncodeReconfigure(
      3, "x", {.sockets = sockets, .size_bytes = kGiB, .patience = kPatience}));
  EXPECT_EQ(told.size(), 6U);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_SIZE_BYTES)), kGiB);
  EXPECT_EQ(Value<uint64_t>(told.at(NBD_ATTR_DEAD_CONN_TIMEOUT)), 630U);
  EXPECT_THAT(SocketsOf(told.at(NBD_ATTR_SOCKETS)), ElementsAre(5));
}

TEST(AttachNetlink, DisconnectNamesTheDeviceAlone) {
  EXPECT_EQ(netlink::DecodeIndex(netlink::EncodeDisconnect(12)), 12U);
  EXPECT_EQ(Parse(netlink::EncodeDisconnect(12)).size(), 1U);
}

TEST(AttachNetlink, AnIndexIsFoundAmongOtherAttributesAndNotInMalformedOnes) {
  EXPECT_EQ(netlink::DecodeIndex(netlink::EncodeReconfigure(8, "name", {})), 8U);
  EXPECT_EQ(netlink::DecodeIndex({}), std::nullopt);
  const Bytes whole = netlink::EncodeDisconnect(12);
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_EQ(netlink::DecodeIndex(Bytes(whole.begin(), whole.begin() + static_cast<long>(cut))),
              std::nullopt);
  }
  Bytes wrong_size = whole;
  wrong_size[0] = 6;
  EXPECT_EQ(netlink::DecodeIndex(wrong_size), std::nullopt);
}

}  // namespace
}  // namespace sluice::attach
