// SPDX-License-Identifier: Apache-2.0
// The sessions of the gRPC door, as the control plane sees them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/reactor.h"
#include "server/control/clients.h"
#include "server/control/event_log.h"
#include "server/grpc/registry.h"

namespace sluice::rpc {

class Clients final : public ClientDoor {
 public:
  // `here`: the registry's. Both outlive it.
  Clients(Reactor& here, Registry& registry) : here_(here), registry_(registry) {}
  // As NbdClients::WatchBy().
  void WatchBy(EventLog& events);
  std::vector<Client> List() override;
  void OnGrown(const std::shared_ptr<const Export>& exported) override;
  void End(const std::function<bool(const Client&)>& which, const std::string& why) override;

 private:
  std::vector<SessionInfo> Sessions();

  Reactor& here_;
  Registry& registry_;
};

}  // namespace sluice::rpc
