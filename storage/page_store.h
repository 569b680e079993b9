// SPDX-License-Identifier: Apache-2.0
// Counted pages of memory: a page may be held by several at once and is free again when the last
// lets go. One thread.
//
// Address space for all pages is reserved at the start; the system gives memory when a page is
// first written. Freed pages keep theirs, for the next ones. Pages taken in a row are neighbours in
// memory, so what was written in sequence can be lent as one segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/check.h"

namespace sluice {

class PageStore {
 public:
  // 4 KiB: the block of file systems and of most clients, so that a write of one allocates, and a
  // copy copies, no more than itself.
  static constexpr uint32_t kPageBytes = 4096;
  static constexpr uint32_t kNone = 0;  // no page's number

  // ResourceExhausted when there is not that much address space. 0 < pages < 2^32 - 1.
  static absl::StatusOr<std::unique_ptr<PageStore>> Create(uint64_t pages);
  ~PageStore();  // unmaps; who holds a page must not touch it any more
  PageStore(const PageStore&) = delete;
  PageStore& operator=(const PageStore&) = delete;

  // A page with one holder. It may hold old bytes: overwrite all of it (S5). REQUIRES: one is free.
  [[nodiscard]] uint32_t Take() noexcept;
  void Hold(uint32_t page) noexcept {
    SLUICE_CHECK(page != kNone && holders_[page] > 0);
    ++holders_[page];
  }
  // Frees it with its last holder.
  void Drop(uint32_t page) noexcept;
  bool shared(uint32_t page) const noexcept { return holders_[page] > 1; }

  char* at(uint32_t page) const noexcept { return base_ + size_t{page} * kPageBytes; }
  // The page that holds this byte, or kNone if it is no byte of ours.
  uint32_t PageOf(const void* byte) const noexcept {
    const auto distance = reinterpret_cast<uintptr_t>(byte) - reinterpret_cast<uintptr_t>(base_);
    return distance < (pages_ + 1) * kPageBytes ? static_cast<uint32_t>(distance / kPageBytes)
                                                : kNone;
  }

  uint64_t used() const noexcept { return used_; }

 private:
  PageStore() = default;

  // Both have a never-used entry 0, kNone's.
  char* base_ = nullptr;
  uint32_t* holders_ = nullptr;  // of a page in use; of a free one, the next free page
  uint64_t pages_ = 0;
  uint64_t used_ = 0;
  uint32_t fresh_ = 1;  // the first page never taken
  uint32_t free_ = kNone;
};

}  // namespace sluice
