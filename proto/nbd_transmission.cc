// SPDX-License-Identifier: Apache-2.0
#include "proto/nbd_transmission.h"

namespace sluice::nbd {

void EncodeRequest(const Request& request, std::span<uint8_t, kRequestBytes> out) {
  ByteWriter(out)
      .Put(kRequestMagic)
      .Put(request.flags)
      .Put(static_cast<uint16_t>(request.command))
      .Put(request.cookie)
      .Put(request.offset)
      .Put(request.length);
}

std::optional<Request> DecodeRequest(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.Take<uint32_t>() != kRequestMagic) return std::nullopt;
  Request request;
  request.flags = reader.Take<uint16_t>();
  request.command = static_cast<Command>(reader.Take<uint16_t>());
  request.cookie = reader.Take<uint64_t>();
  request.offset = reader.Take<uint64_t>();
  request.length = reader.Take<uint32_t>();
  return reader.Complete() ? std::optional(request) : std::nullopt;
}

void EncodeSimpleReply(const SimpleReply& reply, std::span<uint8_t, kSimpleReplyBytes> out) {
  ByteWriter(out).Put(kSimpleReplyMagic).Put(static_cast<uint32_t>(reply.error)).Put(reply.cookie);
}

std::optional<SimpleReply> DecodeSimpleReply(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.Take<uint32_t>() != kSimpleReplyMagic) return std::nullopt;
  SimpleReply reply;
  reply.error = static_cast<Error>(reader.Take<uint32_t>());
  reply.cookie = reader.Take<uint64_t>();
  return reader.Complete() ? std::optional(reply) : std::nullopt;
}

void EncodeChunkHeader(const ChunkHeader& header, std::span<uint8_t, kChunkHeaderBytes> out) {
  ByteWriter(out)
      .Put(kChunkMagic)
      .Put(header.flags)
      .Put(static_cast<uint16_t>(header.type))
      .Put(header.cookie)
      .Put(header.length);
}

std::optional<ChunkHeader> DecodeChunkHeader(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.Take<uint32_t>() != kChunkMagic) return std::nullopt;
  ChunkHeader header;
  header.flags = reader.Take<uint16_t>();
  header.type = static_cast<ChunkType>(reader.Take<uint16_t>());
  header.cookie = reader.Take<uint64_t>();
  header.length = reader.Take<uint32_t>();
  return reader.Complete() ? std::optional(header) : std::nullopt;
}

void EncodeOffsetData(uint64_t offset, std::span<uint8_t, kOffsetDataBytes> out) {
  ByteWriter(out).Put(offset);
}

std::optional<OffsetData> DecodeOffsetData(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  OffsetData body;
  body.offset = reader.Take<uint64_t>();
  body.data = reader.rest();
  return reader.ok() && !body.data.empty() ? std::optional(body) : std::nullopt;
}

void EncodeOffsetHole(const OffsetHole& hole, std::span<uint8_t, kOffsetHoleBytes> out) {
  ByteWriter(out).Put(hole.offset).Put(hole.length);
}

std::optional<OffsetHole> DecodeOffsetHole(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  OffsetHole hole;
  hole.offset = reader.Take<uint64_t>();
  hole.length = reader.Take<uint32_t>();
  return reader.Complete() && hole.length > 0 ? std::optional(hole) : std::nullopt;
}

size_t EncodeErrorBody(const ErrorBody& body, ByteSpan out) {
  const std::string_view text = body.text.substr(0, kMaxTextBytes);
  ByteWriter writer(out);
  writer.Put(static_cast<uint32_t>(body.error))
      .Put(static_cast<uint16_t>(text.size()))
      .PutText(text);
  if (body.offset) writer.Put(*body.offset);
  return writer.size();
}

std::optional<ErrorBody> DecodeErrorBody(ChunkType type, ConstByteSpan bytes) {
  ByteReader reader(bytes);
  ErrorBody body;
  body.error = static_cast<Error>(reader.Take<uint32_t>());
  const auto length = reader.Take<uint16_t>();
  body.text = reader.TakeText(length);
  if (type == ChunkType::kErrorOffset) body.offset = reader.Take<uint64_t>();
  const bool legal = IsError(type) && body.error != Error::kNone && length <= kMaxTextBytes;
  return reader.Complete() && legal ? std::optional(body) : std::nullopt;
}

void EncodeContextId(uint32_t id, std::span<uint8_t, kContextIdBytes> out) {
  ByteWriter(out).Put(id);
}

void EncodeStatusExtent(const StatusExtent& extent, std::span<uint8_t, kStatusExtentBytes> out) {
  ByteWriter(out).Put(extent.length).Put(extent.status);
}

std::optional<BlockStatus> DecodeBlockStatus(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  BlockStatus status;
  status.context_id = reader.Take<uint32_t>();
  status.extents = reader.rest();
  const size_t count = status.extent_count();
  if (!reader.ok() || count == 0 || count > kMaxExtentsPerChunk) return std::nullopt;
  if (status.extents.size() % kStatusExtentBytes != 0) return std::nullopt;
  for (size_t i = 0; i < count; ++i) {
    if (status.extent(i).length == 0) return std::nullopt;
  }
  return status;
}

}  // namespace sluice::nbd
