// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "storage/bufq.h"
#include "storage/bufq_module.h"
#include "storage/bufq_strategies.h"

namespace sluice {
namespace {

constexpr size_t kNameMax = 32;

const BufqStrategy* const kBuiltIn[] = {&kBufqFcfs,      &kBufqDisksort, &kBufqReadprio,
                                        &kBufqPriocscan, &kBufqDeadline, &kBufqFair};

bool IsSelection(absl::string_view name) { return name == kBufqAny || name == kBufqDiskDefault; }

// A name for an error or a log line; it may come from a peer.
std::string Shown(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kNameMax)), "\"");
}

}  // namespace

bool IsBufqName(absl::string_view name) {
  return !name.empty() && name.size() <= kNameMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

BufqRegistry& BufqRegistry::Get() {
  static auto* const registry = new BufqRegistry;  // outlives every queue
  return *registry;
}

BufqRegistry::BufqRegistry() {
  for (const BufqStrategy* strategy : kBuiltIn) SLUICE_CHECK(Register(*strategy).ok());
}

absl::Status BufqRegistry::Register(const BufqStrategy& strategy) {
  SLUICE_CHECK(strategy.make != nullptr && strategy.summary != nullptr);
  if (!IsBufqName(strategy.name) || IsSelection(strategy.name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shown(strategy.name), " cannot be the name of a strategy"));
  }
  const std::lock_guard lock(mutex_);
  if (!entries_.try_emplace(strategy.name, Entry{strategy}).second) {
    return absl::AlreadyExistsError(absl::StrCat("strategy ", strategy.name, " exists"));
  }
  return absl::OkStatus();
}

absl::Status BufqRegistry::Unregister(absl::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(std::string(name));
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat("no strategy ", Shown(name)));
  }
  if (const size_t users = found->second.users; users != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("strategy ", found->first, " is in use by ", users, " queues"));
  }
  entries_.erase(found);
  return absl::OkStatus();
}

void BufqRegistry::SetModuleFolder(std::string folder) {
  const std::lock_guard lock(mutex_);
  module_folder_ = std::move(folder);
}

std::vector<BufqStrategy> BufqRegistry::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<BufqStrategy> list;
  for (const auto& [name, entry] : entries_) list.push_back(entry.strategy);
  return list;
}

BufqRegistry::Entry* BufqRegistry::FindAndHold(absl::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(std::string(name));
  if (found == entries_.end()) return nullptr;
  ++found->second.users;
  return &found->second;
}

bool BufqRegistry::IsModule(absl::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(std::string(name));
  return found != entries_.end() && found->second.loaded;
}

absl::StatusOr<BufqRegistry::Entry*> BufqRegistry::Load(absl::string_view name) {
  if (!IsBufqName(name) || IsSelection(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(Shown(name), " cannot be the name of a strategy"));
  }
  std::string folder;
  {
    const std::lock_guard lock(mutex_);
    folder = module_folder_;
  }
  const absl::StatusOr<BufqStrategy> strategy = LoadBufqModule(folder, name);
  if (!strategy.ok()) {
    return absl::Status(strategy.status().code(),
                        absl::StrCat("no strategy ", name, ": ", strategy.status().message()));
  }
  // Another thread may have been first to register it, or may unregister it right after.
  if (const absl::Status status = Register(*strategy);
      !status.ok() && !absl::IsAlreadyExists(status)) {
    return status;
  }
  if (Entry* entry = FindAndHold(name)) {
    const std::lock_guard lock(mutex_);
    entry->loaded = true;
    return entry;
  }
  return absl::NotFoundError(absl::StrCat("strategy ", name, " was unregistered meanwhile"));
}

absl::StatusOr<BufqRegistry::Entry*> BufqRegistry::Acquire(absl::string_view name, uint8_t flags) {
  absl::string_view wanted = name;
  if (name == kBufqAny) wanted = kBufqFcfs.name;
  if (name == kBufqDiskDefault) wanted = kBufqDeadline.name;
  if (Entry* entry = FindAndHold(wanted)) return entry;

  absl::StatusOr<Entry*> loaded = Load(wanted);
  if (loaded.ok()) return loaded;
  if (IsSelection(name)) {  // the choice is ours, and what we would choose was unregistered
    for (const BufqStrategy& other : List()) {
      if (Entry* entry = FindAndHold(other.name)) return entry;
    }
    return absl::NotFoundError("there is no strategy at all");
  }
  if ((flags & kBufqExact) != 0) return loaded;
  const absl::StatusOr<Entry*> fallback = Acquire(kBufqDiskDefault, 0);
  if (fallback.ok()) {
    Log(LogLevel::kWarning,
        absl::StrCat("bufq: ", loaded.status().message(), "; using ", (*fallback)->strategy.name));
  }
  return fallback;
}

void BufqRegistry::Release(Entry& entry) {
  const std::lock_guard lock(mutex_);
  SLUICE_CHECK(entry.users > 0);
  --entry.users;
}

}  // namespace sluice
