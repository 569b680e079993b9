// SPDX-License-Identifier: Apache-2.0
// Messages of the transmission phase with compact headers: requests, simple replies, structured
// chunks. Nothing here does I/O or allocates; every function may be called from any thread.
//
// Headers encode into a span of their exact size. Bodies of variable size encode into a span and
// return the bytes written, 0 if it is too small. Decoding fails (nullopt) on a wrong magic, on a
// byte too few or too many, and on a body its chunk type forbids. What decoding returns points
// into its input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "proto/bytes.h"
#include "proto/nbd.h"

namespace sluice::nbd {

// A client's request. WRITE is followed by `length` bytes of payload.
struct Request {
  uint16_t flags = 0;
  Command command = {};
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  bool operator==(const Request&) const = default;
};
inline constexpr size_t kRequestBytes = 28;
void EncodeRequest(const Request& request, std::span<uint8_t, kRequestBytes> out);
std::optional<Request> DecodeRequest(ConstByteSpan bytes);

// A READ without error is followed by its payload, all others by nothing.
struct SimpleReply {
  Error error = Error::kNone;
  uint64_t cookie = 0;
  bool operator==(const SimpleReply&) const = default;
};
inline constexpr size_t kSimpleReplyBytes = 16;
void EncodeSimpleReply(const SimpleReply& reply, std::span<uint8_t, kSimpleReplyBytes> out);
std::optional<SimpleReply> DecodeSimpleReply(ConstByteSpan bytes);

// One chunk of a structured reply; `length` bytes of body follow. kChunkDone marks the last.
struct ChunkHeader {
  uint16_t flags = 0;
  ChunkType type = {};
  uint64_t cookie = 0;
  uint32_t length = 0;
  bool operator==(const ChunkHeader&) const = default;
};
inline constexpr size_t kChunkHeaderBytes = 20;
void EncodeChunkHeader(const ChunkHeader& header, std::span<uint8_t, kChunkHeaderBytes> out);
std::optional<ChunkHeader> DecodeChunkHeader(ConstByteSpan bytes);

// Body of kOffsetData: the offset, then at least one byte of data.
inline constexpr size_t kOffsetDataBytes = 8;
void EncodeOffsetData(uint64_t offset, std::span<uint8_t, kOffsetDataBytes> out);
struct OffsetData {
  uint64_t offset = 0;
  ConstByteSpan data;
};
std::optional<OffsetData> DecodeOffsetData(ConstByteSpan bytes);

// Body of kOffsetHole: that many zero bytes, never none.
struct OffsetHole {
  uint64_t offset = 0;
  uint32_t length = 0;
  bool operator==(const OffsetHole&) const = default;
};
inline constexpr size_t kOffsetHoleBytes = 12;
void EncodeOffsetHole(const OffsetHole& hole, std::span<uint8_t, kOffsetHoleBytes> out);
std::optional<OffsetHole> DecodeOffsetHole(ConstByteSpan bytes);

// Body of kError (no offset) and kErrorOffset. Never without an error, the text is for humans and
// cut to kMaxTextBytes when encoded.
struct ErrorBody {
  Error error = Error::kIo;
  std::string_view text;
  std::optional<uint64_t> offset;
  bool operator==(const ErrorBody&) const = default;
};
// Largest room an encoded error takes for a text of `text_bytes`.
constexpr size_t MaxErrorBodyBytes(size_t text_bytes) { return 4 + 2 + text_bytes + 8; }
size_t EncodeErrorBody(const ErrorBody& body, ByteSpan out);
std::optional<ErrorBody> DecodeErrorBody(ChunkType type, ConstByteSpan bytes);

// Body of kBlockStatus: the context's id, then at least one descriptor.
struct StatusExtent {
  uint32_t length = 0;  // bytes, never 0
  uint32_t status = 0;
  bool operator==(const StatusExtent&) const = default;
};
inline constexpr size_t kContextIdBytes = 4;
inline constexpr size_t kStatusExtentBytes = 8;
void EncodeContextId(uint32_t id, std::span<uint8_t, kContextIdBytes> out);
void EncodeStatusExtent(const StatusExtent& extent, std::span<uint8_t, kStatusExtentBytes> out);
struct BlockStatus {
  uint32_t context_id = 0;
  ConstByteSpan extents;
  size_t extent_count() const { return extents.size() / kStatusExtentBytes; }
  StatusExtent extent(size_t i) const {
    const uint8_t* at = extents.data() + i * kStatusExtentBytes;
    return {LoadBigEndian<uint32_t>(at), LoadBigEndian<uint32_t>(at + sizeof(uint32_t))};
  }
};
std::optional<BlockStatus> DecodeBlockStatus(ConstByteSpan bytes);

}  // namespace sluice::nbd
