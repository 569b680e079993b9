// SPDX-License-Identifier: Apache-2.0
#include "client/bench/reply_reader.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "proto/nbd_transmission.h"

namespace sluice::bench {
namespace {

// The longest body that is taken whole: an error with its text. Fits the buffer many times.
constexpr uint32_t kMaxWholeBody =
    static_cast<uint32_t>(nbd::MaxErrorBodyBytes(nbd::kMaxTextBytes));

absl::Status Broken(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the server breaks the protocol: ", what));
}

}  // namespace

absl::Status ReplyReader::Take(size_t count) {
  ConstByteSpan bytes = ConstByteSpan(buffer_).first(kept_ + count);
  while (!bytes.empty()) {
    if (reading_ != nullptr) {
      const size_t piece = std::min<uint64_t>(bytes.size(), payload_left_);
      TakePayload(bytes.first(piece));
      bytes = bytes.subspan(piece);
      if (payload_left_ > 0) break;
      Request& request = *reading_;
      reading_ = nullptr;
      if (!payload_last_) continue;
      if (absl::Status status = Finish(request); !status.ok()) return status;
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

void ReplyReader::TakePayload(ConstByteSpan piece) {
  sink_.OnData(*reading_, payload_offset_, piece);
  reading_->received += static_cast<uint32_t>(piece.size());
  payload_offset_ += piece.size();
  payload_left_ -= piece.size();
}

absl::Status ReplyReader::Finish(Request& request) {
  const bool short_read = request.command == nbd::Command::kRead &&
                          request.error == nbd::Error::kNone && request.received < request.length;
  if (short_read) return Broken("a READ ends with less data than was asked for");
  sink_.OnDone(request);
  return absl::OkStatus();
}

}  // namespace sluice::bench
