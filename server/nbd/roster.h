// SPDX-License-Identifier: Apache-2.0
// The NBD connections of one reactor: owns them, looks at them for admissions, drains them. The
// reactor's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "core/reactor.h"
#include "core/stats.h"
#include "server/nbd/door.h"
#include "server/nbd/member.h"
#include "server/nbd/session.h"

namespace sluice::nbd {

// Connections that were not let in, or not to the end of their handshake. Any thread reads it.
struct Refusals {
  Counter limit;    // as many connections as may be
  Counter held;     // a session has the export for itself
  Counter timeout;  // the handshake took too long
};

class Roster {
 public:
  Roster(Door& door, Reactor& reactor);  // any thread
  ~Roster();
  Roster(const Roster&) = delete;
  Roster& operator=(const Roster&) = delete;

  Door& door() { return door_; }
  Reactor& reactor() { return reactor_; }
  Refusals& refusals() { return refusals_; }

  void Welcome(Guest guest, Turnstile::Ticket handshake);
  void Resume(Parked parked);

  // The admission of the handshake `id` is through, `may`: well; nothing if that connection is
  // gone.
  void Admitted(uint64_t id, bool may);

  // Cuts the connections of `exported` and its kin whose peers have closed, or all of them; calls
  // `done` when these, and those that were leaving already, are gone. At once if there are none.
  void SettleGhosts(const Export& exported, bool all, absl::AnyInvocable<void()> done);

  // What ListMembers() tells of a connection past its handshake.
  struct Opened {
    uint64_t id;
    std::shared_ptr<const Export> exported;
    std::string peer;
    Session::Counts counts;
    uint32_t inflight;
    int64_t began_unix_ns;
  };
  void ListMembers(std::vector<Opened>& to) const;

  // Cuts those connections that `which` wants; calls `done` when they are gone. At once if there
  // are none.
  void CutIf(absl::FunctionRef<bool(const Member&)> which, absl::string_view why,
             absl::AnyInvocable<void()> done);

  void Drain();

  // The member is deleted in the next turn, when none of its tasks is listed any more.
  void Leave(Member& member);

 private:
  struct Settling {
    absl::flat_hash_set<uint64_t> ids;
    absl::AnyInvocable<void()> done;
  };
  void Add(std::unique_ptr<Member> member);
  void Settle(Settling settling, absl::string_view why, bool fenced);
  void Reap();

  Door& door_;
  Reactor& reactor_;
  bool draining_ = false;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Member>> members_;
  std::vector<std::unique_ptr<Member>> gone_;
  std::vector<Settling> settling_;
  Refusals refusals_;
};

}  // namespace sluice::nbd
