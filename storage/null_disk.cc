// SPDX-License-Identifier: Apache-2.0
#include "storage/null_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/reactor.h"
#include "core/units.h"
#include "storage/zeroes.h"

namespace sluice {
namespace {

// Lends the same zeroes to everybody, for ever.
struct ZeroLoan {
  Loan loan{[](Loan&) noexcept {}, 1};
  Segment seg{Zeroes(), kZeroesBytes};
};
static_assert(offsetof(ZeroLoan, seg) == sizeof(Loan));

ZeroLoan& LentZeroes() {
  static ZeroLoan zeroes;
  return zeroes;
}

}  // namespace

NullDisk::NullDisk(uint64_t size, uint32_t logical_block, bool read_only) {
  limits_.size = AlignDown(size, kSector);
  limits_.logical_block = logical_block;
  limits_.preferred = std::max(limits_.preferred, logical_block);
  limits_.read_only = read_only;
  limits_.lend_bytes_max = kZeroesBytes;
  limits_.swallows = true;
  limits_.can_trim = true;
  limits_.can_fast_zero = true;
}

void NullDisk::Strategy(Bio& bio) noexcept {
  SLUICE_CHECK(InRange(bio.offset, bio.length, limits_.size));
  if (limits_.read_only && IsWriteType(bio.op)) return Done(bio, EPERM);
  if (bio.op == Op::kRead && (bio.flags & kBorrow) != 0) {
    bio.segs = &LentZeroes().seg;
    bio.seg_count = 1;
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
