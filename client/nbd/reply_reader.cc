// SPDX-License-Identifier: Apache-2.0
#include "client/nbd/reply_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "proto/nbd_transmission.h"

namespace sluice {
namespace {

// The longest body that is taken whole: an error with its text. Fits the buffer many times.
constexpr uint32_t kMaxWholeBody =
    static_cast<uint32_t>(nbd::MaxErrorBodyBytes(nbd::kMaxTextBytes));

// From here on it pays to receive data where it shall be, instead of through the buffer.
constexpr uint64_t kDirectBytes = 32 << 10;

absl::Status Broken(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the server breaks the protocol: ", what));
}

}  // namespace

uint8_t* ReplySink::PlaceFor(Request&, uint64_t, uint64_t) { return nullptr; }

void ReplySink::OnExtents(Request&, ConstByteSpan) {}

ByteSpan ReplyReader::Room() {
  direct_ = false;
  if (reading_ != nullptr && !extents_ && payload_left_ >= kDirectBytes) {
    uint8_t* const place = sink_.PlaceFor(*reading_, payload_offset_, payload_left_);
    if (place != nullptr) {
      direct_ = true;
      return {place, payload_left_};
    }
  }
  return ByteSpan(buffer_).subspan(kept_);
}

absl::Status ReplyReader::Take(size_t count) {
  if (direct_) {
    direct_ = false;
    reading_->received += static_cast<uint32_t>(count);
    payload_offset_ += count;
    payload_left_ -= count;
    return payload_left_ == 0 ? EndPayload() : absl::OkStatus();
  }
  ConstByteSpan bytes = ConstByteSpan(buffer_).first(kept_ + count);
  while (!bytes.empty()) {
    if (reading_ != nullptr) {
      const size_t used = TakePayload(bytes);
      if (used == 0) break;
      bytes = bytes.subspan(used);
      if (payload_left_ > 0) continue;
      if (absl::Status status = EndPayload(); !status.ok()) return status;
      continue;
    }
    const auto used = TakeHead(bytes);
    if (!used.ok()) return used.status();
    if (*used == 0) break;
    bytes = bytes.subspan(*used);
  }
  kept_ = bytes.size();
  if (kept_ > 0) std::memmove(buffer_.data(), bytes.data(), kept_);
  return absl::OkStatus();
}

absl::StatusOr<size_t> ReplyReader::TakeHead(ConstByteSpan bytes) {
  if (bytes.size() < sizeof(uint32_t)) return 0;
  switch (LoadBigEndian<uint32_t>(bytes.data())) {
    case nbd::kSimpleReplyMagic:
      return TakeSimple(bytes);
    case nbd::kChunkMagic:
      if (structured_) return TakeChunk(bytes);
      return Broken("a structured reply that was not agreed");
    default:
      return Broken("a reply begins with a wrong magic number");
  }
}

absl::StatusOr<size_t> ReplyReader::TakeSimple(ConstByteSpan bytes) {
  if (bytes.size() < nbd::kSimpleReplyBytes) return 0;
  const auto reply = nbd::DecodeSimpleReply(bytes.first(nbd::kSimpleReplyBytes));
  Request* request = reply ? flight_.Find(reply->cookie) : nullptr;
  if (request == nullptr) return Broken("a reply to no request");
  const bool read = request->command == nbd::Command::kRead;
  if (read && structured_) return Broken("a simple reply to READ");
  request->error = reply->error;
  if (read && reply->error == nbd::Error::kNone) {
    absl::Status status = BeginData(*request, request->offset, request->length, true);
    if (!status.ok()) return status;
  } else if (absl::Status status = Finish(*request); !status.ok()) {
    return status;
  }
  return nbd::kSimpleReplyBytes;
}

absl::StatusOr<size_t> ReplyReader::TakeChunk(ConstByteSpan bytes) {
  if (bytes.size() < nbd::kChunkHeaderBytes) return 0;
  const auto header = nbd::DecodeChunkHeader(bytes.first(nbd::kChunkHeaderBytes));
  Request* request = header ? flight_.Find(header->cookie) : nullptr;
  if (request == nullptr) return Broken("a chunk of no request");
  const bool last = (header->flags & nbd::kChunkDone) != 0;
  const ConstByteSpan rest = bytes.subspan(nbd::kChunkHeaderBytes);
  if (header->type == nbd::ChunkType::kOffsetData) {
    if (rest.size() < nbd::kOffsetDataBytes) return 0;
    if (header->length <= nbd::kOffsetDataBytes) return Broken("a chunk without its data");
    absl::Status status = BeginData(*request, LoadBigEndian<uint64_t>(rest.data()),
                                    header->length - nbd::kOffsetDataBytes, last);
    if (!status.ok()) return status;
    return nbd::kChunkHeaderBytes + nbd::kOffsetDataBytes;
  }
  if (header->type == nbd::ChunkType::kBlockStatus && context_) {
    return BeginExtents(*request, *header, rest);
  }
  if (header->length > kMaxWholeBody) return Broken("a chunk longer than its type allows");
  if (rest.size() < header->length) return 0;
  const ConstByteSpan body = rest.first(header->length);
  if (header->type == nbd::ChunkType::kOffsetHole) {
    if (absl::Status status = TakeHole(*request, body); !status.ok()) return status;
  } else if (IsError(header->type)) {
    const auto error = nbd::DecodeErrorBody(header->type, body);
    if (!error) return Broken("a malformed error chunk");
    if (request->error == nbd::Error::kNone) request->error = error->error;
  } else if (header->type != nbd::ChunkType::kNone || !body.empty() || !last) {
    return Broken("a chunk of a kind nobody asked for");
  }
  if (last) {
    if (absl::Status status = Finish(*request); !status.ok()) return status;
  }
  return nbd::kChunkHeaderBytes + body.size();
}

absl::Status ReplyReader::TakeHole(Request& request, ConstByteSpan body) {
  const auto hole = nbd::DecodeOffsetHole(body);
  if (!hole) return Broken("a malformed hole chunk");
  absl::Status status = BeginData(request, hole->offset, hole->length, false);
  if (!status.ok()) return status;
  reading_ = nullptr;  // it has no payload
  request.received += hole->length;
  sink_.OnHole(request, hole->offset, hole->length);
  return absl::OkStatus();
}

absl::Status ReplyReader::BeginData(Request& request, uint64_t offset, uint64_t length, bool last) {
  if (request.command != nbd::Command::kRead) return Broken("data in the reply to no READ");
  if (offset < request.offset || !InRange(offset - request.offset, length, request.length)) {
    return Broken("data outside of what was asked for");
  }
  if (length > request.length - request.received) return Broken("more data than was asked for");
  reading_ = &request;
  payload_offset_ = offset;
  payload_left_ = length;
  payload_last_ = last;
  return absl::OkStatus();
}

absl::StatusOr<size_t> ReplyReader::BeginExtents(Request& request, const nbd::ChunkHeader& header,
                                                 ConstByteSpan body) {
  if (request.command != nbd::Command::kBlockStatus) return Broken("extents nobody asked for");
  if (header.length < nbd::kContextIdBytes + nbd::kStatusExtentBytes ||
      (header.length - nbd::kContextIdBytes) % nbd::kStatusExtentBytes != 0) {
    return Broken("a malformed chunk of extents");
  }
  if (body.size() < nbd::kContextIdBytes) return 0;
  if (LoadBigEndian<uint32_t>(body.data()) != *context_) return Broken("extents of no context");
  reading_ = &request;
  extents_ = true;
  payload_left_ = header.length - nbd::kContextIdBytes;
  payload_last_ = (header.flags & nbd::kChunkDone) != 0;
  return nbd::kChunkHeaderBytes + nbd::kContextIdBytes;
}

size_t ReplyReader::TakePayload(ConstByteSpan bytes) {
  ConstByteSpan piece = bytes.first(std::min<uint64_t>(bytes.size(), payload_left_));
  if (extents_) {
    piece = piece.first(piece.size() - piece.size() % nbd::kStatusExtentBytes);
    if (!piece.empty()) sink_.OnExtents(*reading_, piece);
  } else {
    sink_.OnData(*reading_, payload_offset_, piece);
    payload_offset_ += piece.size();
  }
  reading_->received += static_cast<uint32_t>(piece.size());
  payload_left_ -= piece.size();
  return piece.size();
}

absl::Status ReplyReader::EndPayload() {
  Request& request = *reading_;
  reading_ = nullptr;
  extents_ = false;
  return payload_last_ ? Finish(request) : absl::OkStatus();
}

absl::Status ReplyReader::Finish(Request& request) {
  const bool short_read = request.command == nbd::Command::kRead &&
                          request.error == nbd::Error::kNone && request.received < request.length;
  if (short_read) return Broken("a READ ends with less data than was asked for");
  const bool no_extents = request.command == nbd::Command::kBlockStatus &&
                          request.error == nbd::Error::kNone && request.received == 0;
  if (no_extents) return Broken("a BLOCK_STATUS ends without extents");
  sink_.OnDone(request);
  return absl::OkStatus();
}

}  // namespace sluice
