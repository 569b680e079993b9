// SPDX-License-Identifier: Apache-2.0
// What happened, for whoever watches: the latest events, each with a revision that rises from event
// to event and, as long as each start is given a higher `epoch`, from start to start.
//
// Any thread; takes a lock, shortly.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace sluice {

// Numbered as EventKind of proto/sluice/v1/stats.proto.
enum class EventKind : uint8_t {
  kDiskAdded = 2,
  kDiskChanged = 3,
  kDiskRemoved = 4,
  kVolumeCreated = 5,
  kVolumeChanged = 6,
  kVolumeDeleted = 7,
  kExportCreated = 8,
  kExportChanged = 9,
  kExportDeleted = 10,
  kSessionOpened = 11,
  kSessionClosed = 12,
  kSessionFenced = 13,
  kOperationChanged = 14,
  kDrainBegan = 15,
};

struct Event {
  uint64_t revision = 0;
  int64_t unix_ns = 0;
  EventKind kind{};
  std::string subject;  // the name or handle of what it is about
  std::string text;     // for humans
};

class EventLog {
 public:
  struct Batch {
    bool gap = false;   // events between the revision asked for and `from` are lost
    uint64_t from = 0;  // the events here are those right after this revision
    std::vector<Event> events;
  };

  // `epoch`: of this start, below 2^31. `kept` events at least 1.
  EventLog(uint32_t epoch, size_t kept);

  // The new event's revision.
  uint64_t Add(EventKind kind, std::string subject, std::string text);

  // That of the newest event: to watch from now on is to ask for what is after it.
  uint64_t newest() const;

  // The events after `revision`, oldest first, at most `most` of them: ask again after the last
  // one. A revision that this log never gave out lost events too.
  Batch Since(uint64_t revision, size_t most) const;

  // Calls `added` after each Add(), on its thread, as long as the subscription lives. It must not
  // block, and call nothing of the log: it wakes somebody who will. A subscription ends before the
  // log; when its destructor has returned, no call is under way.
  class Subscription {
   public:
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

   private:
    friend class EventLog;
    Subscription(EventLog& log, uint64_t id) : log_(log), id_(id) {}
    EventLog& log_;
    const uint64_t id_;
  };
  std::unique_ptr<Subscription> Subscribe(absl::AnyInvocable<void()> added);

 private:
  const size_t kept_;
  const uint64_t first_;  // below the first revision of this start

  mutable std::mutex mutex_;  // guards all below
  uint64_t newest_;
  std::deque<Event> events_;  // consecutive revisions, up to newest_
  std::map<uint64_t, absl::AnyInvocable<void()>> subscribers_;
  uint64_t next_subscriber_ = 0;
};

}  // namespace sluice
