// SPDX-License-Identifier: Apache-2.0
// Who has an export open, door by door, as the control plane sees it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/reactor.h"
#include "server/control/event_log.h"
#include "server/export_table.h"
#include "server/nbd/door.h"

namespace sluice {

// The doors, as the first part of their clients' handles.
inline constexpr char kNbdClients[] = "nbd";
inline constexpr char kGrpcClients[] = "grpc";
inline std::string DoorOf(const std::string& handle) { return handle.substr(0, handle.find('-')); }

struct Client {
  std::string handle;  // DOOR-NUMBER, for End(); unique while the server runs
  std::shared_ptr<const Export> exported;
  std::string peer;
  // Of a session of the data door; empty and 0 for an NBD connection.
  std::string client_id;
  std::string instance_id;
  uint8_t access_mode = 0;  // as sluice.v1.AccessMode
  uint64_t epoch = 0;
  uint64_t lease_left_ms = 0;
  uint32_t streams = 0;
  // Since it began; `inflight`: requests under way.
  uint32_t inflight = 0;
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t read_bytes = 0;
  uint64_t written_bytes = 0;
  int64_t began_unix_ns = 0;
};

// One door. Its calls block, and are not for reactors.
class ClientDoor {
 public:
  virtual ~ClientDoor() = default;
  virtual std::vector<Client> List() = 0;
  // An export has grown: those who can be told are.
  virtual void OnGrown(const std::shared_ptr<const Export>& exported) {
    static_cast<void>(exported);
  }
  // Fences those that `which` wants: nothing more of them is parsed, what they have queued is
  // dropped, what is at a drive has ended when this returns. `which` is called on any thread.
  virtual void End(const std::function<bool(const Client&)>& which, const std::string& why) = 0;
};

class NbdClients final : public ClientDoor {
 public:
  // Both outlive it.
  NbdClients(ReactorSet& reactors, nbd::Door& door) : reactors_(reactors), door_(door) {}
  // Tells the log, which outlives the door's connections, of those that come and go. Once, before
  // any comes.
  void WatchBy(EventLog& events);
  std::vector<Client> List() override;
  void End(const std::function<bool(const Client&)>& which, const std::string& why) override;

 private:
  ReactorSet& reactors_;
  nbd::Door& door_;
};

}  // namespace sluice
