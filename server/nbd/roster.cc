// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/roster.h"

#include <utility>

#include "core/check.h"
#include "server/kin.h"
#include "server/nbd/connection.h"
#include "server/nbd/welcome.h"

namespace sluice::nbd {

Roster::Roster(Door& door, Reactor& reactor) : door_(door), reactor_(reactor) {}

// A handshake that passed its connection on may wait for its end here when the reactor stops: it
// counts as nobody inside the door any more.
Roster::~Roster() { SLUICE_CHECK(members_.empty()); }

void Roster::Add(std::unique_ptr<Member> member) {
  Member& added = *member;
  members_.emplace(added.id(), std::move(member));
  if (draining_) added.Drain();
}

void Roster::Welcome(Guest guest, Turnstile::Ticket handshake) {
  auto welcome = std::make_unique<nbd::Welcome>(*this, std::move(guest), std::move(handshake));
  nbd::Welcome& added = *welcome;
  Add(std::move(welcome));
  added.Start();
}

void Roster::Resume(Parked parked) {
  auto connection = std::make_unique<Connection>(*this, std::move(parked));
  Connection& added = *connection;
  Add(std::move(connection));
  added.Start();
}

void Roster::Admitted(uint64_t id, bool may) {
  const auto found = members_.find(id);
  if (found != members_.end()) static_cast<nbd::Welcome&>(*found->second).Admitted(may);
}

void Roster::SettleGhosts(const Export& exported, bool all, absl::AnyInvocable<void()> done) {
  Settling settling;
  for (const auto& [id, member] : members_) {
    if (member->exported() == nullptr || !AreKin(*member->exported(), exported)) continue;
    // Who lingers has nothing at a disk and only waits for its last answers to be taken.
    if (member->lingering() && !all) continue;
    if (all || member->leaving() || member->PeerClosed()) settling.ids.insert(id);
  }
  settling.done = std::move(done);
  Settle(std::move(settling),
         all ? "another client takes over" : "its peer has closed, and another client was admitted",
         all);
}

void Roster::Settle(Settling settling, absl::string_view why, bool fenced) {
  for (const uint64_t id : settling.ids) members_.at(id)->Cut(why, fenced);
  // What has left, just now or earlier this turn, has nothing at a disk.
  absl::erase_if(settling.ids, [this](uint64_t id) { return !members_.contains(id); });
  if (settling.ids.empty()) return settling.done();
  settling_.push_back(std::move(settling));
}

void Roster::ListMembers(std::vector<Opened>& to) const {
  for (const auto& [id, member] : members_) {
    if (member->exported() == nullptr) continue;
    const Session& session = *member->session();
    to.push_back({id, member->exported()->shared_from_this(), member->peer_text(), session.counts(),
                  session.inflight(), member->began_unix_ns()});
  }
}

void Roster::CutIf(absl::FunctionRef<bool(const Member&)> which, absl::string_view why,
                   absl::AnyInvocable<void()> done) {
  Settling settling;
  for (const auto& [id, member] : members_) {
    if (which(*member)) settling.ids.insert(id);
  }
  settling.done = std::move(done);
  Settle(std::move(settling), why, true);
}

void Roster::Drain() {
  draining_ = true;
  std::vector<uint64_t> ids;
  for (const auto& [id, member] : members_) ids.push_back(id);
  for (const uint64_t id : ids) {
    const auto found = members_.find(id);
    if (found != members_.end()) found->second->Drain();
  }
}

void Roster::Leave(Member& member) {
  const uint64_t id = member.id();
  const auto found = members_.find(id);
  SLUICE_CHECK(found != members_.end());
  if (gone_.empty()) reactor_.Post([this] { Reap(); });
  gone_.push_back(std::move(found->second));
  members_.erase(found);
  for (size_t i = 0; i < settling_.size();) {
    settling_[i].ids.erase(id);
    if (!settling_[i].ids.empty()) {
      ++i;
      continue;
    }
    absl::AnyInvocable<void()> done = std::move(settling_[i].done);
    settling_.erase(settling_.begin() + static_cast<ptrdiff_t>(i));
    done();
  }
}

void Roster::Reap() {
  std::vector<std::unique_ptr<Member>> gone;
  gone.swap(gone_);
}

}  // namespace sluice::nbd
