// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/convert.h"

#include <algorithm>

#include "core/units.h"
#include "server/crc32c.h"

namespace sluice::rpc {
namespace {

bool ToOp(v1::OpKind kind, Op& op) {
  switch (kind) {
    case v1::OP_KIND_READ:
      op = Op::kRead;
      return true;
    case v1::OP_KIND_WRITE:
      op = Op::kWrite;
      return true;
    case v1::OP_KIND_WRITE_ZEROES:
      op = Op::kZero;
      return true;
    case v1::OP_KIND_DISCARD:
      op = Op::kTrim;
      return true;
    case v1::OP_KIND_FLUSH:
      op = Op::kFlush;
      return true;
    default:
      return false;
  }
}

// Finds the data of a WRITE; the reason if they are not as announced.
Reason FindData(const v1::Op& from, const std::string& payload, OpRequest& op) {
  if (!InRange(from.payload_offset(), op.length, payload.size())) return Reason::kBadRequest;
  op.data = payload.data() + from.payload_offset();
  if (from.has_crc32c() && Crc32c(op.data, op.length) != from.crc32c()) {
    return Reason::kChecksumMismatch;
  }
  return Reason::kNone;
}

}  // namespace

bool ToFlags(uint32_t flags, Op op, uint8_t& bio_flags) {
  uint32_t legal = 0;
  if (IsWriteType(op)) legal |= v1::OP_FLAG_FUA;
  if (op == Op::kRead) legal |= v1::OP_FLAG_OMIT_ZEROES;
  if (op == Op::kZero) legal |= v1::OP_FLAG_NO_HOLE | v1::OP_FLAG_FAST_ZERO;
  bio_flags = 0;
  if ((flags & v1::OP_FLAG_FUA) != 0) bio_flags |= kFua;
  if ((flags & v1::OP_FLAG_NO_HOLE) != 0) bio_flags |= kNoHole;
  if ((flags & v1::OP_FLAG_FAST_ZERO) != 0) bio_flags |= kFastZero;
  return (flags & ~legal) == 0;
}

void ToOps(const v1::IoRequest& message, std::vector<OpRequest>& ops) {
  ops.clear();
  uint64_t last = 0;
  for (const v1::Op& from : message.ops()) {
    OpRequest& op = ops.emplace_back();
    op.op_id = from.op_id();
    op.offset = from.offset_bytes();
    op.length = from.length_bytes();
    op.timeout_ms = from.timeout_ms();
    op.omit_zeroes = (from.flags() & v1::OP_FLAG_OMIT_ZEROES) != 0;
    if (!ToOp(from.kind(), op.op) || !ToFlags(from.flags(), op.op, op.flags) || op.op_id <= last) {
      op.refused = Reason::kBadRequest;
    } else if (op.op == Op::kWrite) {
      op.refused = FindData(from, message.payload(), op);
    }
    last = std::max(last, op.op_id);
  }
}

uint32_t AppendData(const Bio& bio, std::string& to) {
  uint32_t sum = 0;
  uint64_t skip = bio.seg_skip;
  uint64_t left = bio.length;
  for (uint16_t i = 0; i < bio.seg_count && left > 0; ++i) {
    const Segment& segment = bio.segs[i];
    const uint64_t size = std::min<uint64_t>(segment.iov_len - skip, left);
    const char* data = static_cast<const char*>(segment.iov_base) + skip;
    sum = Crc32c(data, size, sum);
    to.append(data, size);
    left -= size;
    skip = 0;
  }
  return sum;
}

void Describe(const Export& exported, v1::Geometry& geometry) {
  geometry.set_size_bytes(exported.size_bytes);
  geometry.set_block_size_bytes(exported.min_block_bytes);
  geometry.set_preferred_size_bytes(exported.preferred_block_bytes);
  geometry.set_read_only(exported.read_only);
  geometry.set_rotational(exported.rotational);
  geometry.set_can_discard(exported.can_trim && !exported.read_only);
  geometry.set_can_write_zeroes(exported.can_zero && !exported.read_only);
  geometry.set_can_fast_zero(exported.fast_zero && !exported.read_only);
}

}  // namespace sluice::rpc
