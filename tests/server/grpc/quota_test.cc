// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/quota.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace sluice::rpc {
namespace {

constexpr Quota::Limits kLimits{5, 2, "chairs", "stand up"};

Identity Certificate(const std::string& name) {
  return {Identity::Kind::kCertificate, name, false};
}
const Identity kLocal{Identity::Kind::kUnixSocket, "", true};

class QuotaTest : public testing::Test {
 protected:
  Quota::Ticket Take(const Identity& who, uint64_t amount = 1) {
    auto ticket = quota_.Enter(who, amount);
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    return ticket.ok() ? *std::move(ticket) : Quota::Ticket();
  }
  std::string Refused(const Identity& who, uint64_t amount = 1) {
    return std::string(quota_.Enter(who, amount).status().message());
  }

  Quota quota_{kLimits};
};

TEST_F(QuotaTest, ACertificateHasItsShareAndTheOthersHaveTheirs) {
  Quota::Ticket first = Take(Certificate("a"));
  const Quota::Ticket second = Take(Certificate("a"));
  EXPECT_EQ(Refused(Certificate("a")),
            "certificate \"a\" has its share of the server's chairs, 2: stand up");
  const Quota::Ticket others = Take(Certificate("b"));
  { const Quota::Ticket given_back = std::move(first); }
  const Quota::Ticket again = Take(Certificate("a"));
}

TEST_F(QuotaTest, WhoComesOverTheUnixSocketHasNoLimitButTheWhole) {
  const Quota::Ticket most = Take(kLocal, 4);
  Quota::Ticket last = Take(Certificate("a"));
  for (const Identity& who : {kLocal, Certificate("a"), Certificate("b")}) {
    EXPECT_EQ(Refused(who), "all of the server's chairs, 5, are taken: try again later");
  }
  { const Quota::Ticket given_back = std::move(last); }
  const Quota::Ticket again = Take(kLocal);
}

TEST_F(QuotaTest, WhatIsTakenAtOnceIsGivenBackAtOnce) {
  Quota::Ticket both = Take(Certificate("a"), 2);
  EXPECT_NE(Refused(Certificate("a")), "");
  { const Quota::Ticket given_back = std::move(both); }
  EXPECT_NE(Refused(Certificate("a"), 3), "");
  const Quota::Ticket again = Take(Certificate("a"), 2);
}

}  // namespace
}  // namespace sluice::rpc
