// SPDX-License-Identifier: Apache-2.0
// How a session is opened.
#include <sys/random.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"
#include "core/unix_time.h"
#include "server/grpc/registry.h"
#include "server/grpc/steps.h"
#include "server/text.h"

namespace sluice::rpc {
namespace {

constexpr uint64_t kLeavingLookNs = kMillisecond;
constexpr char kStaleText[] = "a writer was or may have been admitted since that epoch";

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

// A client_id is its owner's alone: another certificate that tells it is another client.
bool IsSameClient(const OpenAsk& one, const OpenAsk& other) {
  return one.client_id == other.client_id && one.identity.kind == other.identity.kind &&
         one.identity.name == other.identity.name;
}

OpenAnswer Refusal(Reason reason, std::string text = "") {
  OpenAnswer answer;
  answer.refused = reason;
  answer.text = text.empty() ? TextOf(reason) : std::move(text);
  return answer;
}

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

void Registry::InTurn(Turn turn) {
  line_.push_back(std::move(turn));
  StartTurns();
}

// Starts those in line whose exports and kin nobody is busy with, or was before them in line.
void Registry::StartTurns() {
  std::set<std::string> wanted;
  for (auto turn = line_.begin(); turn != line_.end();) {
    Kin kin;
    auto exported = std::static_pointer_cast<const Export>(exports_.Find(turn->export_name));
    if (exported != nullptr) kin = turn->writes ? KinOf(exports_, *exported) : Kin{exported};
    const bool free = std::none_of(kin.begin(), kin.end(), [&](const auto& each) {
      return held_[each->name].opening || wanted.contains(each->name);
    });
    if (!free) {
      for (const auto& each : kin) wanted.insert(each->name);
      ++turn;
      continue;
    }
    for (const auto& each : kin) held_[each->name].opening = true;
    // Not from inside: a line of refusals would recurse.
    here_.Post(
        [run = std::move(turn->run), kin = std::move(kin)]() mutable { run(std::move(kin)); });
    turn = line_.erase(turn);
  }
}

void Registry::Finished(const Kin& kin) {
  for (const auto& each : kin) {
    Held& held = held_[each->name];
    held.opening = false;
    ReleaseIfFree(held);
  }
  StartTurns();
}

void Registry::Open(OpenAsk ask, absl::AnyInvocable<void(OpenAnswer)> answer) {
  if (draining_) return answer(Refusal(Reason::kDraining));
  const auto exported = exports_.Find(ask.export_name);
  if (exported == nullptr || !MayOpen(static_cast<const Export&>(*exported).config, ask.identity)) {
    return answer(Refusal(Reason::kNotFound));
  }
  auto opening = std::make_shared<Opening>();
  opening->ask = std::move(ask);
  opening->answer = std::move(answer);
  InTurn({exported->name, Writes(opening->ask.mode), [this, opening](Kin kin) {
            opening->kin = std::move(kin);
            Start(opening);
          }});
}

void Registry::Start(OpeningPtr opening) {
  // While it stood in line the export may have gone.
  if (opening->kin.empty()) return Refuse(*opening, Refusal(Reason::kNotFound));
  opening->exported = opening->kin.front();
  opening->held = &held_[opening->exported->name];
  OpenAnswer refusal;
  if (!Judge(*opening, refusal)) return Refuse(*opening, std::move(refusal));
  if (!Writes(opening->ask.mode)) return Displace(std::move(opening));
  if (WantsAlone(*opening) && opening->ask.force && opening->held->taken == nullptr) {
    opening->took_exclusion = TakeAlone(opening->kin, true);
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
    refusal = Refusal(Reason::kStaleEpoch, kStaleText);
  }
  if (refusal.refused == Reason::kNone) refusal = Conflicting(opening);
  if (refusal.refused == Reason::kNone) refusal = BeyondLimits(opening);
  return refusal.refused == Reason::kNone;
}

// The sessions that stay beside it. Over the unix socket there is no share: its peers own the data
// anyway.
OpenAnswer Registry::BeyondLimits(const Opening& opening) const {
  const Identity& who = opening.ask.identity;
  const bool shares = who.kind == Identity::Kind::kCertificate;
  const uint32_t share = std::max(1u, options_.sessions_max / 4);
  size_t stay = 0;
  size_t own = 0;
  for (const auto& [handle, holder] : holders_) {
    const auto& gone = opening.displaced;
    if (std::find(gone.begin(), gone.end(), handle) != gone.end()) continue;
    ++stay;
    const Identity& other = holder->ask.identity;
    if (other.kind == who.kind && other.name == who.name) ++own;
  }
  if (shares && own >= share) {
    return Refusal(Reason::kOverloaded,
                   absl::StrCat("certificate ", Quote(who.name), " has ", own,
                                " sessions, its share of what the server has: close some, or wait "
                                "until their leases end"));
  }
  if (stay < options_.sessions_max) return OpenAnswer();
  return Refusal(Reason::kOverloaded, absl::StrCat("the server has ", stay,
                                                   " sessions, as many as it may: try again "
                                                   "when some were closed"));
}

// The sessions on the export and its kin: who stands in the way, or is displaced.
OpenAnswer Registry::Conflicting(Opening& opening) {
  const OpenAsk& ask = opening.ask;
  for (const auto& kin : opening.kin) {
    for (const Holder* holder : held_[kin->name].holders) {
      const bool same = kin == opening.kin.front();
      const uint64_t left_ms = LeaseLeftMs(*holder);
      if (same && IsSameClient(holder->ask, ask)) {
        opening.displaced.push_back(holder->handle);
      } else if (!Conflict(ask.mode, holder->ask.mode)) {
        continue;
      } else if (left_ms == 0 || ask.force) {
        opening.displaced.push_back(holder->handle);
      } else {
        // Of an export that the caller may not open it learns no name.
        const bool told = same || MayOpen(kin->config, ask.identity);
        const std::string who = told ? Quote(holder->ask.client_id) : "somebody";
        const std::string where = same   ? ""
                                  : told ? " as export " + Quote(kin->name)
                                         : " elsewhere";
        OpenAnswer refusal = Refusal(
            Reason::kMountConflict,
            absl::StrCat("held ", ModeName(holder->ask.mode), " by ", who, where,
                         ", its lease runs ", left_ms, " ms; wait, or take over with force"));
        if (told) refusal.holder = holder->ask.client_id;
        refusal.holder_lease_ms = left_ms;
        return refusal;
      }
    }
  }
  return OpenAnswer();
}

// NBD connections: the dead ones are settled (no late ghosts), all are cut if this is a takeover.
void Registry::SettleOthers(OpeningPtr opening) {
  const bool all = opening->took_exclusion;
  settle_nbd_(*opening->exported, all, [this, opening, all] {
    const uint32_t seats = SeatsAt(opening->kin);
    if (all && seats > 0) {
      // One on its way between two reactors was not seen, or its seat is about to be left.
      leaving_.push_back(opening);
      if (!look_.armed()) here_.Arm(look_, here_.now_ns() + kLeavingLookNs);
      return;
    }
    if (WantsAlone(*opening) && opening->held->taken == nullptr) {
      if (!TakeAlone(opening->kin, false)) {
        OpenAnswer refusal = Refusal(
            Reason::kMountConflict,
            absl::StrCat("held by ", seats,
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

void Registry::LookAgain() {
  for (OpeningPtr& opening : std::exchange(leaving_, {})) SettleOthers(std::move(opening));
}

void Registry::Displace(OpeningPtr opening) {
  for (const uint64_t handle : opening->displaced) {
    Holder* holder = HolderOf(handle);
    if (holder != nullptr) Remove(*holder, Reason::kStaleEpoch, true, [] {});
  }
  const auto steps = std::make_shared<Steps>([this, opening] { RaiseEpoch(opening); });
  for (const auto& each : opening->kin) {
    Held& held = held_[each->name];
    if (held.settling == 0) continue;
    steps->Begin();
    held.at_rest.push_back([steps] { steps->End(); });
  }
  steps->End();
}

void Registry::RaiseEpoch(OpeningPtr opening) {
  const std::string& name = opening->exported->name;
  opening->epoch = epochs_.Current(name);
  if (!Writes(opening->ask.mode)) return Grant(std::move(opening));
  // NBD connections may have come and gone since the first look.
  if (opening->ask.epoch != 0 && opening->ask.epoch != opening->epoch) {
    return Refuse(*opening, Refusal(Reason::kStaleEpoch, kStaleText));
  }
  ++opening->epoch;
  std::map<std::string, uint64_t> raised = EpochsOfOthers(opening->kin);
  std::map<std::string, uint64_t> spent = raised;
  raised[name] = opening->epoch;
  spent.erase(name);
  if (SeatsAt(opening->kin) > 0) spent[name] = raised[name] = opening->epoch + 1;
  epochs_.Raise(raised, [this, opening, spent](absl::Status status) {
    if (status.ok()) {
      for (const auto& [other, epoch] : spent) spent_[other] = epoch;
      return Grant(opening);
    }
    Log(LogLevel::kError, absl::StrCat("grpc: no epoch can be granted: ", status.message()));
    Refuse(*opening, Refusal(Reason::kIoError, "the epoch could not be made durable"));
  });
}

// What the epochs of these exports must be raised to before somebody else writes to their bytes.
std::map<std::string, uint64_t> Registry::EpochsOfOthers(const Kin& kin) const {
  std::map<std::string, uint64_t> raised;
  for (const auto& each : kin) {
    const uint64_t current = epochs_.Current(each->name);
    const auto spent = spent_.find(each->name);
    if (current == 0 || (spent != spent_.end() && spent->second == current)) continue;
    raised[each->name] = current + 1;
  }
  return raised;
}

void Registry::OnNbdWriter(std::shared_ptr<const Export> exported,
                           absl::AnyInvocable<void(bool)> answer) {
  const std::map<std::string, uint64_t> raised = EpochsOfOthers(KinOf(exports_, *exported));
  if (raised.empty()) return answer(true);
  epochs_.Raise(raised, [this, raised, answer = std::move(answer)](absl::Status status) mutable {
    if (status.ok()) {
      for (const auto& [name, epoch] : raised) spent_[name] = epoch;
    } else {
      Log(LogLevel::kError, absl::StrCat("grpc: no NBD writer is let in: ", status.message()));
    }
    answer(status.ok());
  });
}

void Registry::Grant(OpeningPtr opening) {
  if (draining_) return Refuse(*opening, Refusal(Reason::kDraining));
  const Export& exported = *opening->exported;
  if (exported.withdrawn.load()) {
    return Refuse(*opening, Refusal(Reason::kMountConflict,
                                    "the export is being changed or taken away: ask again"));
  }
  // Others were on their way beside it.
  OpenAnswer beyond = BeyondLimits(*opening);
  if (beyond.refused != Reason::kNone) return Refuse(*opening, std::move(beyond));
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
  holder->began_unix_ns = UnixNowNs();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    known_[holder->id] = {holder->session, holder->epoch, holder->handle};
  }
  Log(LogLevel::kInfo,
      absl::StrCat("grpc session ", holder->handle, " (", holder->ask.peer, ", ",
                   Quote(holder->ask.client_id), "): opened ", Quote(exported.name), " ",
                   ModeName(holder->ask.mode), ", epoch ", holder->epoch));
  Tell(SessionEvent::kOpened, *holder, ModeName(holder->ask.mode));
  OpenAnswer answer;
  answer.session_id = holder->id;
  answer.epoch = holder->epoch;
  answer.lease_ms = options_.lease_ns / kMillisecond;
  answer.exported = opening->exported;
  exported.stats->For(DoorKind::kGrpc, here_.id()).opened.Add(1);
  opening->held->holders.push_back(holder.get());
  holders_.emplace(holder->handle, std::move(holder));
  ArmLeases();
  opening->answer(std::move(answer));
  Finished(opening->kin);
}

void Registry::Refuse(Opening& opening, OpenAnswer answer) {
  opening.answer(std::move(answer));
  Finished(opening.kin);
}

}  // namespace sluice::rpc
