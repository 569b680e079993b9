// SPDX-License-Identifier: Apache-2.0
#include "core/pool.h"

#include <algorithm>
#include <bit>

#include "core/units.h"

namespace sluice {
namespace {

constexpr size_t kHugePage = 2 * 1024 * 1024;

}  // namespace

Arena::Arena(size_t bytes, size_t align)
    : base_(nullptr), bytes_(std::max<size_t>(AlignUp(bytes, kPage), kPage)) {
  const size_t spare = align - kPage;
  void* memory = mmap(nullptr, bytes_ + spare, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  SLUICE_CHECK(memory != MAP_FAILED);
  auto* const begin = static_cast<char*>(memory);
  const size_t before =
      AlignUp(reinterpret_cast<uintptr_t>(begin), align) - reinterpret_cast<uintptr_t>(begin);
  base_ = begin + before;
  if (before > 0) munmap(begin, before);
  if (before < spare) munmap(base_ + bytes_, spare - before);
}

Arena::~Arena() {
  Unpoison(base_, bytes_);
  munmap(base_, bytes_);
}

BioPool::BioPool(uint32_t credits, uint32_t reactors)
    : credits_(credits), cells_(size_t{credits} * reactors), lists_(size_t{credits} * reactors) {}

bool BioPool::Reserve(uint32_t cells) noexcept {
  SLUICE_CHECK(cells <= credits_);
  if (cells > credits_ - reserved()) return false;
  reserved_.store(reserved() + cells, std::memory_order_relaxed);
  return true;
}

void BioPool::Unreserve(uint32_t cells) noexcept {
  SLUICE_CHECK(cells <= reserved());
  reserved_.store(reserved() - cells, std::memory_order_relaxed);
}

BufferPool::BufferPool(size_t bytes) : arena_(bytes, kHugePage), blocks_(bytes / kBlockMin) {
  SLUICE_CHECK(bytes > 0 && bytes % kBlockMax == 0 && bytes / kBlockMin < kNone);
  for (auto& heads : heads_) std::fill(std::begin(heads), std::end(heads), kNone);
  constexpr uint32_t kUnits = kBlockMax / kBlockMin;
  for (size_t unit = blocks_.size(); unit >= kUnits; unit -= kUnits) {
    PushFree(static_cast<uint32_t>(unit - kUnits), kOrders - 1);
  }
  free_bytes_.store(bytes, std::memory_order_relaxed);
}

void BufferPool::PushFree(uint32_t unit, int order) noexcept {
  Block& block = blocks_[unit];
  block.state = Block::kFree;
  block.order = static_cast<uint8_t>(order);
  block.prev = kNone;
  uint32_t& head = HeadOf(unit, order);
  block.next = head;
  if (block.next != kNone) blocks_[block.next].prev = unit;
  head = unit;
}

void BufferPool::RemoveFree(uint32_t unit) noexcept {
  Block& block = blocks_[unit];
  if (block.prev != kNone) {
    blocks_[block.prev].next = block.next;
  } else {
    HeadOf(unit, block.order) = block.next;
  }
  if (block.next != kNone) blocks_[block.next].prev = block.prev;
  block.state = Block::kInside;
}

uint32_t BufferPool::TakeBlock(int order) noexcept {
  int part = 0;
  int from = order;
  while (heads_[part][from] == kNone) {
    if (++from < kOrders) continue;
    if (++part == 2) return kNone;
    from = order;
  }
  const uint32_t unit = heads_[part][from];
  RemoveFree(unit);
  while (from > order) {
    --from;
    PushFree(unit + (1U << from), from);
  }
  blocks_[unit].order = static_cast<uint8_t>(order);
  blocks_[unit].state = Block::kTaken;
  free_bytes_.store(free_bytes() - (size_t{kBlockMin} << order), std::memory_order_relaxed);
  return unit;
}

void BufferPool::GiveBlock(uint32_t unit) noexcept {
  SLUICE_CHECK(unit < blocks_.size() && blocks_[unit].state == Block::kTaken);
  blocks_[unit].state = Block::kInside;
  int order = blocks_[unit].order;
  Poison(arena_.base() + size_t{unit} * kBlockMin, size_t{kBlockMin} << order);
  free_bytes_.store(free_bytes() + (size_t{kBlockMin} << order), std::memory_order_relaxed);
  while (order < kOrders - 1) {
    const uint32_t buddy = unit ^ (1U << order);
    if (blocks_[buddy].state != Block::kFree || blocks_[buddy].order != order) break;
    RemoveFree(buddy);
    unit = std::min(unit, buddy);
    ++order;
  }
  PushFree(unit, order);
}

uint16_t BufferPool::Take(uint32_t bytes, Segment* segs) noexcept {
  SLUICE_CHECK(bytes > 0 && bytes <= kMaxTransfer);
  if (AlignUp(bytes, kBlockMin) > free_bytes()) return 0;
  // One block that fits, else ever smaller ones while kMaxSegments of them can still do it.
  int order = std::bit_width((bytes - 1) / kBlockMin);
  uint16_t count = 0;
  uint32_t left = bytes;
  while (left > 0) {
    const uint32_t unit = TakeBlock(order);
    if (unit == kNone) {
      const uint32_t smaller = order > 0 ? kBlockMin << (order - 1) : 0;
      if (smaller == 0 || uint64_t{smaller} * (kMaxSegments - count) < left) {
        Give(segs, count);
        return 0;
      }
      --order;
      continue;
    }
    const uint32_t part = std::min(left, kBlockMin << order);
    char* const at = arena_.base() + size_t{unit} * kBlockMin;
    Unpoison(at, part);
    segs[count++] = {at, part};
    left -= part;
    if (count == kMaxSegments && left > 0) {
      Give(segs, count);
      return 0;
    }
  }
  return count;
}

void BufferPool::Give(const Segment* segs, uint16_t count) noexcept {
  for (uint16_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(static_cast<char*>(segs[i].iov_base) - arena_.base());
    SLUICE_CHECK(at < arena_.bytes() && at % kBlockMin == 0);
    GiveBlock(static_cast<uint32_t>(at / kBlockMin));
  }
}

}  // namespace sluice
