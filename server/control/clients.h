// SPDX-License-Identifier: Apache-2.0
// Who has an export open, door by door, as the control plane sees it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/reactor.h"
#include "server/export_table.h"
#include "server/nbd/door.h"

namespace sluice {

struct Client {
  std::string handle;  // for End(); unique while the server runs, over all doors
  std::shared_ptr<const Export> exported;
  std::string peer;
  // Of a session of the data door; empty and 0 for an NBD connection.
  std::string client_id;
  std::string instance_id;
  uint8_t access_mode = 0;  // as sluice.v1.AccessMode
  uint64_t epoch = 0;
  uint64_t lease_left_ms = 0;
};

// One door. Its calls block, and are not for reactors.
class ClientDoor {
 public:
  virtual ~ClientDoor() = default;
  virtual std::vector<Client> List() = 0;
  // Fences those that `which` wants: nothing more of them is parsed, what they have queued is
  // dropped, what is at a drive has ended when this returns. `which` is called on any thread.
  virtual void End(const std::function<bool(const Client&)>& which, const std::string& why) = 0;
};

class NbdClients final : public ClientDoor {
 public:
  // Both outlive it.
  NbdClients(ReactorSet& reactors, nbd::Door& door) : reactors_(reactors), door_(door) {}
  std::vector<Client> List() override;
  void End(const std::function<bool(const Client&)>& which, const std::string& why) override;

 private:
  ReactorSet& reactors_;
  nbd::Door& door_;
};

}  // namespace sluice
