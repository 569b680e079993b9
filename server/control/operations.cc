// SPDX-License-Identifier: Apache-2.0
#include "server/control/operations.h"

#include <chrono>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/unix_time.h"
#include "server/text.h"

namespace sluice {
namespace {

uint64_t Number(const std::string& id) {
  uint64_t number = 0;
  return absl::SimpleAtoi(id, &number) && absl::StrCat(number) == id ? number : 0;
}

}  // namespace

Operations::Operations(Clock& clock, absl::AnyInvocable<void(const Operation&)> changed)
    : clock_(clock), changed_(std::move(changed)) {}

absl::StatusOr<Operation> Operations::Begin(std::string title, absl::AnyInvocable<void()> cancel) {
  Operation begun;
  {
    const std::lock_guard lock(mutex_);
    ForgetOld();
    if (entries_.size() == kKept) {
      return absl::ResourceExhaustedError(absl::StrCat(
          kKept, " operations run or ended within the last ten minutes: wait for some to end"));
    }
    begun.id = absl::StrCat(next_id_);
    begun.title = std::move(title);
    begun.began_unix_ns = UnixNowNs();
    entries_.emplace(next_id_++, Entry{begun, std::move(cancel), 0});
  }
  changed_(begun);
  return begun;
}

void Operations::Progress(const std::string& id, uint64_t done, uint64_t total) {
  const std::lock_guard lock(mutex_);
  Operation& operation = entries_.at(Number(id)).operation;
  operation.done = done;
  operation.total = total;
}

void Operations::End(const std::string& id, const absl::Status& status) {
  Operation ended;
  absl::AnyInvocable<void()> cancel;  // dies without the lock
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_.at(Number(id));
    SLUICE_CHECK(entry.operation.state == Operation::State::kRunning);
    entry.operation.state = status.ok()                 ? Operation::State::kDone
                            : absl::IsCancelled(status) ? Operation::State::kCancelled
                                                        : Operation::State::kFailed;
    entry.operation.error = status;
    entry.operation.ended_unix_ns = UnixNowNs();
    entry.ended_ns = clock_.NowNs();
    std::swap(cancel, entry.cancel);
    ended = entry.operation;
  }
  ended_.notify_all();
  changed_(ended);
}

absl::StatusOr<Operation> Operations::Find(const std::string& id) const {
  const auto found = entries_.find(Number(id));
  if (found != entries_.end()) return found->second.operation;
  return absl::NotFoundError(absl::StrCat(
      "operation ", Quote(id), ": there is none, or it ended more than ten minutes ago"));
}

absl::StatusOr<Operation> Operations::Get(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return Find(id);
}

absl::StatusOr<Operation> Operations::Wait(const std::string& id, uint32_t timeout_ms) const {
  std::unique_lock lock(mutex_);
  absl::StatusOr<Operation> found = Find(id);
  ended_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
    found = Find(id);
    return !found.ok() || found->state != Operation::State::kRunning;
  });
  return found;
}

absl::StatusOr<Operation> Operations::Cancel(const std::string& id) {
  absl::AnyInvocable<void()> cancel;
  absl::StatusOr<Operation> found;
  {
    const std::lock_guard lock(mutex_);
    found = Find(id);
    if (found.ok()) std::swap(cancel, entries_.at(Number(id)).cancel);
  }
  if (cancel != nullptr) cancel();
  return found;
}

std::vector<Operation> Operations::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<Operation> all;
  for (auto at = entries_.rbegin(); at != entries_.rend(); ++at) {
    all.push_back(at->second.operation);
  }
  return all;
}

void Operations::ForgetOld() {
  const uint64_t now_ns = clock_.NowNs();
  std::erase_if(entries_, [&](const auto& entry) {
    const Entry& each = entry.second;
    return each.operation.state != Operation::State::kRunning && now_ns - each.ended_ns >= kKeptNs;
  });
}

}  // namespace sluice
