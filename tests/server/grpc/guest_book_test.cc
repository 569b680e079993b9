// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/guest_book.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>
#include <string>

#include "core/units.h"

namespace sluice::rpc {
namespace {

sockaddr_storage V6(const char* text) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  EXPECT_EQ(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}
sockaddr_storage V4(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  EXPECT_EQ(inet_pton(AF_INET, text, &address.sin_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return storage;
}

class GuestBookTest : public testing::Test {
 protected:
  // A handshake of "host" that begins and ends; when it may begin, from now on.
  uint64_t Visit() {
    const auto begins_ns = book_.EnterHost("host", now_ns_);
    EXPECT_TRUE(begins_ns.has_value());
    book_.LeaveHost("host", false);
    return begins_ns.value_or(0) - now_ns_;
  }
  bool LetsIn(const std::string& name) {
    GuestBook::Holder* holder = book_.EnterHolder(name, now_ns_);
    if (holder != nullptr) book_.LeaveHolder(*holder);
    return holder != nullptr;
  }
  // One offence of that certificate; how long it is kept out.
  uint64_t Offend(const std::string& name) {
    GuestBook::Holder* holder = book_.EnterHolder(name, now_ns_);
    EXPECT_NE(holder, nullptr);
    const uint64_t out_ns = book_.Offend(*holder, now_ns_);
    book_.LeaveHolder(*holder);
    return out_ns;
  }

  GuestBook book_{3};
  uint64_t now_ns_ = 1000 * kSecond;
};

TEST_F(GuestBookTest, AHostHasSoManyConnections) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(book_.EnterHost("host", now_ns_).has_value());
  EXPECT_FALSE(book_.EnterHost("host", now_ns_).has_value());
  EXPECT_TRUE(book_.EnterHost("other", now_ns_).has_value());
  book_.LeaveHost("host", false);
  EXPECT_TRUE(book_.EnterHost("host", now_ns_).has_value());
}

TEST_F(GuestBookTest, HandshakesBeyondTheRateWaitTheirTurn) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Visit(), 0u);
  EXPECT_NEAR(static_cast<double>(Visit()), double{kSecond} / 50, 1e6);
  EXPECT_NEAR(static_cast<double>(Visit()), double{kSecond} / 25, 1e6);
  now_ns_ += 10 * kSecond;
  EXPECT_EQ(Visit(), 0u);
}

TEST_F(GuestBookTest, WhoLeavesBeforeItsHandshakeIsNotCharged) {
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(book_.EnterHost("host", now_ns_).has_value());
    book_.LeaveHost("host", true);
  }
  EXPECT_EQ(Visit(), 0u);
}

TEST_F(GuestBookTest, AHostOfIpv6HasSixtyFourBits) {
  EXPECT_EQ(GuestBook::HostOf(V6("2001:db8::1")), GuestBook::HostOf(V6("2001:db8::2:3")));
  EXPECT_NE(GuestBook::HostOf(V6("2001:db8::1")), GuestBook::HostOf(V6("2001:db8:0:1::1")));
  EXPECT_EQ(GuestBook::HostOf(V6("::ffff:10.0.0.1")), GuestBook::HostOf(V4("10.0.0.1")));
  EXPECT_NE(GuestBook::HostOf(V4("10.0.0.1")), GuestBook::HostOf(V4("10.0.0.2")));
}

TEST_F(GuestBookTest, AnOffenderIsKeptOutLongerEachTime) {
  uint64_t expected_ns = GuestBook::kFirstOutNs;
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(Offend("bad"), expected_ns);
    EXPECT_FALSE(LetsIn("bad"));
    EXPECT_TRUE(LetsIn("good"));
    now_ns_ += expected_ns;
    EXPECT_TRUE(LetsIn("bad"));
    expected_ns = std::min(2 * expected_ns, GuestBook::kLongestOutNs);
  }
}

TEST_F(GuestBookTest, OffencesAreForgotten) {
  Offend("bad");
  now_ns_ += GuestBook::kFirstOutNs;
  EXPECT_EQ(Offend("bad"), 2 * GuestBook::kFirstOutNs);
  now_ns_ += GuestBook::kForgottenNs + 1;
  EXPECT_EQ(Offend("bad"), GuestBook::kFirstOutNs);
}

TEST_F(GuestBookTest, ManyConnectionsOfOneFloodAreOneOffence) {
  GuestBook::Holder* first = book_.EnterHolder("bad", now_ns_);
  GuestBook::Holder* second = book_.EnterHolder("bad", now_ns_);
  EXPECT_EQ(book_.Offend(*first, now_ns_), GuestBook::kFirstOutNs);
  now_ns_ += GuestBook::kFirstOutNs / 2;
  EXPECT_EQ(book_.Offend(*second, now_ns_), GuestBook::kFirstOutNs / 2);
}

TEST_F(GuestBookTest, ACertificatesConnectionsShareItsPace) {
  GuestBook::Holder* holder = book_.EnterHolder("fast", now_ns_);
  const auto burst = static_cast<uint32_t>(GuestBook::kStreams.burst);
  EXPECT_EQ(holder->Pass({burst, burst, 0}, now_ns_), now_ns_);
  GuestBook::Holder* again = book_.EnterHolder("fast", now_ns_);
  EXPECT_EQ(again, holder);
  const uint64_t even_ns = again->Pass({burst, burst, 0}, now_ns_);
  EXPECT_NEAR(static_cast<double>(even_ns - now_ns_), double{kSecond}, 1e6);
  EXPECT_EQ(again->Pass({}, even_ns), even_ns);
}

TEST_F(GuestBookTest, ACertificatesResetsHaveAPaceOverAllItsConnections) {
  GuestBook::Holder* holder = book_.EnterHolder("resets", now_ns_);
  const auto burst = static_cast<uint32_t>(GuestBook::kResets.burst);
  EXPECT_EQ(holder->Pass({burst, 0, burst}, now_ns_), now_ns_);
  const auto second = static_cast<uint32_t>(GuestBook::kResets.per_second);
  EXPECT_NEAR(static_cast<double>(holder->Pass({second, 0, second}, now_ns_) - now_ns_),
              double{kSecond}, 1e6);
}

TEST_F(GuestBookTest, ManyNewNamesDoNotMakeAnOffenceForgotten) {
  Offend("bad");
  now_ns_ += GuestBook::kFirstOutNs;
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(LetsIn("name" + std::to_string(i)));
  EXPECT_EQ(Offend("bad"), 2 * GuestBook::kFirstOutNs);
}

TEST_F(GuestBookTest, AmongOffendersTheOldestOffenceIsForgottenFirst) {
  for (int i = 0; i < 5000; ++i) {
    Offend("name" + std::to_string(i));
    now_ns_ += kMillisecond;
  }
  now_ns_ += GuestBook::kFirstOutNs;
  EXPECT_EQ(Offend("name4999"), 2 * GuestBook::kFirstOutNs);
  EXPECT_EQ(Offend("name0"), GuestBook::kFirstOutNs);
}

}  // namespace
}  // namespace sluice::rpc
