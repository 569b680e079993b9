// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/registry.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"
#include "server/text.h"

namespace sluice::rpc {
namespace {

constexpr size_t kFencedMax =
    4096;  // sessions that are told they were fenced, not that they are lost
constexpr uint64_t kLookEveryNs = kSecond / 4;

std::string RandomId() {
  char bytes[16];
  SLUICE_CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
  return std::string(bytes, sizeof(bytes));
}

bool Writes(Mode mode) { return mode != Mode::kReadOnly; }

bool Conflict(Mode wanted, Mode held) {
  if (!Writes(wanted) || !Writes(held)) return false;
  return wanted == Mode::kReadWrite || held == Mode::kReadWrite;
}

OpenAnswer Refusal(Reason reason, std::string text = "") {
  OpenAnswer answer;
  answer.refused = reason;
  answer.text = text.empty() ? TextOf(reason) : std::move(text);
  return answer;
}

// Calls `done` when as many ended as began, its maker's own included. One thread.
class Steps {
 public:
  explicit Steps(absl::AnyInvocable<void()> done) : done_(std::move(done)) {}
  void Begin() { ++left_; }
  void End() {
    if (--left_ == 0) done_();
  }

 private:
  size_t left_ = 1;
  absl::AnyInvocable<void()> done_;
};

const char* ModeName(Mode mode) {
  switch (mode) {
    case Mode::kReadOnly:
      return "read-only";
    case Mode::kReadWrite:
      return "read-write";
    case Mode::kReadWriteShared:
      return "read-write shared";
  }
  return "?";
}

}  // namespace

Registry::Registry(ReactorSet& reactors, Reactor& here, const ExportDirectory& exports,
                   Epochs& epochs, const Options& options, SettleNbd settle_nbd)
    : reactors_(reactors),
      here_(here),
      exports_(exports),
      epochs_(epochs),
      options_(options),
      settle_nbd_(std::move(settle_nbd)) {
  leases_.registry = this;
  leases_.run = [](Timer& timer) noexcept {
    static_cast<LeaseTimer&>(timer).registry->EndLeases();
  };
}

Registry::~Registry() { SLUICE_CHECK(holders_.empty() && !leases_.armed()); }

Registry::Found Registry::Find(const std::string& session_id, uint64_t epoch) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = known_.find(session_id);
  if (found == known_.end()) return {Reason::kSessionLost, nullptr};
  const Known& known = found->second;
  if (known.session == nullptr || known.epoch != epoch) return {Reason::kStaleEpoch, nullptr};
  return {Reason::kNone, known.session};
}

// --- opening ---

void Registry::Open(OpenAsk ask, absl::AnyInvocable<void(OpenAnswer)> answer) {
  if (draining_) return answer(Refusal(Reason::kDraining));
  auto exported = exports_.Find(ask.export_name);
  if (exported == nullptr) return answer(Refusal(Reason::kNotFound));
  auto opening = std::make_shared<Opening>();
  opening->ask = std::move(ask);
  opening->answer = std::move(answer);
  opening->exported = std::static_pointer_cast<const Export>(std::move(exported));
  opening->held = &held_[opening->exported->name];
  if (opening->held->opening) {
    opening->held->queue.push_back([this, opening] { Start(opening); });
    return;
  }
  opening->held->opening = true;
  Start(std::move(opening));
}

void Registry::Start(OpeningPtr opening) {
  // While it stood in line the export may have become another.
  auto exported = exports_.Find(opening->exported->name);
  if (exported == nullptr) return Refuse(*opening, Refusal(Reason::kNotFound));
  opening->exported = std::static_pointer_cast<const Export>(std::move(exported));
  OpenAnswer refusal;
  if (!Judge(*opening, refusal)) return Refuse(*opening, std::move(refusal));
  if (!Writes(opening->ask.mode)) return Displace(std::move(opening));
  if (WantsAlone(*opening) && opening->ask.force && opening->held->taken == nullptr) {
    opening->took_exclusion = opening->exported->exclusion.Take(true);
    if (opening->took_exclusion) opening->held->taken = opening->exported;
  }
  SettleOthers(std::move(opening));
}

bool Registry::WantsAlone(const Opening& opening) {
  return opening.ask.mode == Mode::kReadWrite && opening.exported->nbd_excluded;
}

// What the export, the epoch and the other sessions have to say. Fills opening.displaced.
bool Registry::Judge(Opening& opening, OpenAnswer& refusal) {
  const OpenAsk& ask = opening.ask;
  if (draining_) {
    refusal = Refusal(Reason::kDraining);
  } else if (Writes(ask.mode) && opening.exported->read_only) {
    refusal = Refusal(Reason::kReadOnly, "the export is read-only: open it READ_ONLY");
  } else if (ask.epoch != 0 && ask.epoch != epochs_.Current(opening.exported->name)) {
    refusal = Refusal(Reason::kStaleEpoch, "a writer was admitted since that epoch");
  } else if (holders_.size() >= options_.sessions_max) {
    refusal = Refusal(Reason::kOverloaded, "as many sessions as the limit allows");
  }
  if (refusal.refused != Reason::kNone) return false;
  for (const Holder* holder : opening.held->holders) {
    if (holder->ask.client_id == ask.client_id) {
      opening.displaced.push_back(holder->handle);
    } else if (Conflict(ask.mode, holder->ask.mode)) {
      const uint64_t left_ms = LeaseLeftMs(*holder);
      if (left_ms > 0 && !ask.force) {
        refusal = Refusal(
            Reason::kMountConflict,
            absl::StrCat("held ", ModeName(holder->ask.mode), " by ", Quote(holder->ask.client_id),
                         ", its lease runs ", left_ms, " ms; wait, or take over with force"));
        refusal.holder = holder->ask.client_id;
        refusal.holder_lease_ms = left_ms;
        return false;
      }
      opening.displaced.push_back(holder->handle);
    }
  }
  return true;
}

// NBD connections: the dead ones are settled (no late ghosts), all are cut if this is a takeover.
void Registry::SettleOthers(OpeningPtr opening) {
  const bool all = opening->took_exclusion;
  settle_nbd_(*opening->exported, all, [this, opening, all] {
    Exclusion& exclusion = opening->exported->exclusion;
    if (all && exclusion.seated() > 0) {
      // One on its way between two reactors was not seen, or its seat is about to be left.
      return here_.Post([this, opening] { SettleOthers(opening); });
    }
    if (WantsAlone(*opening) && opening->held->taken == nullptr) {
      if (!exclusion.Take(false)) {
        OpenAnswer refusal = Refusal(
            Reason::kMountConflict,
            absl::StrCat("held by ", exclusion.seated(),
                         " NBD connections; wait, open READ_WRITE_SHARED, or cut them with force"));
        refusal.holder = "NBD";
        return Refuse(*opening, std::move(refusal));
      }
      opening->held->taken = opening->exported;
      opening->took_exclusion = true;
    }
    Displace(opening);
  });
}

void Registry::Displace(OpeningPtr opening) {
  for (const uint64_t handle : opening->displaced) {
    Holder* holder = HolderOf(handle);
    if (holder != nullptr) Remove(*holder, Reason::kStaleEpoch, true, [] {});
  }
  if (opening->held->settling == 0) return RaiseEpoch(std::move(opening));
  opening->held->at_rest.push_back([this, opening] { RaiseEpoch(opening); });
}

void Registry::RaiseEpoch(OpeningPtr opening) {
  opening->epoch = epochs_.Current(opening->exported->name);
  if (!Writes(opening->ask.mode)) return Grant(std::move(opening));
  ++opening->epoch;
  epochs_.Raise(opening->exported->name, opening->epoch, [this, opening](absl::Status status) {
    if (status.ok()) return Grant(opening);
    Log(LogLevel::kError, absl::StrCat("grpc: no epoch can be granted: ", status.message()));
    Refuse(*opening, Refusal(Reason::kIoError, "the epoch could not be made durable"));
  });
}

void Registry::Grant(OpeningPtr opening) {
  if (draining_) return Refuse(*opening, Refusal(Reason::kDraining));
  const Export& exported = *opening->exported;
  const uint16_t home = exported.target->home() != kNoHome
                            ? exported.target->home()
                            : static_cast<uint16_t>(next_reactor_++ % reactors_.size());
  SessionOptions options = options_.session;
  options.writes = Writes(opening->ask.mode);
  options.flow = FlowOf(exported, static_cast<uint16_t>(absl::HashOf(opening->ask.client_id)));
  auto holder = std::make_unique<Holder>();
  holder->id = RandomId();
  holder->handle = ++last_handle_;
  holder->held = opening->held;
  holder->exported = opening->exported;
  holder->session = std::make_shared<Session>(reactors_.at(home), opening->exported, options);
  holder->ask = opening->ask;
  holder->epoch = opening->epoch;
  holder->renewed_ns = here_.now_ns();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    known_[holder->id] = {holder->session, holder->epoch, holder->handle};
  }
  Log(LogLevel::kInfo,
      absl::StrCat("grpc session ", holder->handle, " (", holder->ask.peer, ", ",
                   Quote(holder->ask.client_id), "): opened ", Quote(exported.name), " ",
                   ModeName(holder->ask.mode), ", epoch ", holder->epoch));
  OpenAnswer answer;
  answer.session_id = holder->id;
  answer.epoch = holder->epoch;
  answer.lease_ms = options_.lease_ns / kMillisecond;
  answer.exported = opening->exported;
  opening->held->holders.push_back(holder.get());
  holders_.emplace(holder->handle, std::move(holder));
  ArmLeases();
  opening->answer(std::move(answer));
  Finished(*opening->held);
}

void Registry::Refuse(Opening& opening, OpenAnswer answer) {
  opening.answer(std::move(answer));
  Finished(*opening.held);
}

void Registry::Finished(Held& held) {
  if (held.queue.empty()) {
    held.opening = false;
    return ReleaseIfFree(held);
  }
  // Not from inside: a line of refusals would recurse.
  here_.Post(std::move(held.queue.front()));
  held.queue.pop_front();
}

// --- holding ---

uint64_t Registry::LeaseEnd(const Holder& holder) const {
  return std::max(holder.renewed_ns, holder.session->heard_ns()) + options_.lease_ns;
}

uint64_t Registry::LeaseLeftMs(const Holder& holder) const {
  const uint64_t end_ns = LeaseEnd(holder);
  return end_ns <= here_.now_ns() ? 0 : (end_ns - here_.now_ns()) / kMillisecond + 1;
}

Registry::Holder* Registry::HolderOf(uint64_t handle) {
  const auto found = holders_.find(handle);
  return found == holders_.end() ? nullptr : found->second.get();
}

void Registry::KeepAlive(const std::string& session_id, uint64_t epoch,
                         absl::AnyInvocable<void(Reason, uint64_t)> answer) {
  for (const auto& [handle, holder] : holders_) {
    if (holder->id != session_id || holder->epoch != epoch) continue;
    holder->renewed_ns = here_.now_ns();
    return answer(Reason::kNone, options_.lease_ns / kMillisecond);
  }
  const Reason why = Find(session_id, epoch).refused;
  answer(why == Reason::kNone ? Reason::kSessionLost : why, 0);
}

void Registry::Close(const std::string& session_id, uint64_t epoch,
                     absl::AnyInvocable<void(Reason)> answer) {
  for (const auto& [handle, holder] : holders_) {
    if (holder->id != session_id || holder->epoch != epoch) continue;
    auto done = std::make_shared<absl::AnyInvocable<void(Reason)>>(std::move(answer));
    return Remove(*holder, Reason::kSessionLost, false, [done] { (*done)(Reason::kNone); });
  }
  const Reason why = Find(session_id, epoch).refused;
  answer(why == Reason::kNone ? Reason::kSessionLost : why);
}

void Registry::Revoke(uint64_t handle, absl::AnyInvocable<void(Reason)> answer) {
  Holder* holder = HolderOf(handle);
  if (holder == nullptr) return answer(Reason::kNotFound);
  auto done = std::make_shared<absl::AnyInvocable<void(Reason)>>(std::move(answer));
  Remove(*holder, Reason::kStaleEpoch, true, [done] { (*done)(Reason::kNone); });
}

std::vector<SessionInfo> Registry::List() const {
  std::vector<SessionInfo> list;
  for (const auto& [handle, holder] : holders_) {
    list.push_back({handle, holder->exported->name, holder->ask.client_id, holder->ask.instance_id,
                    holder->ask.peer, holder->ask.mode, holder->epoch, LeaseLeftMs(*holder),
                    holder->session});
  }
  return list;
}

void Registry::Remove(Holder& holder, Reason why, bool abandon,
                      absl::AnyInvocable<void()> settled) {
  Log(LogLevel::kInfo, absl::StrCat("grpc session ", holder.handle, " (",
                                    Quote(holder.ask.client_id), "): ended: ", TextOf(why)));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (why == Reason::kStaleEpoch) {
      known_[holder.id].session = nullptr;
      fenced_.push_back(holder.id);
      if (fenced_.size() > kFencedMax) {
        known_.erase(fenced_.front());
        fenced_.pop_front();
      }
    } else {
      known_.erase(holder.id);
    }
  }
  std::erase(holder.held->holders, &holder);
  ++holder.held->settling;
  auto session = std::move(holder.session);
  Reactor& home = session->reactor();
  home.Post([this, why, abandon, session = std::move(session), held = holder.held,
             settled = std::move(settled)]() mutable {
    Session& ending = *session;
    ending.End(why, abandon,
               [this, session = std::move(session), held, settled = std::move(settled)]() mutable {
                 // By way of its own reactor, for it is still inside a call there.
                 Reactor& its_home = session->reactor();
                 its_home.Post([this, session = std::move(session), held,
                                settled = std::move(settled)]() mutable {
                   here_.Post([this, session = std::move(session), held,
                               settled = std::move(settled)]() mutable {
                     settled();
                     Settled(*held);
                   });
                 });
               });
  });
  holders_.erase(holder.handle);
}

void Registry::Settled(Held& held) {
  if (--held.settling > 0) return;
  for (auto& go_on : std::exchange(held.at_rest, {})) go_on();
  ReleaseIfFree(held);
}

// NBD connections may come again when no session wants to be alone, and none that did has anything
// left at a drive.
void Registry::ReleaseIfFree(Held& held) {
  if (held.taken == nullptr || held.opening || held.settling > 0) return;
  for (const Holder* holder : held.holders) {
    if (holder->ask.mode == Mode::kReadWrite) return;
  }
  std::exchange(held.taken, nullptr)->exclusion.Release();
}

void Registry::OnExportChanged(std::shared_ptr<const Export> next,
                               absl::AnyInvocable<void()> done) {
  Held& held = held_[next->name];
  if (!held.opening) return Change(held, next, std::move(done));
  held.queue.push_back([this, &held, next = std::move(next), done = std::move(done)]() mutable {
    Change(held, next, std::move(done));
    Finished(held);
  });
}

void Registry::Change(Held& held, const std::shared_ptr<const Export>& next,
                      absl::AnyInvocable<void()> done) {
  const auto steps = std::make_shared<Steps>(std::move(done));
  if (held.taken != nullptr && held.taken != next) {
    next->exclusion.Take(true);
    std::exchange(held.taken, next)->exclusion.Release();
  }
  for (Holder* holder : held.holders) {
    holder->exported = next;
    steps->Begin();
    holder->session->reactor().Post([this, session = holder->session, next, steps] {
      session->Become(next, [this, steps] { here_.Post([steps] { steps->End(); }); });
    });
  }
  if (held.settling > 0) {
    steps->Begin();
    held.at_rest.push_back([steps] { steps->End(); });
  }
  steps->End();
}

void Registry::ArmLeases() {
  if (!leases_.armed() && !holders_.empty()) here_.Arm(leases_, here_.now_ns() + kLookEveryNs);
}

void Registry::EndLeases() {
  std::vector<Holder*> over;
  for (const auto& [handle, holder] : holders_) {
    if (LeaseLeftMs(*holder) == 0) over.push_back(holder.get());
  }
  for (Holder* holder : over) Remove(*holder, Reason::kSessionLost, true, [] {});
  ArmLeases();
}

void Registry::Drain(absl::AnyInvocable<void()> done) {
  draining_ = true;
  here_.Disarm(leases_);
  const auto steps = std::make_shared<Steps>(std::move(done));
  std::vector<uint64_t> handles;
  for (const auto& [handle, holder] : holders_) handles.push_back(handle);
  for (const uint64_t handle : handles) {
    steps->Begin();
    auto session = holders_.at(handle)->session;
    Reactor& home = session->reactor();
    home.Post([this, session = std::move(session), handle, steps]() mutable {
      session->Drain([this, handle, steps] {
        here_.Post([this, handle, steps] {
          Holder* holder = HolderOf(handle);
          if (holder == nullptr) return steps->End();
          Remove(*holder, Reason::kDraining, false, [steps] { steps->End(); });
        });
      });
    });
  }
  steps->End();
}

}  // namespace sluice::rpc
