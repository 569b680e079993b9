// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/reactor.h"
#include "core/units.h"

namespace sluice {
namespace {

// Walks a vector's bytes in order.
class SegmentCursor {
 public:
  explicit SegmentCursor(const Segment* segs) : seg_(segs) {}

  // The next `size` bytes, as stretches: visit(char* memory, size_t done, size_t part).
  template <typename F>
  void Next(size_t size, F&& visit) noexcept {
    for (size_t done = 0; done < size;) {
      while (skip_ == seg_->iov_len) {
        ++seg_;
        skip_ = 0;
      }
      const size_t part = std::min(seg_->iov_len - skip_, size - done);
      visit(static_cast<char*>(seg_->iov_base) + skip_, done, part);
      done += part;
      skip_ += part;
    }
  }

 private:
  const Segment* seg_;
  size_t skip_ = 0;
};

// Bytes of [offset, end) that lie in offset's page.
uint32_t PartOfPage(uint64_t offset, uint64_t end) {
  constexpr uint32_t kPage = PageStore::kPageBytes;
  return static_cast<uint32_t>(std::min<uint64_t>(kPage - offset % kPage, end - offset));
}

// One call looks at no more than this much of the table.
constexpr uint32_t kExtentSteps = 16 * 1024;  // pages or leaves looked at by one query

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryMedium>> MemoryMedium::Create(const MemoryOptions& options) {
  if (!IsPowerOfTwo(options.block) || options.block < kSector || options.block > kPage) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a memory disk's block is 512, 1024, 2048 or 4096 bytes, not ", options.block));
  }
  if (options.size == 0 || options.size % options.block != 0 || options.size > kSizeMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a memory disk's size is a multiple of its block of ", options.block,
                     " bytes, more than 0 and at most 8 TiB, not ", options.size));
  }
  const uint64_t pages = AlignUp(options.size, kPage) / kPage;
  auto store = PageStore::Create(pages + uint64_t{options.loans_max} * kLoanSegments);
  if (!store.ok()) return store.status();
  return std::unique_ptr<MemoryMedium>(new MemoryMedium(options, *std::move(store)));
}

MemoryMedium::MemoryMedium(const MemoryOptions& options, std::unique_ptr<PageStore> store)
    : store_(std::move(store)),
      root_((options.size - 1) / kPage / kLeafPages + 1),
      loans_(options.loans_max) {
  limits_.size = options.size;
  limits_.block = options.block;
  limits_.physical_block = kPage;
  limits_.mem_align = 1;
  limits_.depth = 128;
  limits_.lend_bytes_max = kLendMax;
  limits_.volatile_cache = false;
  limits_.native_fua = true;
  limits_.can_trim = true;
  limits_.can_zero = true;
  limits_.can_fast_zero = true;
}

MemoryMedium::~MemoryMedium() = default;

Started MemoryMedium::Start(MediumIo& io) noexcept {
  SLUICE_CHECK(InRange(io.offset, io.length, limits_.size));
  io.result = 0;
  switch (io.what) {
    case Op::kRead:
      if ((io.flags & kBorrow) != 0) {
        io.loan = Lend(io);
      } else {
        Fill(io);
      }
      io.result = io.length;
      break;
    case Op::kWrite:
      io.result = Write(io);
      break;
    case Op::kTrim:
    case Op::kZero:
      io.result = Zero(io);
      break;
    case Op::kFlush:
    case Op::kCache:
      break;
  }
  return Started::kDone;
}

char* MemoryMedium::Writable(uint64_t offset, uint32_t part) noexcept {
  std::unique_ptr<Leaf>& leaf = root_[offset / kPage / kLeafPages];
  if (leaf == nullptr) leaf.reset(new (std::nothrow) Leaf);
  if (leaf == nullptr) return nullptr;
  uint32_t& entry = leaf->pages[offset / kPage % kLeafPages];
  const uint32_t old = entry;
  if (old != PageStore::kNone && !store_->shared(old)) return store_->at(old);
  entry = store_->Take();
  char* page = store_->at(entry);
  if (old != PageStore::kNone) {
    if (part < kPage) std::memcpy(page, store_->at(old), kPage);
    store_->Drop(old);
    copied_.Add(1);
  } else {
    if (part < kPage) std::memset(page, 0, kPage);
    ++leaf->used;
    allocated_.Add(1);
  }
  return page;
}

void MemoryMedium::Punch(uint64_t offset) noexcept {
  std::unique_ptr<Leaf>& leaf = root_[offset / kPage / kLeafPages];
  store_->Drop(std::exchange(leaf->pages[offset / kPage % kLeafPages], PageStore::kNone));
  punched_.Add(1);
  if (--leaf->used == 0) leaf.reset();
}

int64_t MemoryMedium::Write(const MediumIo& io) noexcept {
  SegmentCursor from(io.segs);
  const uint64_t end = io.offset + io.length;
  for (uint64_t at = io.offset; at < end;) {
    const uint32_t part = PartOfPage(at, end);
    char* page = Writable(at, part);
    if (page == nullptr) return at > io.offset ? static_cast<int64_t>(at - io.offset) : -ENOSPC;
    char* to = page + at % kPage;
    from.Next(part, [to](const char* memory, size_t done, size_t size) {
      std::memcpy(to + done, memory, size);
    });
    at += part;
  }
  return io.length;
}

void MemoryMedium::Fill(const MediumIo& io) noexcept {
  SegmentCursor into(io.segs);
  const uint64_t end = io.offset + io.length;
  for (uint64_t at = io.offset; at < end;) {
    const uint32_t part = PartOfPage(at, end);
    const uint32_t page = PageAt(at);
    const char* from = page == PageStore::kNone ? Zeroes() : store_->at(page) + at % kPage;
    into.Next(part, [from](char* memory, size_t done, size_t size) {
      std::memcpy(memory, from + done, size);
    });
    at += part;
  }
}

Loan* MemoryMedium::Lend(const MediumIo& io) noexcept {
  SLUICE_CHECK(io.length > 0 && io.length <= kLendMax);
  PageLoan* lent = loans_.New();
  static_assert(offsetof(PageLoan, segs) == sizeof(Loan));
  lent->owner = this;
  lent->loan.give_back = [](Loan& loan) noexcept {
    auto& back = reinterpret_cast<PageLoan&>(loan);
    back.owner->TakeBack(back);
  };
  uint32_t count = 0;
  const uint64_t end = io.offset + io.length;
  for (uint64_t at = io.offset; at < end;) {
    const uint32_t part = PartOfPage(at, end);
    const uint32_t page = PageAt(at);
    char* memory = Zeroes();
    if (page != PageStore::kNone) {
      store_->Hold(page);
      memory = store_->at(page) + at % kPage;
    }
    // A hole goes on with the zeroes behind the last ones, a page with its neighbour in memory.
    Segment* last = count > 0 ? &lent->segs[count - 1] : nullptr;
    char* last_end = last != nullptr ? static_cast<char*>(last->iov_base) + last->iov_len : nullptr;
    const bool goes_on = last != nullptr &&
                         (page == PageStore::kNone ? last->iov_base == memory : last_end == memory);
    if (goes_on) {
      last->iov_len += part;
    } else {
      lent->segs[count++] = {memory, part};
    }
    at += part;
  }
  lent->loan.count = count;
  return &lent->loan;
}

void MemoryMedium::TakeBack(PageLoan& loan) noexcept {
  for (uint32_t i = 0; i < loan.loan.count; ++i) {
    const auto* first = static_cast<const char*>(loan.segs[i].iov_base);
    const uint32_t page = store_->PageOf(first);
    if (page == PageStore::kNone) continue;
    const uint32_t last = store_->PageOf(first + loan.segs[i].iov_len - 1);
    for (uint32_t held = page; held <= last; ++held) store_->Drop(held);
  }
  loans_.Delete(&loan);
}

int64_t MemoryMedium::Zero(const MediumIo& io) noexcept {
  const bool allocate = (io.flags & kNoHole) != 0;
  const uint64_t end = io.offset + io.length;
  for (uint64_t at = io.offset; at < end;) {
    const uint32_t part = PartOfPage(at, end);
    if (!allocate && LeafAt(at) == nullptr) {
      at = AlignDown(at, uint64_t{kLeafPages} * kPage) + uint64_t{kLeafPages} * kPage;
      continue;
    }
    const bool is_hole = PageAt(at) == PageStore::kNone;
    if (!allocate && part == kPage && !is_hole) Punch(at);
    if (allocate || (part < kPage && !is_hole)) {
      char* page = Writable(at, part);
      if (page == nullptr) return -ENOSPC;
      std::memset(page + at % kPage, 0, part);
    }
    at += part;
  }
  return 0;
}

void MemoryMedium::QueryExtents(ExtentQuery& query) noexcept {
  SLUICE_CHECK(query.length > 0 && InRange(query.offset, query.length, limits_.size));
  const uint64_t end = query.offset + query.length;
  uint64_t at = query.offset;
  for (uint32_t steps = 0; at < end && steps < kExtentSteps; ++steps) {
    const uint64_t step = LeafAt(at) == nullptr ? uint64_t{kLeafPages} * kPage : kPage;
    const uint64_t next = std::min(AlignDown(at, step) + step, end);
    const bool hole = PageAt(at) == PageStore::kNone;
    const bool joins = !query.extents.empty() && query.extents.back().hole == hole;
    if (!joins && query.extents.size() == query.extents_max) break;
    AppendExtent(query.extents, {next - at, hole, hole});
    at = next;
  }
  Reactor::Current()->Post([&query] { query.done(query); });
}

}  // namespace sluice
