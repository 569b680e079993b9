// SPDX-License-Identifier: Apache-2.0
#include "storage/range_guard.h"

#include <bit>

#include "core/check.h"
#include "core/units.h"

namespace sluice {
namespace {

// So many arrivals before an entry are looked at one by one before the trees, which know no order
// of arrival: few for one that enters, since most overlap nothing and those that do mostly overlap
// what came just before; more for one that waited, since little is left before it and much behind.
constexpr int kRecentEntering = 8;
constexpr int kRecentWaiting = 256;

}  // namespace

int RangeGuard::ClassOf(uint64_t length) noexcept {
  const int size_class = static_cast<int>(std::bit_width(length - 1));
  SLUICE_CHECK(size_class < kClasses);
  return size_class;
}

bool RangeGuard::Enter(Bio& bio) noexcept {
  SLUICE_CHECK(bio.length > 0);
  Entry& entry = *entries_.New();
  entry.start = AlignDown(bio.offset, block_);
  entry.end = AlignUp(bio.offset + bio.length, block_);
  entry.sequence = next_sequence_++;
  entry.bio = &bio;
  entry.blocker = LatestBefore(entry);
  const int size_class = ClassOf(entry.end - entry.start);
  classes_[size_class].insert(entry);
  used_classes_ |= uint64_t{1} << size_class;
  arrivals_.push_back(entry);
  if (entry.blocker == nullptr) return true;
  entry.blocker->waiters.push_back(entry);
  bio.where = Where::kWaiting;
  return false;
}

RangeGuard::Entry* RangeGuard::LatestBefore(Entry& entry) noexcept {
  const bool waited = entry.arrival.is_linked();
  auto recent = waited ? Arrivals::s_iterator_to(entry) : arrivals_.end();
  for (int left = waited ? kRecentWaiting : kRecentEntering; left > 0; --left) {
    if (recent == arrivals_.begin()) return nullptr;
    --recent;
    if (recent->start < entry.end && entry.start < recent->end) return &*recent;
  }
  Entry* latest = nullptr;
  for (uint64_t classes = used_classes_; classes != 0; classes &= classes - 1) {
    const int size_class = std::countr_zero(classes);
    Entry* found = LatestIn(classes_[size_class], uint64_t{1} << size_class, entry);
    if (found == nullptr) continue;
    if (latest == nullptr || found->sequence > latest->sequence) latest = found;
  }
  return latest;
}

// Walks down from the entry's end, a range at a time, as far as one of `reach` bytes can overlap.
RangeGuard::Entry* RangeGuard::LatestIn(Tree& tree, uint64_t reach, const Entry& entry) noexcept {
  Entry* latest = nullptr;
  auto above = tree.lower_bound(Place{entry.end, 0, 0});
  while (above != tree.begin()) {
    auto it = std::prev(above);
    if (it->start + reach <= entry.start) break;
    const auto same = tree.lower_bound(Place{it->start, it->end, 0});
    if (it->end > entry.start && same->sequence < entry.sequence) {
      if (it->sequence >= entry.sequence) {
        it = std::prev(tree.lower_bound(Place{it->start, it->end, entry.sequence}));
      }
      if (latest == nullptr || it->sequence > latest->sequence) latest = &*it;
    }
    above = same;
  }
  return latest;
}

void RangeGuard::Remove(Bio& bio, BioFifo& admitted) noexcept {
  const uint64_t start = AlignDown(bio.offset, block_);
  const uint64_t end = AlignUp(bio.offset + bio.length, block_);
  const int size_class = ClassOf(end - start);
  Tree& tree = classes_[size_class];
  auto it = tree.lower_bound(Place{start, end, 0});
  while (it != tree.end() && it->bio != &bio) ++it;
  SLUICE_CHECK(it != tree.end());
  Entry& entry = *it;
  tree.erase(it);
  if (tree.empty()) used_classes_ &= ~(uint64_t{1} << size_class);
  arrivals_.erase(arrivals_.iterator_to(entry));
  if (entry.blocker != nullptr) entry.blocker->waiters.erase(Entry::Waiters::s_iterator_to(entry));
  while (!entry.waiters.empty()) {
    Entry& waiter = entry.waiters.front();
    entry.waiters.pop_front();
    waiter.blocker = LatestBefore(waiter);
    if (waiter.blocker != nullptr) {
      waiter.blocker->waiters.push_back(waiter);
    } else {
      waiter.bio->where = Where::kSubmitter;
      admitted.push_back(*waiter.bio);
    }
  }
  entries_.Delete(&entry);
}

}  // namespace sluice
