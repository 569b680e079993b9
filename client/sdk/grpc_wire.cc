// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "client/crc32c.h"
#include "core/check.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

// Of an Op: seven fields with tags of one byte, and the tag and length before it.
constexpr size_t kMaxOpBytes = 64;
constexpr size_t kMaxRestBytes = 32;  // ack_through, and what stands before the payload

v1::OpKind KindOf(OpKind kind) {
  switch (kind) {
    case OpKind::kRead:
      return v1::OP_KIND_READ;
    case OpKind::kWrite:
      return v1::OP_KIND_WRITE;
    case OpKind::kWriteZeroes:
      return v1::OP_KIND_WRITE_ZEROES;
    case OpKind::kDiscard:
      return v1::OP_KIND_DISCARD;
    case OpKind::kFlush:
      return v1::OP_KIND_FLUSH;
    case OpKind::kExtents:
    case OpKind::kChecksums:
      break;  // have calls of their own
  }
  SLUICE_CHECK(false);
}

uint32_t FlagsOf(const Op& op) {
  uint32_t flags = 0;
  if (op.kind == OpKind::kRead) flags |= v1::OP_FLAG_OMIT_ZEROES;
  if (op.changes() && (op.flags & kFua) != 0) flags |= v1::OP_FLAG_FUA;
  if (op.kind == OpKind::kWriteZeroes && (op.flags & kNoHole) != 0) flags |= v1::OP_FLAG_NO_HOLE;
  return flags;
}

// Behind `at`; where a WRITE's checksum is to be put is told in `sum`.
uint8_t* PutOp(const NumberedOp& numbered, uint32_t payload_offset, uint8_t* at, uint8_t** sum) {
  const Op& op = *numbered.op;
  std::array<uint8_t, kMaxOpBytes> body;
  uint8_t* end = body.data();
  end = WireFormatLite::WriteUInt64ToArray(v1::Op::kOpIdFieldNumber, numbered.id, end);
  end = WireFormatLite::WriteEnumToArray(v1::Op::kKindFieldNumber, KindOf(op.kind), end);
  if (const uint32_t flags = FlagsOf(op); flags != 0) {
    end = WireFormatLite::WriteUInt32ToArray(v1::Op::kFlagsFieldNumber, flags, end);
  }
  if (op.kind != OpKind::kFlush) {
    end = WireFormatLite::WriteUInt64ToArray(v1::Op::kOffsetBytesFieldNumber, op.offset, end);
    end = WireFormatLite::WriteUInt32ToArray(v1::Op::kLengthBytesFieldNumber, op.length, end);
  }
  const bool writes = op.kind == OpKind::kWrite;
  if (writes) {
    end =
        WireFormatLite::WriteUInt32ToArray(v1::Op::kPayloadOffsetFieldNumber, payload_offset, end);
    end = WireFormatLite::WriteFixed32ToArray(v1::Op::kCrc32CFieldNumber, 0, end);
  }
  const auto length = static_cast<uint32_t>(end - body.data());
  at = WireFormatLite::WriteTagToArray(v1::IoRequest::kOpsFieldNumber,
                                       WireFormatLite::WIRETYPE_LENGTH_DELIMITED, at);
  at = CodedOutputStream::WriteVarint32ToArray(length, at);
  std::memcpy(at, body.data(), length);
  at += length;
  *sum = writes ? at - sizeof(uint32_t) : nullptr;
  return at;
}

}  // namespace

::grpc::ByteBuffer EncodeOps(std::span<const NumberedOp> ops, uint64_t ack_through) {
  // The head first, for its length; then everything in one slice.
  std::vector<uint8_t> head(ops.size() * kMaxOpBytes + kMaxRestBytes);
  std::vector<std::ptrdiff_t> sums(ops.size());
  uint8_t* end = head.data();
  uint32_t payload = 0;
  for (size_t i = 0; i < ops.size(); ++i) {
    uint8_t* sum = nullptr;
    end = PutOp(ops[i], payload, end, &sum);
    if (sum == nullptr) continue;
    sums[i] = sum - head.data();
    payload += ops[i].op->length;
  }
  if (ack_through != 0) {
    end =
        WireFormatLite::WriteUInt64ToArray(v1::IoRequest::kAckThroughFieldNumber, ack_through, end);
  }
  if (payload != 0) {
    end = WireFormatLite::WriteTagToArray(v1::IoRequest::kPayloadFieldNumber,
                                          WireFormatLite::WIRETYPE_LENGTH_DELIMITED, end);
    end = CodedOutputStream::WriteVarint32ToArray(payload, end);
  }
  const auto head_bytes = static_cast<size_t>(end - head.data());
  const ::grpc::Slice slice(head_bytes + payload);
  auto* const memory = const_cast<uint8_t*>(slice.begin());
  uint8_t* at = memory + head_bytes;
  for (size_t i = 0; i < ops.size(); ++i) {
    const Op& op = *ops[i].op;
    if (op.kind != OpKind::kWrite) continue;
    CodedOutputStream::WriteLittleEndian32ToArray(client::CopyWithCrc32c(at, op.data, op.length),
                                                  head.data() + sums[i]);
    at += op.length;
  }
  std::memcpy(memory, head.data(), head_bytes);
  return ::grpc::ByteBuffer(&slice, 1);
}

bool IoReply::Parse() {
  ::grpc::ProtoBufferReader reader(&bytes_);
  CodedInputStream in(&reader);
  in.SetTotalBytesLimit(INT32_MAX);
  const auto parse = [&in](auto& message) { return WireFormatLite::ReadMessage(&in, &message); };
  for (uint32_t tag = in.ReadTag(); tag != 0; tag = in.ReadTag()) {
    const bool bytes =
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    const int number = WireFormatLite::GetTagFieldNumber(tag);
    bool good = true;
    if (bytes && number == v1::IoResponse::kResultsFieldNumber) {
      good = parse(results_.emplace_back());
    } else if (bytes && number == v1::IoResponse::kAttachedFieldNumber) {
      has_attached_ = good = parse(attached_);
    } else if (bytes && number == v1::IoResponse::kNoticeFieldNumber) {
      has_notice_ = good = parse(notice_);
    } else if (bytes && number == v1::IoResponse::kPayloadFieldNumber) {
      uint32_t left = 0;
      good = in.ReadVarint32(&left);
      payload_.clear();
      while (good && left > 0) {
        const void* piece = nullptr;
        int size = 0;
        good = in.GetDirectBufferPointer(&piece, &size);
        if (!good) break;
        const int taken = static_cast<int>(std::min<uint32_t>(left, static_cast<uint32_t>(size)));
        payload_.emplace_back(static_cast<const uint8_t*>(piece), static_cast<size_t>(taken));
        left -= static_cast<uint32_t>(taken);
        good = in.Skip(taken);
      }
    } else {
      good = WireFormatLite::SkipField(&in, tag);
    }
    if (!good) return false;
  }
  return in.ConsumedEntireMessage();
}

bool IoReply::CopyData(const v1::OpResult& result, std::byte* to) {
  if (result.all_zero()) {
    std::memset(to, 0, result.length_bytes());
    return true;
  }
  const uint64_t begin = result.payload_offset();
  if (begin < piece_begins_) piece_ = piece_begins_ = 0;
  while (piece_ < payload_.size() && begin >= piece_begins_ + payload_[piece_].size()) {
    piece_begins_ += payload_[piece_++].size();
  }
  uint64_t skip = begin - piece_begins_;
  size_t left = result.length_bytes();
  uint32_t sum = 0;
  while (left > 0) {
    if (piece_ == payload_.size()) return false;
    const auto piece =
        payload_[piece_].subspan(skip, std::min(left, payload_[piece_].size() - skip));
    sum = client::CopyWithCrc32c(to, piece.data(), piece.size(), sum);
    to += piece.size();
    left -= piece.size();
    if (left == 0) break;
    piece_begins_ += payload_[piece_++].size();
    skip = 0;
  }
  return !result.has_crc32c() || sum == result.crc32c();
}

}  // namespace internal
SLUICE_SDK_END
