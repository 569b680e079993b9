// SPDX-License-Identifier: Apache-2.0
#include "server/control/event_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/check.h"
#include "core/unix_time.h"

namespace sluice {

EventLog::EventLog(uint32_t epoch, size_t kept)
    : kept_(kept), first_(uint64_t{epoch} << 32), newest_(first_) {
  SLUICE_CHECK(kept > 0 && epoch < uint32_t{1} << 31);
}

uint64_t EventLog::Add(EventKind kind, std::string subject, std::string text) {
  const int64_t unix_ns = UnixNowNs();
  const std::lock_guard lock(mutex_);
  if (events_.size() == kept_) events_.pop_front();
  events_.push_back({++newest_, unix_ns, kind, std::move(subject), std::move(text)});
  for (auto& [id, added] : subscribers_) added();
  return newest_;
}

uint64_t EventLog::newest() const {
  const std::lock_guard lock(mutex_);
  return newest_;
}

EventLog::Batch EventLog::Since(uint64_t revision, size_t most) const {
  const std::lock_guard lock(mutex_);
  const uint64_t before_kept = newest_ - events_.size();
  Batch batch;
  batch.gap = revision < before_kept || revision > newest_;
  const uint64_t from = batch.gap ? before_kept : revision;
  auto next = events_.begin() + static_cast<std::ptrdiff_t>(from - before_kept);
  while (next != events_.end() && batch.events.size() < most) batch.events.push_back(*next++);
  batch.from = from;
  return batch;
}

std::unique_ptr<EventLog::Subscription> EventLog::Subscribe(absl::AnyInvocable<void()> added) {
  const std::lock_guard lock(mutex_);
  const uint64_t id = next_subscriber_++;
  subscribers_.emplace(id, std::move(added));
  return std::unique_ptr<Subscription>(new Subscription(*this, id));
}

EventLog::Subscription::~Subscription() {
  const std::lock_guard lock(log_.mutex_);
  log_.subscribers_.erase(id_);
}

}  // namespace sluice
