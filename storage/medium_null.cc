// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_null.h"

#include <cstring>

#include "core/check.h"
#include "core/reactor.h"
#include "core/units.h"
#include "storage/zeroes.h"

namespace sluice {
namespace {

// Everybody's at once: nothing in it changes, and there is nothing to give back.
Loan* ZeroLoan() noexcept {
  struct Lent {
    Loan loan;
    Segment seg;
  };
  static_assert(offsetof(Lent, seg) == sizeof(Loan));
  static Lent lent{{[](Loan&) noexcept {}, 1}, {Zeroes(), kZeroesBytes}};
  return &lent.loan;
}

}  // namespace

NullMedium::NullMedium(uint64_t size) {
  SLUICE_CHECK(size > 0 && size % kSector == 0);
  limits_.size = size;
  limits_.block = kSector;
  limits_.mem_align = 1;
  limits_.depth = 128;
  limits_.lend_bytes_max = kZeroesBytes;
  limits_.volatile_cache = false;
  limits_.native_fua = true;
  limits_.can_trim = true;
  limits_.can_zero = true;
  limits_.can_fast_zero = true;
}

Started NullMedium::Start(MediumIo& io) noexcept {
  SLUICE_CHECK(InRange(io.offset, io.length, limits_.size));
  io.result = HasData(io.what) ? io.length : 0;
  if (io.what != Op::kRead) return Started::kDone;
  if ((io.flags & kBorrow) != 0) {
    SLUICE_CHECK(io.length <= kZeroesBytes);
    io.loan = ZeroLoan();
  }
  for (uint32_t i = 0; i < io.seg_count; ++i) {
    std::memset(io.segs[i].iov_base, 0, io.segs[i].iov_len);
  }
  return Started::kDone;
}

void NullMedium::QueryExtents(ExtentQuery& query) noexcept {
  SLUICE_CHECK(query.length > 0 && InRange(query.offset, query.length, limits_.size));
  AppendExtent(query.extents, {query.length, true, true});
  Reactor::Current()->Post([&query] { query.done(query); });
}

}  // namespace sluice
