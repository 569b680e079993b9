// SPDX-License-Identifier: Apache-2.0
// Write-type requests (write, zero, trim) that overlap, rounded out to the device's block, run in
// order of arrival: the later one goes on only when the earlier is done (R5; and what makes
// read-modify-write safe). A disk has one.
//
// Each waiting entry hangs on one earlier overlapping entry, the latest: when that leaves, the
// waiter looks for another, and enters when there is none. Entries stand in trees by size class (a
// power of two), so that a look-up meets in each class only those that start less than one class
// length before the range; of entries with the same range it meets one, however many there are. The
// latest arrivals are looked at first.
// The reactor's thread; no allocation.
#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <compare>
#include <cstdint>

#include "core/bio.h"
#include "core/pool.h"

namespace sluice {

class RangeGuard {
 public:
  // `block`: device block, bytes, a power of two; `capacity`: most bios inside at one time.
  RangeGuard(uint32_t block, size_t capacity) : block_(block), entries_(capacity) {}

  // True: the bio may go on. False: it waits here (where == kWaiting) until a Leave() admits it.
  [[nodiscard]] bool Enter(Bio& bio) noexcept;

  // A bio that was admitted is done, or one that waits gives up. Calls admit(Bio&) for each that
  // may go on now, in order of arrival.
  template <typename F>
  void Leave(Bio& bio, F&& admit) noexcept {
    BioFifo admitted;
    Remove(bio, admitted);
    while (!admitted.empty()) {
      Bio& next = admitted.front();
      admitted.pop_front();
      admit(next);
    }
  }

  // Calls visit(Bio&) for each that waits, youngest first (in this order each may give up without
  // admitting another of them); visit may not change the guard.
  template <typename F>
  void ForEachWaiting(F&& visit) const {
    for (auto it = arrivals_.rbegin(); it != arrivals_.rend(); ++it) {
      if (it->blocker != nullptr) visit(*it->bio);
    }
  }

  size_t size() const noexcept { return entries_.used(); }

 private:
  struct Entry {
    boost::intrusive::set_member_hook<> by_start;
    boost::intrusive::list_member_hook<> arrival;
    boost::intrusive::list_member_hook<> behind;  // in its blocker's `waiters`
    using Waiters = boost::intrusive::list<
        Entry,
        boost::intrusive::member_hook<Entry, boost::intrusive::list_member_hook<>, &Entry::behind>,
        boost::intrusive::constant_time_size<false>>;
    uint64_t start = 0;
    uint64_t end = 0;
    uint64_t sequence = 0;
    Bio* bio = nullptr;
    Entry* blocker = nullptr;  // null: admitted
    Waiters waiters;
  };
  // Same ranges stand together, oldest first.
  struct Place {
    uint64_t start;
    uint64_t end;
    uint64_t sequence;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct PlaceOf {
    using type = Place;
    Place operator()(const Entry& entry) const { return {entry.start, entry.end, entry.sequence}; }
  };
  using Tree = boost::intrusive::set<
      Entry,
      boost::intrusive::member_hook<Entry, boost::intrusive::set_member_hook<>, &Entry::by_start>,
      boost::intrusive::key_of_value<PlaceOf>, boost::intrusive::constant_time_size<false>>;
  using Arrivals = boost::intrusive::list<
      Entry,
      boost::intrusive::member_hook<Entry, boost::intrusive::list_member_hook<>, &Entry::arrival>,
      boost::intrusive::constant_time_size<false>>;
  static constexpr int kClasses = 34;  // lengths up to 8 GiB

  static int ClassOf(uint64_t length) noexcept;
  // The latest entry that overlaps this one and arrived before it.
  Entry* LatestBefore(Entry& entry) noexcept;
  static Entry* LatestIn(Tree& tree, uint64_t reach, const Entry& entry) noexcept;
  void Remove(Bio& bio, BioFifo& admitted) noexcept;

  uint32_t block_;
  Slab<Entry> entries_;
  Tree classes_[kClasses];
  uint64_t used_classes_ = 0;  // a bit for each class that is not empty
  Arrivals arrivals_;
  uint64_t next_sequence_ = 1;
};

}  // namespace sluice
