// SPDX-License-Identifier: Apache-2.0
// What the control services speak for. Free of gRPC.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "server/control/control.h"
#include "server/stats_snapshot.h"

namespace sluice::rpc {

struct ServerFacts {
  std::string version;
  std::string instance;  // random, new at each start
  int64_t began_unix_ns = 0;
  std::vector<std::string> features;
  uint32_t nbd_connections = 0;
  uint32_t grpc_connections = 0;
  uint64_t pool_bytes = 0;        // of each reactor
  uint32_t drain_timeout_ms = 0;  // what a drain has if it is not told
};

// All that is referred to outlives the door's calls.
struct Management {
  Control& control;
  ReactorSet& reactors;
  ServerFacts facts;
  absl::AnyInvocable<StatsSnapshot() const> snapshot;  // any thread
  // As SIGTERM, with that time limit. Any thread; returns at once.
  absl::AnyInvocable<void(uint32_t timeout_ms)> drain;
};

}  // namespace sluice::rpc
