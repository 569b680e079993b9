// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"
#include "server/grpc/steps.h"
#include "server/text.h"

namespace sluice::rpc {
namespace {

constexpr size_t kFencedMax = 4096;  // sessions that are told they were fenced, not lost
constexpr uint64_t kLookEveryNs = kSecond / 4;

}  // namespace

Registry::Registry(ReactorSet& reactors, Reactor& here, const ExportDirectory& exports,
                   Epochs& epochs, const Options& options, SettleNbd settle_nbd)
    : reactors_(reactors),
      here_(here),
      exports_(exports),
      epochs_(epochs),
      options_(options),
      settle_nbd_(std::move(settle_nbd)) {
  leases_.registry = look_.registry = this;
  leases_.run = [](Timer& timer) noexcept { static_cast<OwnTimer&>(timer).registry->EndLeases(); };
  look_.run = [](Timer& timer) noexcept { static_cast<OwnTimer&>(timer).registry->LookAgain(); };
}

Registry::~Registry() { SLUICE_CHECK(holders_.empty() && !leases_.armed() && !look_.armed()); }

Registry::Found Registry::Find(const std::string& session_id, uint64_t epoch) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = known_.find(session_id);
  if (found == known_.end()) return {Reason::kSessionLost, nullptr};
  const Known& known = found->second;
  if (known.session == nullptr || known.epoch != epoch) return {Reason::kStaleEpoch, nullptr};
  return {Reason::kNone, known.session};
}

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

void Registry::Tell(SessionEvent event, const Holder& holder, const std::string& what) {
  if (watch_ == nullptr) return;
  watch_(event, holder.handle,
         absl::StrCat("export ", Quote(holder.exported->name), ", ", Quote(holder.ask.client_id),
                      ", ", holder.ask.peer, ": ", what));
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
                    holder->began_unix_ns, holder->exported, holder->session});
  }
  return list;
}

void Registry::Remove(Holder& holder, Reason why, bool abandon,
                      absl::AnyInvocable<void()> settled) {
  Log(LogLevel::kInfo, absl::StrCat("grpc session ", holder.handle, " (",
                                    Quote(holder.ask.client_id), "): ended: ", TextOf(why)));
  const bool fenced = abandon && why != Reason::kDraining;
  Tell(fenced ? SessionEvent::kFenced : SessionEvent::kClosed, holder, TextOf(why));
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
  holder.exported->stats->For(DoorKind::kGrpc, here_.id()).closed.Add(1);
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
  std::string name = next->name;
  InTurn({std::move(name), false,
          [this, next = std::move(next), done = std::move(done)](const Kin& kin) mutable {
            Change(next, std::move(done));
            Finished(kin);
          }});
}

void Registry::Change(const std::shared_ptr<const Export>& next, absl::AnyInvocable<void()> done) {
  Held& held = held_[next->name];
  const auto steps = std::make_shared<Steps>(std::move(done));
  if (held.taken != nullptr && held.taken != next) {
    next->exclusion.Take();
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
