// SPDX-License-Identifier: Apache-2.0
#include "server/request_memory.h"

#include <algorithm>

#include "core/units.h"

namespace sluice {
namespace {

constexpr uint64_t kShare = 4;  // a session's part of a pool: one in so many

bool HasPayload(const BioCell& cell) {
  return cell.bio.segs != nullptr && (cell.bio.flags & kBorrow) == 0;
}

uint64_t Charge(uint32_t length) { return AlignUp(length, BufferPool::kBlockMin); }

// A session that holds nothing may take one request of any size, and from a pool's last part.
bool Within(uint64_t held, uint64_t amount, uint64_t pool, uint64_t free) {
  return held == 0 || amount == 0 ||
         (held + amount <= pool / kShare && amount + pool / kShare <= free);
}

}  // namespace

RequestMemory::Verdict RequestMemory::Take(RequestParts& request, const Shape& shape,
                                           bool first_in_line) {
  SLUICE_CHECK(request.parts.empty());
  BioPool& bios = reactor_.bios();
  const uint64_t parts = shape.length == 0 ? 1 : (shape.length - 1) / shape.part_bytes + 1;
  const uint64_t cells = parts * cells_per_part_;
  const uint64_t bytes = shape.payload ? Charge(shape.length) : 0;
  if (cells > bios.credits() || bytes > reactor_.buffers().bytes()) return Verdict::kNever;
  const BufferPool& buffers = reactor_.buffers();
  if (!Within(cells_, cells, bios.credits(), bios.credits() - bios.reserved()) ||
      !Within(bytes_, bytes, buffers.bytes(), buffers.free_bytes())) {
    return Verdict::kWaitOwn;
  }
  if (!first_in_line && !reactor_.PoolLineEmpty()) return Verdict::kWaitPool;
  if (!bios.Reserve(static_cast<uint32_t>(cells))) return Verdict::kWaitPool;
  cells_ += static_cast<uint32_t>(cells);
  if (MakeParts(request, shape)) return Verdict::kTaken;
  const size_t made = request.parts.size();
  Free(request);
  const auto unmade = static_cast<uint32_t>(cells - made * cells_per_part_);
  bios.Unreserve(unmade);
  cells_ -= unmade;
  return Verdict::kWaitPool;
}

bool RequestMemory::MakeParts(RequestParts& request, const Shape& shape) {
  request.part_bytes = shape.part_bytes;
  uint32_t done = 0;
  do {
    BioCell* cell = reactor_.bios().New();
    request.parts.push_back(cell);
    cell->bio.offset = shape.offset + done;
    cell->bio.length = std::min(shape.part_bytes, shape.length - done);
    if (shape.payload && !TakePayload(*cell)) return false;
    done += cell->bio.length;
  } while (done < shape.length);
  return true;
}

bool RequestMemory::TakePayload(BioCell& cell) {
  Segment segs[kMaxSegments];
  const uint16_t count = reactor_.buffers().Take(cell.bio.length, segs);
  if (count == 0) return false;
  Segment* to = count <= kInlineSegments ? cell.segs : reactor_.bios().NewList()->segs;
  std::copy(segs, segs + count, to);
  cell.bio.segs = to;
  cell.bio.seg_count = count;
  bytes_ += Charge(cell.bio.length);
  return true;
}

void RequestMemory::FreePayload(BioCell& cell) {
  if (!HasPayload(cell)) return;
  Bio& bio = cell.bio;
  reactor_.buffers().Give(bio.segs, bio.seg_count);
  if (bio.segs != cell.segs) {
    reactor_.bios().DeleteList(reinterpret_cast<SegmentList*>(const_cast<Segment*>(bio.segs)));
  }
  bio.segs = nullptr;
  bytes_ -= Charge(bio.length);
}

void RequestMemory::Free(RequestParts& request) {
  for (BioCell* cell : request.parts) {
    SLUICE_CHECK(cell->owner == nullptr);
    FreePayload(*cell);
    if ((cell->bio.flags & kLent) != 0) ReturnLoan(cell->bio);
    reactor_.bios().Delete(cell);
    reactor_.bios().Unreserve(cells_per_part_);
    cells_ -= cells_per_part_;
  }
  request.parts.clear();
}

void RequestMemory::GivePayload(BioCell& cell) {
  FreePayload(cell);
  reactor_.PoolsGave();
}

void RequestMemory::GiveAll(RequestParts& request) {
  if (request.parts.empty()) return;
  Free(request);
  reactor_.PoolsGave();
}

}  // namespace sluice
