// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/quota.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace sluice::rpc {
namespace {

Identity Certificate(const std::string& name) {
  return {Identity::Kind::kCertificate, name, false};
}

TEST(Quota, ACertificateHasItsShareAndTheOthersHaveTheirs) {
  Quota quota(2);
  Quota::Ticket first = quota.Enter(Certificate("a"));
  Quota::Ticket second = quota.Enter(Certificate("a"));
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(quota.Enter(Certificate("a")));
  EXPECT_TRUE(quota.Enter(Certificate("b")));
  { const Quota::Ticket given_back = std::move(first); }
  EXPECT_TRUE(quota.Enter(Certificate("a")));
}

TEST(Quota, WhoComesOverTheUnixSocketHasNoLimit) {
  Quota quota(2);
  std::vector<Quota::Ticket> tickets;
  for (int i = 0; i < 100; ++i) {
    tickets.push_back(quota.Enter({Identity::Kind::kUnixSocket, "", true}));
    EXPECT_TRUE(tickets.back());
  }
}

}  // namespace
}  // namespace sluice::rpc
