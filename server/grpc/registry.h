// SPDX-License-Identifier: Apache-2.0
// The sessions of the gRPC door: who holds which export, in which mode, until when. It admits new
// ones -- displaced holders and dead NBD connections have nothing left on the way to a drive, and
// the new epoch is durable, before one is granted -- and ends those whose lease is over.
//
// Who presents an epoch says: nobody but me has written since. So whoever else is admitted to write
// to the same bytes, through a kin export (server/kin.h) or the NBD door, raises it first; and it
// is granted as spent already where NBD connections stand beside.
//
// Lives on one reactor; Find() may be called on any thread. Sessions run on the reactor of their
// export. Answers come on the registry's reactor.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "server/access.h"
#include "server/export_table.h"
#include "server/grpc/epochs.h"
#include "server/grpc/op.h"
#include "server/grpc/session.h"
#include "server/kin.h"

namespace sluice::rpc {

// As sluice.v1.AccessMode, by number.
enum class Mode : uint8_t { kReadOnly = 1, kReadWrite = 2, kReadWriteShared = 3 };

struct OpenAsk {
  std::string export_name;
  Mode mode = Mode::kReadOnly;
  std::string client_id;
  std::string instance_id;
  Identity identity;   // what the door vouches for
  std::string peer;    // for the log
  uint64_t epoch = 0;  // the one that must still be the newest; 0: any
  bool force = false;
};

struct OpenAnswer {
  Reason refused = Reason::kNone;
  std::string text;  // why, for humans
  std::string session_id;
  uint64_t epoch = 0;
  uint64_t lease_ms = 0;
  std::shared_ptr<const Export> exported;
  std::string holder;            // kMountConflict: who, and
  uint64_t holder_lease_ms = 0;  // how long at least
};

struct SessionInfo {
  uint64_t handle = 0;  // not the secret id
  std::string export_name;
  std::string client_id;
  std::string instance_id;
  std::string peer;
  Mode mode = Mode::kReadOnly;
  uint64_t epoch = 0;
  uint64_t lease_left_ms = 0;
  int64_t began_unix_ns = 0;
  std::shared_ptr<const Export> exported;
  std::shared_ptr<Session> session;  // for its counts
};

// What becomes of a session. Fenced: taken over, revoked, or out of lease.
enum class SessionEvent : uint8_t { kOpened, kClosed, kFenced };

class Registry {
 public:
  struct Options {
    uint64_t lease_ns = 0;
    uint32_t sessions_max = 1000;  // of these, one certificate has a quarter at most
    SessionOptions session;
  };
  // Settles the NBD connections of an export and its kin whose peers are gone, or cuts all of them,
  // and calls `done` on the registry's reactor when nothing of those is left at a drive.
  using SettleNbd =
      absl::AnyInvocable<void(const Export& exported, bool all, absl::AnyInvocable<void()> done)>;

  // Any thread. All that is referred to outlives it; the directory's entries are Exports.
  Registry(ReactorSet& reactors, Reactor& here, const ExportDirectory& exports, Epochs& epochs,
           const Options& options, SettleNbd settle_nbd);
  ~Registry();  // REQUIRES: no session and no opening
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  struct Found {
    Reason refused = Reason::kNone;
    std::shared_ptr<Session> session;
  };
  // Any thread.
  Found Find(const std::string& session_id, uint64_t epoch) const;

  // `watch` is told, on the registry's reactor, with a text for humans. Once, before the first.
  using SessionWatch =
      absl::AnyInvocable<void(SessionEvent event, uint64_t handle, const std::string& text)>;
  void Watch(SessionWatch watch) { watch_ = std::move(watch); }

  // --- the registry's reactor ---
  void Open(OpenAsk ask, absl::AnyInvocable<void(OpenAnswer)> answer);
  // The lease from now on, ms.
  void KeepAlive(const std::string& session_id, uint64_t epoch,
                 absl::AnyInvocable<void(Reason, uint64_t lease_ms)> answer);
  void Close(const std::string& session_id, uint64_t epoch,
             absl::AnyInvocable<void(Reason)> answer);
  // Fences a session; `answer` when nothing of it can reach a drive any more. kNotFound: no such.
  void Revoke(uint64_t handle, absl::AnyInvocable<void(Reason)> answer);
  std::vector<SessionInfo> List() const;
  // The export of that name is `next` from now on: the same bytes and more, on the same reactor. It
  // is in the directory already. Its sessions go over to it and tell their clients; `done` when
  // none uses the old one any more.
  void OnExportChanged(std::shared_ptr<const Export> next, absl::AnyInvocable<void()> done);
  // An NBD connection that may write is about to be admitted; false: it must not be.
  void OnNbdWriter(std::shared_ptr<const Export> exported, absl::AnyInvocable<void(bool)> answer);
  // 0: none was ever granted.
  uint64_t NewestEpoch(const std::string& export_name) const {
    return epochs_.Current(export_name);
  }
  // No session is opened any more; those there are answer what is in flight, then end.
  void Drain(absl::AnyInvocable<void()> done);

 private:
  struct Holder;
  // What is known of one export that ever had a session.
  struct Held {
    std::vector<Holder*> holders;
    bool opening = false;                 // a turn of it or of a kin is under way
    std::shared_ptr<const Export> taken;  // whose Exclusion is taken
    uint32_t settling = 0;  // sessions that ended and may still have something at a drive
    std::vector<absl::AnyInvocable<void()>> at_rest;  // called when nobody settles any more
  };
  struct Holder {
    std::string id;
    uint64_t handle;
    Held* held;
    std::shared_ptr<const Export> exported;
    std::shared_ptr<Session> session;
    OpenAsk ask;
    uint64_t epoch;
    uint64_t renewed_ns;
    int64_t began_unix_ns;
  };
  // What is done with an export while nothing else is done with it or its kin; ends in Finished().
  struct Turn {
    std::string export_name;
    bool writes;                            // else its kin do not matter
    absl::AnyInvocable<void(Kin kin)> run;  // no kin: the export is gone
  };
  // One OpenVolume on its way.
  struct Opening {
    OpenAsk ask;
    absl::AnyInvocable<void(OpenAnswer)> answer;
    Kin kin;  // the export itself first
    std::shared_ptr<const Export> exported;
    Held* held = nullptr;
    std::vector<uint64_t> displaced;  // handles
    bool took_exclusion = false;
    uint64_t epoch = 0;
  };
  using OpeningPtr = std::shared_ptr<Opening>;
  struct OwnTimer : Timer {
    Registry* registry = nullptr;
  };

  void InTurn(Turn turn);
  void StartTurns();
  void Finished(const Kin& kin);

  // The steps of an opening, each ending in the next or in Refuse().
  void Start(OpeningPtr opening);
  bool Judge(Opening& opening, OpenAnswer& refusal);
  void SettleOthers(OpeningPtr opening);
  void LookAgain();
  void Displace(OpeningPtr opening);
  void RaiseEpoch(OpeningPtr opening);
  std::map<std::string, uint64_t> EpochsOfOthers(const Kin& kin) const;
  void Grant(OpeningPtr opening);
  void Refuse(Opening& opening, OpenAnswer answer);
  OpenAnswer Conflicting(Opening& opening);
  OpenAnswer BeyondLimits(const Opening& opening) const;
  void Change(const std::shared_ptr<const Export>& next, absl::AnyInvocable<void()> done);

  static bool WantsAlone(const Opening& opening);
  uint64_t LeaseEnd(const Holder& holder) const;
  uint64_t LeaseLeftMs(const Holder& holder) const;
  Holder* HolderOf(uint64_t handle);
  void Tell(SessionEvent event, const Holder& holder, const std::string& what);
  // Takes the holder out; its session is ended and `settled` called when nothing of it is left.
  void Remove(Holder& holder, Reason why, bool abandon, absl::AnyInvocable<void()> settled);
  void Settled(Held& held);
  static void ReleaseIfFree(Held& held);
  void EndLeases();
  void ArmLeases();

  ReactorSet& reactors_;
  Reactor& here_;
  const ExportDirectory& exports_;
  Epochs& epochs_;
  const Options options_;
  SettleNbd settle_nbd_;
  SessionWatch watch_;

  std::list<Turn> line_;
  std::map<std::string, uint64_t> spent_;  // by export's name: an epoch that nobody may present
  // By the export's name, for ever, as epochs are: as many as administrators ever gave names to.
  std::map<std::string, Held> held_;
  std::map<uint64_t, std::unique_ptr<Holder>> holders_;  // by handle
  uint64_t last_handle_ = 0;
  uint16_t next_reactor_ = 0;
  bool draining_ = false;
  OwnTimer leases_;
  OwnTimer look_;                    // armed while somebody waits in leaving_
  std::vector<OpeningPtr> leaving_;  // openings that wait for NBD connections that were cut

  struct Known {
    std::shared_ptr<Session> session;  // null: fenced
    uint64_t epoch = 0;
    uint64_t handle = 0;
  };
  mutable std::mutex mutex_;                       // not absl's: it hides from the thread sanitizer
  absl::flat_hash_map<std::string, Known> known_;  // guarded by mutex_
  std::deque<std::string> fenced_;                 // guarded by mutex_; the latest
};

}  // namespace sluice::rpc
