// SPDX-License-Identifier: Apache-2.0
// Memory of the data path: reserved at start, touched only when used, given back in any order.
// Every pool belongs to one reactor and is used on its thread alone. Nothing here allocates after
// construction, and nothing blocks: who cannot get memory now waits in a pool's line (PoolWaiter)
// and is called when there is some again.
#pragma once

#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <algorithm>
#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "core/bio.h"
#include "core/check.h"

namespace sluice {

// Under the address sanitizer what lies free in a pool may not be touched.
#if defined(__SANITIZE_ADDRESS__)
inline void Poison(const void* at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
inline void Unpoison(const void* at, size_t bytes) { __asan_unpoison_memory_region(at, bytes); }
#else
inline void Poison(const void*, size_t) {}
inline void Unpoison(const void*, size_t) {}
#endif

// Anonymous memory that costs nothing until it is touched.
class Arena {
 public:
  static constexpr size_t kPage = 4096;
  // `align`: of the base, a power of two, kPage at least.
  explicit Arena(size_t bytes, size_t align = kPage);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  char* base() const { return base_; }
  size_t bytes() const { return bytes_; }

 private:
  char* base_;
  size_t bytes_;
};

// Objects of one type, at most `capacity` of them. Last freed is first used again, so the touched
// part stays small.
template <typename T>
class Slab {
 public:
  explicit Slab(size_t capacity) : arena_(capacity * sizeof(Cell)), capacity_(capacity) {}
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() { SLUICE_CHECK(used_ == 0); }

  // REQUIRES: used() < capacity().
  template <typename... Args>
  T* New(Args&&... args) noexcept {
    Cell* cell = free_;
    if (cell != nullptr) {
      Unpoison(cell, sizeof(Cell));
      free_ = cell->next;
    } else {
      SLUICE_CHECK(fresh_ < capacity_);
      cell = reinterpret_cast<Cell*>(arena_.base()) + fresh_++;
    }
    ++used_;
    if constexpr (sizeof...(Args) == 0) {
      return new (cell->bytes) T;  // T() would clear all of it first
    } else {
      return new (cell->bytes) T(std::forward<Args>(args)...);
    }
  }

  void Delete(T* object) noexcept {
    object->~T();
    Cell* cell = new (object) Cell;
    cell->next = free_;
    free_ = cell;
    Poison(cell, sizeof(Cell));
    SLUICE_CHECK(used_ > 0);
    --used_;
  }

  size_t used() const { return used_; }
  size_t capacity() const { return capacity_; }

 private:
  union Cell {
    Cell() {}
    Cell* next;
    alignas(T) char bytes[sizeof(T)];
  };

  Arena arena_;
  size_t capacity_;
  size_t used_ = 0;
  size_t fresh_ = 0;
  Cell* free_ = nullptr;
};

// A bio, its submitter's callback and a short vector: one allocation.
inline constexpr int kInlineSegments = 5;
struct BioCell {
  Bio bio;
  Callback callback;
  Segment segs[kInlineSegments];
  QueueHook siblings;     // the submitter's: a list of the bios that it has under way
  void* owner = nullptr;  // the submitter's; nobody else reads it
};
static_assert(sizeof(BioCell) == 256);

// A vector for children that need more than kInlineSegments.
inline constexpr size_t kListSegments = 128;
struct SegmentList {
  Segment segs[kListSegments];
};

// Stands in line for a pool; called from the reactor's loop, first come first served, after
// something was given back. It tries again and, if there is still too little, stands in line anew
// (at the front: Requeue).
struct PoolWaiter {
  boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>
      line;
  void (*run)(PoolWaiter& waiter) noexcept = nullptr;
  void* context = nullptr;  // the owner's
};
using PoolLine = boost::intrusive::list<
    PoolWaiter,
    boost::intrusive::member_hook<PoolWaiter, decltype(PoolWaiter::line), &PoolWaiter::line>,
    boost::intrusive::constant_time_size<false>>;

// The bios of a reactor. A door reserves, before it takes a request's first payload byte, one cell
// for each bio of the request and Limits::children for each; whoever is below takes cells of that
// reservation on its own reactor without asking. Therefore `cells` holds the reservations of all
// reactors, and a half-received request can never wait for another one's cells.
class BioPool {
 public:
  // `credits`: what the doors of this reactor may have reserved at one time; `reactors`: how many
  // there are.
  BioPool(uint32_t credits, uint32_t reactors);

  // False: not now. REQUIRES: cells <= credits().
  [[nodiscard]] bool Reserve(uint32_t cells) noexcept;
  void Unreserve(uint32_t cells) noexcept;

  // REQUIRES: inside somebody's reservation.
  BioCell* New() noexcept { return cells_.New(); }
  void Delete(BioCell* cell) noexcept { cells_.Delete(cell); }
  SegmentList* NewList() noexcept { return lists_.New(); }
  void DeleteList(SegmentList* list) noexcept { lists_.Delete(list); }

  uint32_t credits() const { return credits_; }                                    // any thread
  uint32_t reserved() const { return reserved_.load(std::memory_order_relaxed); }  // any thread
  size_t used() const { return cells_.used(); }

 private:
  const uint32_t credits_;
  std::atomic<uint32_t> reserved_{0};  // written by the reactor alone, without read-modify-write
  Slab<BioCell> cells_;
  Slab<SegmentList> lists_;
};

// Payload memory of a reactor: a buddy allocator, blocks of 4 KiB to 1 MiB, each aligned to its
// size up to 4 KiB at least. The first part of the memory, hot_bytes(), is given out before the
// rest, so it is what is mostly used: worth huge pages and registering.
class BufferPool {
 public:
  static constexpr uint32_t kBlockMin = 4096;
  static constexpr uint32_t kBlockMax = 1024 * 1024;
  static constexpr size_t kHotBytes = 8 * 1024 * 1024;

  explicit BufferPool(size_t bytes);  // a multiple of kBlockMax

  // Memory for `bytes` (1 .. kMaxTransfer) as 1 to kMaxSegments segments, no more blocks than
  // needed; their lengths sum to `bytes`. Returns how many, or 0 if there is not enough now. Fresh
  // memory may hold old payloads: overwrite it or do not send it (S5).
  [[nodiscard]] uint16_t Take(uint32_t bytes, Segment* segs) noexcept;
  // Gives back what Take() gave, whole.
  void Give(const Segment* segs, uint16_t count) noexcept;

  char* base() const { return arena_.base(); }
  size_t hot_bytes() const { return std::min(arena_.bytes(), kHotBytes); }
  size_t bytes() const { return arena_.bytes(); }                                    // any thread
  size_t free_bytes() const { return free_bytes_.load(std::memory_order_relaxed); }  // any thread

 private:
  static constexpr int kOrders = 9;  // 4 KiB << 8 = 1 MiB
  static constexpr uint32_t kNone = 0xffffffff;
  struct Block {  // side metadata of each 4 KiB unit; nothing is written into free memory
    uint32_t next = kNone;
    uint32_t prev = kNone;
    uint8_t order = 0;
    enum : uint8_t { kInside, kFree, kTaken } state = kInside;  // of the block that begins here
  };

  // The free blocks of an order that begin in the same part of the memory as `unit`.
  uint32_t& HeadOf(uint32_t unit, int order) noexcept {
    return heads_[unit < kHotBytes / kBlockMin ? 0 : 1][order];
  }
  void PushFree(uint32_t unit, int order) noexcept;
  void RemoveFree(uint32_t unit) noexcept;
  [[nodiscard]] uint32_t TakeBlock(int order) noexcept;  // kNone: none of this order or larger
  void GiveBlock(uint32_t unit) noexcept;

  Arena arena_;
  std::vector<Block> blocks_;
  uint32_t heads_[2][kOrders];         // the hot part first
  std::atomic<size_t> free_bytes_{0};  // written by the reactor alone, as reserved_ above
};

}  // namespace sluice
