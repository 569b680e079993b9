// SPDX-License-Identifier: Apache-2.0
#include "storage/null_disk.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/reactor.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr uint32_t kZeroBytes = 64 * 1024;
constexpr uint32_t kLendSegments = 4;

// Lends the same zeroes to everybody, for ever.
struct ZeroLoan {
  Loan loan{[](Loan&) noexcept {}, kLendSegments};
  Segment segs[kLendSegments];
  ZeroLoan() {
    alignas(4096) static char zeroes[kZeroBytes];
    for (Segment& segment : segs) segment = {zeroes, kZeroBytes};
  }
};
static_assert(offsetof(ZeroLoan, segs) == sizeof(Loan));

ZeroLoan& Zeroes() {
  static ZeroLoan zeroes;
  return zeroes;
}

}  // namespace

NullDisk::NullDisk(uint64_t size) {
  limits_.size = AlignDown(size, kSector);
  limits_.lend_bytes_max = kZeroBytes * kLendSegments;
  limits_.can_trim = true;
  limits_.can_fast_zero = true;
}

void NullDisk::Strategy(Bio& bio) noexcept {
  SLUICE_CHECK(InRange(bio.offset, bio.length, limits_.size));
  if (bio.op == Op::kRead && (bio.flags & kBorrow) != 0) {
    bio.segs = Zeroes().segs;
    bio.seg_count = kLendSegments;
    bio.flags |= kLent;
  } else if (bio.op == Op::kRead) {
    uint64_t skip = bio.seg_skip;
    uint64_t left = bio.length;
    for (const Segment* segment = bio.segs; left > 0; ++segment) {
      const uint64_t part = std::min(segment->iov_len - skip, left);
      std::memset(static_cast<char*>(segment->iov_base) + skip, 0, part);
      left -= part;
      skip = 0;
    }
  }
  bio.resid = 0;
  Done(bio, 0);
}

void NullDisk::QueryExtents(ExtentQuery& query) noexcept {
  query.extents.assign(1, Extent{query.length, true, true});
  Reactor::Current()->Post([&query] { query.done(query); });
}

}  // namespace sluice
