// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/call.h"

#include <grpcpp/server_context.h>
#include <gtest/gtest.h>

#include "tests/server/grpc/registry_fixture.h"

namespace sluice::rpc {
namespace {

class CallTest : public RegistryTest {
 protected:
  class Guest final : public Call {
   public:
    explicit Guest(Host& host) : Call(host, host.streams) {}
    using Call::Enter;
  };

  Host host_{*registry_, reactors_.at(0)};
};

// Whoever hears that none is left may let go of the host, and of its quotas.
TEST_F(CallTest, TheLastOneGivesItsPlaceBackBeforeItTellsThatNoneIsLeft) {
  const Identity local{Identity::Kind::kUnixSocket, "", true};
  bool all_places_are_free = false;
  host_.none_left = [&] { all_places_are_free = host_.streams.Enter(local, kStreams.of_all).ok(); };
  {
    Guest guest(host_);
    ::grpc::ServerContext context;
    ASSERT_TRUE(guest.Enter(context).ok());
    host_.Leave();  // the door's own
  }
  EXPECT_TRUE(all_places_are_free);
}

}  // namespace
}  // namespace sluice::rpc
