// SPDX-License-Identifier: Apache-2.0
// The NBD door of the process: what its connections on all reactors share -- exports, limits, who
// is inside -- and the admission of new ones. Any thread, unless said otherwise.
//
// Admission (no late ghosts). Before GO or EXPORT_NAME is answered, every reactor looks at its
// connections of that export and its kin; where the peer has closed, the connection is cut and the
// admission waits until nothing of it is left at a disk. A connection that is still on its way to
// its reactor cannot be looked at: on arrival it looks at itself, unless its admission was alone
// (Overtaken). Then the connection is announced, if it may write, for others to know that they are
// not the only ones any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "server/export_table.h"
#include "server/kin.h"
#include "server/nbd/handshake.h"
#include "server/nbd/member.h"
#include "server/stats_snapshot.h"
#include "server/turnstile.h"

namespace sluice::nbd {

class Roster;

// What becomes of a connection past its handshake.
enum class ClientEvent : uint8_t { kOpened, kClosed, kFenced };

struct DoorOptions {
  uint32_t handshakes = 100;
  uint32_t connections = 1000;
  uint64_t handshake_timeout_ns = 0;  // of the whole handshake
  uint64_t payload_timeout_ns = 0;    // of a payload or an answer that does not get on
  uint64_t idle_timeout_ns = 0;       // 0: never
  uint32_t requests = 256;            // that one connection may have outstanding
};

// One admission. `number` counts those that began, of one export.
struct Admission {
  const Export* exported = nullptr;
  uint64_t number = 0;
  bool overlapped = false;  // another one was under way when it began

  // Another admission was or may have been under way since this one began.
  bool Overtaken() const { return overlapped || exported->admissions_begun.load() != number; }
};

// A connection between its handshake and its reactor: nothing in flight, nothing unsent.
struct Parked {
  Guest guest;
  Turnstile::Ticket place;
  Exclusion::Seat seat;
  Negotiated negotiated;
  Admission admission;
};

class Door {
 public:
  // `room` is called when the handshakes' turnstile has room again; any thread. The reactors, and
  // `exports`, whose entries are Exports, outlive the door.
  Door(ReactorSet& reactors, const ExportDirectory& exports, const DoorOptions& options,
       absl::AnyInvocable<void()> room);
  ~Door();  // REQUIRES: nobody inside
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  const DoorOptions& options() const { return options_; }
  const ExportDirectory& exports() const { return exports_; }
  Turnstile& handshakes() { return handshakes_; }
  Turnstile& places() { return places_; }

  // A new connection begins its handshake, on the reactors in turn.
  void Enter(std::unique_ptr<Transport> transport, Peer peer, Turnstile::Ticket handshake);

  // To whom connections that may write are announced before they are admitted: called on any
  // reactor, calls `done` on that one; false: the connection must not be admitted. Before Enter().
  using Announce =
      absl::AnyInvocable<void(std::shared_ptr<const Export>, absl::AnyInvocable<void(bool)>) const>;
  void AnnounceWriters(Announce announce) { announce_ = std::move(announce); }

  // On a reactor; `done` is called there, or from inside.
  void AnnounceWriter(const Export& exported, absl::AnyInvocable<void(bool)> done) const {
    if (announce_ == nullptr || exported.read_only) return done(true);
    announce_(exported.shared_from_this(), std::move(done));
  }

  // Settles the ghosts of `exported` and its kin, or (`all`) cuts every connection of these, then
  // calls `done` on reactor `here`.
  Admission Admit(const Export& exported, uint16_t here, absl::AnyInvocable<void()> done,
                  bool all = false);

  // Sends an admitted connection to the reactor that is to serve it (placement.h).
  void Resume(Parked parked);

  // `watch` is told, with the reason of an end for humans; on the connection's reactor, several at
  // a time, so it keeps nothing of its own. Once, before Enter().
  using ClientWatch =
      std::function<void(ClientEvent event, const Member& member, absl::string_view why)>;
  void Watch(ClientWatch watch) { watch_ = std::move(watch); }
  void Tell(ClientEvent event, const Member& member, absl::string_view why) const {
    if (watch_ != nullptr) watch_(event, member, why);
  }

  // Every connection finishes what is in flight, takes nothing new, and goes; those that enter
  // later do so at once. `done` is called on reactor 0 when all are gone. Once.
  void Drain(absl::AnyInvocable<void()> done);

  uint32_t inside() const { return inside_.load(); }
  // What this door says of itself, but for its listeners.
  DoorSnapshot Snapshot() const;

  // The connections of one reactor: for that reactor's thread.
  Roster& roster(uint16_t reactor) { return *rosters_[reactor]; }

 private:
  friend class Presence;
  void Left() noexcept;
  // Of its target; exports whose target has none are dealt out.
  uint16_t HomeOf(const Export& exported) const;

  ReactorSet& reactors_;
  const ExportDirectory& exports_;
  const DoorOptions options_;
  Announce announce_;
  ClientWatch watch_;
  Turnstile handshakes_;
  Turnstile places_;
  std::vector<std::unique_ptr<Roster>> rosters_;  // by reactor
  std::atomic<uint64_t> next_id_{0};
  std::atomic<uint32_t> inside_{0};
  std::atomic<bool> draining_{false};
  absl::AnyInvocable<void()> drained_;  // written before draining_
};

}  // namespace sluice::nbd
