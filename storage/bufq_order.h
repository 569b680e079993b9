// SPDX-License-Identifier: Apache-2.0
// Offset order for the strategies that sort: what is sorted by, and the cyclic one-way scan.
// Headers only, so that a module can use them. As their queue: one reactor, no allocation.
//
// A cylinder is offset / cylinder_bytes; raw blocks are cylinders of one byte. What lies in one
// cylinder is served first come, first served. Offsets and lengths stay below 2^63.
#pragma once

#include <algorithm>
#include <boost/intrusive/set.hpp>
#include <cstdint>

#include "core/bio.h"
#include "storage/bufq.h"

namespace sluice {

struct BufqByOffset {
  bool operator()(const Bio& a, const Bio& b) const { return a.offset < b.offset; }
};
// Insert with BufqOrder, which knows the cylinders.
using BufqTree =
    boost::intrusive::multiset<Bio, boost::intrusive::member_hook<Bio, TreeHook, &Bio::sort>,
                               boost::intrusive::compare<BufqByOffset>,
                               boost::intrusive::constant_time_size<false>>;

inline Bio* FirstOf(BufqTree& tree) noexcept { return tree.empty() ? nullptr : &*tree.begin(); }

// Removes a bio from whichever tree it is in: logarithmic.
inline void RemoveFromTree(Bio& bio) noexcept { BufqTree::remove_node(bio); }

class BufqOrder {
 public:
  explicit BufqOrder(const BufqOptions& options)
      : cylinder_bytes_(options.sort == BufqSort::kRawBlock ? 1 : options.cylinder_bytes) {}

  // Behind all that lie in the same cylinder.
  void Insert(BufqTree& tree, Bio& bio) const noexcept {
    const auto after = [](uint64_t end, const Bio& other) { return other.offset >= end; };
    tree.insert_before(tree.upper_bound(CylinderEnd(bio.offset), after), bio);
  }

  // The first bio whose cylinder begins at or behind `position`; null: there is none.
  static Bio* FirstFrom(BufqTree& tree, uint64_t position) noexcept {
    const auto before = [](const Bio& other, uint64_t begin) { return other.offset < begin; };
    const auto found = tree.lower_bound(position, before);
    return found == tree.end() ? nullptr : &*found;
  }

  // Begin of the cylinder in which a bio begins, in which it ends, and of the one behind that.
  uint64_t FirstCylinder(const Bio& bio) const noexcept { return CylinderBegin(bio.offset); }
  uint64_t LastCylinder(const Bio& bio) const noexcept { return CylinderBegin(LastByte(bio)); }
  uint64_t NextCylinder(const Bio& bio) const noexcept { return CylinderEnd(LastByte(bio)); }

 private:
  static uint64_t LastByte(const Bio& bio) noexcept {
    return bio.offset + std::max(bio.length, uint32_t{1}) - 1;
  }
  uint64_t CylinderBegin(uint64_t byte) const noexcept {
    return cylinder_bytes_ == 1 ? byte : byte - byte % cylinder_bytes_;
  }
  uint64_t CylinderEnd(uint64_t byte) const noexcept {
    return CylinderBegin(byte) + cylinder_bytes_;
  }

  uint64_t cylinder_bytes_;
};

// A cyclic scan in one direction: upwards from where the last bio ended to the highest that waits,
// then again from the lowest. What arrives where the scan has passed, the last cylinder included,
// waits for the next round; so a round ends, whatever keeps arriving.
class BufqSweep {
 public:
  explicit BufqSweep(const BufqOptions& options) : order_(options) {}

  bool empty() const noexcept { return ahead_.empty() && passed_.empty(); }

  void Put(Bio& bio) noexcept { order_.Insert(bio.offset >= position_ ? ahead_ : passed_, bio); }

  Bio* Peek() noexcept {
    Bio* bio = FirstOf(ahead_);
    return bio != nullptr ? bio : FirstOf(passed_);
  }

  Bio* Get() noexcept {
    if (ahead_.empty()) ahead_.swap(passed_);
    Bio* bio = FirstOf(ahead_);
    if (bio == nullptr) return nullptr;
    ahead_.erase(ahead_.begin());
    position_ = order_.NextCylinder(*bio);
    return bio;
  }

  static void Cancel(Bio& bio) noexcept { RemoveFromTree(bio); }

 private:
  BufqOrder order_;
  BufqTree ahead_;         // of this round
  BufqTree passed_;        // of the next
  uint64_t position_ = 0;  // first byte that this round still reaches
};

}  // namespace sluice
