// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/door.h"

#include <utility>

#include "core/check.h"
#include "server/nbd/placement.h"
#include "server/nbd/roster.h"

namespace sluice::nbd {
Presence::Presence(Door& door) : door_(&door) { door.inside_.fetch_add(1); }

Presence::~Presence() {
  if (door_ != nullptr) door_->Left();
}

Door::Door(ReactorSet& reactors, const ExportDirectory& exports, const DoorOptions& options,
           absl::AnyInvocable<void()> room)
    : reactors_(reactors),
      exports_(exports),
      options_(options),
      handshakes_(options.handshakes, std::move(room)),
      places_(options.connections) {
  for (uint16_t id = 0; id < reactors.size(); ++id) {
    rosters_.push_back(std::make_unique<Roster>(*this, reactors.at(id)));
  }
}

Door::~Door() { SLUICE_CHECK(inside_.load() == 0); }

void Door::Enter(std::unique_ptr<Transport> transport, Peer peer, Turnstile::Ticket handshake) {
  const uint64_t id = next_id_.fetch_add(1) + 1;
  const auto reactor = static_cast<uint16_t>(id % reactors_.size());
  Guest guest{id, std::move(transport), std::move(peer), Presence(*this)};
  reactors_.at(reactor).Post([roster = rosters_[reactor].get(), guest = std::move(guest),
                              handshake = std::move(handshake)]() mutable {
    roster->Welcome(std::move(guest), std::move(handshake));
  });
}

Admission Door::Admit(const Export& exported, uint16_t here, absl::AnyInvocable<void()> done,
                      bool all) {
  // Who asked may be gone before this is through, and the exports with him.
  Kin kin = KinOf(exports_, exported);
  const uint64_t earlier = exported.admissions_begun.fetch_add(1);
  const bool overlapped = exported.admissions_ended.load() != earlier;
  for (size_t i = 1; i < kin.size(); ++i) kin[i]->admissions_begun.fetch_add(1);
  struct Count {
    uint16_t left;
    Kin kin;
    absl::AnyInvocable<void()> done;
  };
  // Counted down on reactor `here` alone.
  auto count = std::make_shared<Count>(Count{reactors_.size(), std::move(kin), std::move(done)});
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    reactors_.at(id).Post([this, id, here, &exported, count, all] {
      rosters_[id]->SettleGhosts(exported, all, [this, here, count] {
        reactors_.at(here).Post([count] {
          if (--count->left != 0) return;
          for (const auto& each : count->kin) each->admissions_ended.fetch_add(1);
          count->done();
        });
      });
    });
  }
  return Admission{&exported, earlier + 1, overlapped};
}

uint16_t Door::HomeOf(const Export& exported) const {
  if (exported.target->home() != kNoHome) return exported.target->home();
  return static_cast<uint16_t>(exported.first_flow / kFlowsPerExport % reactors_.size());
}

void Door::Resume(Parked parked) {
  const Export& exported = static_cast<const Export&>(*parked.negotiated.exported);
  const uint16_t place = PlaceConnection(reactors_, HomeOf(exported));
  reactors_.at(place).Post([roster = rosters_[place].get(), parked = std::move(parked)]() mutable {
    roster->Resume(std::move(parked));
  });
}

void Door::Drain(absl::AnyInvocable<void()> done) {
  drained_ = std::move(done);
  Presence last(*this);  // so that the count reaches zero after draining_ is seen
  draining_.store(true);
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    reactors_.at(id).Post([roster = rosters_[id].get()] { roster->Drain(); });
  }
}

DoorSnapshot Door::Snapshot() const {
  DoorSnapshot to;
  to.name = DoorName(DoorKind::kNbd);
  to.connections = inside();
  to.connections_max = uint64_t{handshakes_.limit()} + places_.limit();
  to.handshakes = handshakes_.inside();
  to.handshakes_max = handshakes_.limit();
  to.refused = {{"limit"}, {"held"}, {"timeout"}};
  for (const auto& roster : rosters_) {
    const Refusals& refusals = roster->refusals();
    to.refused[0].count += refusals.limit.value();
    to.refused[1].count += refusals.held.value();
    to.refused[2].count += refusals.timeout.value();
  }
  return to;
}

void Door::Left() noexcept {
  if (inside_.fetch_sub(1) != 1 || !draining_.load()) return;
  reactors_.at(0).Post([this] {
    if (drained_ != nullptr && inside_.load() == 0) std::exchange(drained_, nullptr)();
  });
}

}  // namespace sluice::nbd
