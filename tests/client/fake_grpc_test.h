// SPDX-License-Identifier: Apache-2.0
// A test that opens volumes at FakeGrpcServers, and counts what they tell.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <utility>

#include "sluice/client.h"
#include "tests/client/fake_grpc_server.h"

namespace sluice {

class FakeGrpcTest : public ::testing::Test {
 protected:
  Volume Open(const FakeGrpcServer& server, Options options = {}) {
    options.on_event = [this](Event event, const std::string&) {
      ++events_[static_cast<size_t>(event)];
    };
    auto volume = client_->Open(server.uri(), options);
    EXPECT_TRUE(volume.ok()) << volume.status().ToString();
    return *std::move(volume);
  }
  int Count(Event event) const { return events_[static_cast<size_t>(event)]; }

  std::atomic<int> events_[8] = {};
  Result<Client> client_ = Client::Create();
};

}  // namespace sluice
