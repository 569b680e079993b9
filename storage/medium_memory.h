// SPDX-License-Identifier: Apache-2.0
// A disk of memory: sparse, lost with the process. Pages are found by a table of two levels and
// allocated when they are first written; that is the only allocation, and never more pages are in
// use than the size has, plus those that are lent and no longer part of the disk.
//
// A kBorrow read is answered by the pages themselves. A page that is lent is copied before it is
// changed, so a borrower sees the bytes of the moment it asked; the old page is freed when its last
// borrower gave it back. Holes are lent as Zeroes().
//
// Create() on the control path; all the rest on the reactor it is attached to, counters excepted.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/pool.h"
#include "core/stats.h"
#include "storage/medium.h"
#include "storage/page_store.h"
#include "storage/zeroes.h"

namespace sluice {

struct MemoryOptions {
  uint64_t size = 0;     // bytes, a multiple of block, at most MemoryMedium::kSizeMax
  uint32_t block = 512;  // 512 to 4096, a power of two
  // Loans out at one time. Each is a kBorrow bio's, so as many as there are bios: the credits of
  // all reactors. One more would be a broken reservation, and stops the process.
  uint32_t loans_max = 16384;
};

class MemoryMedium final : public Medium {
 public:
  static constexpr uint64_t kSizeMax = uint64_t{8} << 40;

  // InvalidArgument, or ResourceExhausted when the address space is too small.
  static absl::StatusOr<std::unique_ptr<MemoryMedium>> Create(const MemoryOptions& options);
  ~MemoryMedium() override;  // REQUIRES: every loan is back

  const MediumLimits& limits() const noexcept override { return limits_; }
  void Attach(uint16_t) noexcept override {}
  // Ends at once. -ENOSPC if the system has no memory for the table.
  Started Start(MediumIo& io) noexcept override;
  void QueryExtents(ExtentQuery& query) noexcept override;

  // Any thread.
  uint64_t bytes_allocated() const noexcept {
    return (allocated_.value() - punched_.value()) * kPage;
  }
  uint64_t pages_copied() const noexcept { return copied_.value(); }  // because they were lent
  // The reactor's thread: pages that exist, those included that only borrowers hold.
  uint64_t pages_held() const noexcept { return store_->used(); }

 private:
  static constexpr uint32_t kPage = PageStore::kPageBytes;
  static constexpr uint32_t kLeafPages = 1024;  // a leaf tells of 4 MiB
  static constexpr uint32_t kLendMax = kZeroesBytes;
  static constexpr uint32_t kLoanSegments = kLendMax / kPage + 1;
  struct Leaf {
    uint32_t used = 0;
    uint32_t pages[kLeafPages] = {};  // PageStore's numbers; kNone is a hole
  };
  struct PageLoan {
    Loan loan;
    Segment segs[kLoanSegments];
    MemoryMedium* owner;
  };

  MemoryMedium(const MemoryOptions& options, std::unique_ptr<PageStore> store);

  Leaf* LeafAt(uint64_t offset) const noexcept { return root_[offset / kPage / kLeafPages].get(); }
  uint32_t PageAt(uint64_t offset) const noexcept {
    const Leaf* leaf = LeafAt(offset);
    return leaf == nullptr ? PageStore::kNone : leaf->pages[offset / kPage % kLeafPages];
  }
  // The page at `offset`, allocated and nobody else's, whose next `part` bytes the caller is going
  // to overwrite; the rest keeps its bytes. Null without memory.
  char* Writable(uint64_t offset, uint32_t part) noexcept;
  void Punch(uint64_t offset) noexcept;

  int64_t Write(const MediumIo& io) noexcept;
  void Fill(const MediumIo& io) noexcept;
  Loan* Lend(const MediumIo& io) noexcept;
  void TakeBack(PageLoan& loan) noexcept;
  int64_t Zero(const MediumIo& io) noexcept;

  MediumLimits limits_;
  std::unique_ptr<PageStore> store_;
  std::vector<std::unique_ptr<Leaf>> root_;
  Slab<PageLoan> loans_;
  Counter allocated_;
  Counter punched_;
  Counter copied_;
};

}  // namespace sluice
