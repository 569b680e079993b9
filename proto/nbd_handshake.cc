// SPDX-License-Identifier: Apache-2.0
#include "proto/nbd_handshake.h"

namespace sluice::nbd {
namespace {

// Length of the well-formed UTF-8 sequence at the front of `text` (RFC 3629), 0 if there is none.
size_t SequenceBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = 0;
  uint8_t low = 0x80;  // bounds of the second byte: no overlong form, no surrogate, no excess
  uint8_t high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  if (length == 0 || text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// A 32-bit length and that many bytes of text.
std::string_view TakeString(ByteReader& reader) {
  const std::string_view text = reader.TakeText(reader.Take<uint32_t>());
  if (!IsText(text)) reader.Fail();
  return text;
}

bool PutString(ByteWriter& writer, std::string_view text) {
  if (!IsText(text)) return false;
  writer.Put(static_cast<uint32_t>(text.size())).PutText(text);
  return writer.ok();
}

}  // namespace

bool IsText(std::string_view text) {
  if (text.size() > kMaxTextBytes) return false;
  while (!text.empty()) {
    const size_t length = SequenceBytes(text);
    if (length == 0 || text.front() == '\0') return false;
    text.remove_prefix(length);
  }
  return true;
}

std::array<uint8_t, kGreetingBytes> EncodeGreeting(uint16_t handshake_flags) {
  std::array<uint8_t, kGreetingBytes> out;
  ByteWriter(out).Put(kGreetingMagic).Put(kOptionMagic).Put(handshake_flags);
  return out;
}

std::optional<uint16_t> DecodeGreeting(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.Take<uint64_t>() != kGreetingMagic) return std::nullopt;
  if (reader.Take<uint64_t>() != kOptionMagic) return std::nullopt;
  const auto flags = reader.Take<uint16_t>();
  return reader.Complete() ? std::optional(flags) : std::nullopt;
}

std::array<uint8_t, kClientFlagsBytes> EncodeClientFlags(uint32_t flags) {
  std::array<uint8_t, kClientFlagsBytes> out;
  ByteWriter(out).Put(flags);
  return out;
}

std::optional<uint32_t> DecodeClientFlags(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  const auto flags = reader.Take<uint32_t>();
  return reader.Complete() ? std::optional(flags) : std::nullopt;
}

std::array<uint8_t, kOptionHeaderBytes> EncodeOptionHeader(const OptionHeader& header) {
  std::array<uint8_t, kOptionHeaderBytes> out;
  ByteWriter(out).Put(kOptionMagic).Put(static_cast<uint32_t>(header.option)).Put(header.length);
  return out;
}

std::optional<OptionHeader> DecodeOptionHeader(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.Take<uint64_t>() != kOptionMagic) return std::nullopt;
  OptionHeader header;
  header.option = static_cast<Option>(reader.Take<uint32_t>());
  header.length = reader.Take<uint32_t>();
  return reader.Complete() ? std::optional(header) : std::nullopt;
}

std::array<uint8_t, kOptionReplyHeaderBytes> EncodeOptionReplyHeader(
    const OptionReplyHeader& header) {
  std::array<uint8_t, kOptionReplyHeaderBytes> out;
  ByteWriter(out)
      .Put(kOptionReplyMagic)
      .Put(static_cast<uint32_t>(header.option))
      .Put(static_cast<uint32_t>(header.type))
      .Put(header.length);
  return out;
}

std::optional<OptionReplyHeader> DecodeOptionReplyHeader(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (reader.Take<uint64_t>() != kOptionReplyMagic) return std::nullopt;
  OptionReplyHeader header;
  header.option = static_cast<Option>(reader.Take<uint32_t>());
  header.type = static_cast<OptionReply>(reader.Take<uint32_t>());
  header.length = reader.Take<uint32_t>();
  return reader.Complete() ? std::optional(header) : std::nullopt;
}

size_t EncodeExportQuery(std::string_view name, std::span<const Info> infos, ByteSpan out) {
  ByteWriter writer(out);
  if (infos.size() > UINT16_MAX || !PutString(writer, name)) return 0;
  writer.Put(static_cast<uint16_t>(infos.size()));
  for (const Info info : infos) writer.Put(static_cast<uint16_t>(info));
  return writer.size();
}

std::optional<ExportQuery> DecodeExportQuery(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  ExportQuery query;
  query.name = TakeString(reader);
  query.infos = reader.TakeBytes(reader.Take<uint16_t>() * sizeof(uint16_t));
  return reader.Complete() ? std::optional(query) : std::nullopt;
}

size_t EncodeMetaQuery(std::string_view name, std::span<const std::string_view> queries,
                       ByteSpan out) {
  ByteWriter writer(out);
  if (!PutString(writer, name)) return 0;
  writer.Put(static_cast<uint32_t>(queries.size()));
  for (const std::string_view query : queries) {
    if (!PutString(writer, query)) return 0;
  }
  return writer.size();
}

std::optional<MetaQuery> DecodeMetaQuery(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  MetaQuery query;
  query.name = TakeString(reader);
  query.count = reader.Take<uint32_t>();
  query.queries = reader.rest();
  for (uint32_t i = 0; i < query.count && reader.ok(); ++i) TakeString(reader);
  return reader.Complete() ? std::optional(query) : std::nullopt;
}

std::optional<std::string_view> NextMetaQuery(ConstByteSpan& queries) {
  ByteReader reader(queries);
  const std::string_view query = TakeString(reader);
  queries = reader.rest();
  return reader.ok() ? std::optional(query) : std::nullopt;
}

size_t EncodeServerEntry(const ServerEntry& entry, ByteSpan out) {
  ByteWriter writer(out);
  if (!PutString(writer, entry.name) || !IsText(entry.description)) return 0;
  return writer.PutText(entry.description).size();
}

std::optional<ServerEntry> DecodeServerEntry(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  ServerEntry entry;
  entry.name = TakeString(reader);
  entry.description = reader.TakeText(reader.rest().size());
  return reader.ok() && IsText(entry.description) ? std::optional(entry) : std::nullopt;
}

size_t EncodeMetaContext(const MetaContext& context, ByteSpan out) {
  if (!IsText(context.name)) return 0;
  return ByteWriter(out).Put(context.id).PutText(context.name).size();
}

std::optional<MetaContext> DecodeMetaContext(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  MetaContext context;
  context.id = reader.Take<uint32_t>();
  context.name = reader.TakeText(reader.rest().size());
  return reader.ok() && IsText(context.name) ? std::optional(context) : std::nullopt;
}

std::optional<Info> DecodeInfoKind(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  const auto kind = static_cast<Info>(reader.Take<uint16_t>());
  return reader.ok() ? std::optional(kind) : std::nullopt;
}

std::array<uint8_t, kInfoExportBytes> EncodeInfoExport(const InfoExport& info) {
  std::array<uint8_t, kInfoExportBytes> out;
  ByteWriter(out).Put(static_cast<uint16_t>(Info::kExport)).Put(info.size).Put(info.flags);
  return out;
}

std::optional<InfoExport> DecodeInfoExport(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (static_cast<Info>(reader.Take<uint16_t>()) != Info::kExport) return std::nullopt;
  InfoExport info;
  info.size = reader.Take<uint64_t>();
  info.flags = reader.Take<uint16_t>();
  return reader.Complete() ? std::optional(info) : std::nullopt;
}

std::array<uint8_t, kInfoBlockSizeBytes> EncodeInfoBlockSize(const InfoBlockSize& info) {
  std::array<uint8_t, kInfoBlockSizeBytes> out;
  ByteWriter(out)
      .Put(static_cast<uint16_t>(Info::kBlockSize))
      .Put(info.min)
      .Put(info.preferred)
      .Put(info.max_payload);
  return out;
}

std::optional<InfoBlockSize> DecodeInfoBlockSize(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  if (static_cast<Info>(reader.Take<uint16_t>()) != Info::kBlockSize) return std::nullopt;
  InfoBlockSize info;
  info.min = reader.Take<uint32_t>();
  info.preferred = reader.Take<uint32_t>();
  info.max_payload = reader.Take<uint32_t>();
  return reader.Complete() ? std::optional(info) : std::nullopt;
}

size_t EncodeInfoText(const InfoText& info, ByteSpan out) {
  if (!IsText(info.text)) return 0;
  return ByteWriter(out).Put(static_cast<uint16_t>(info.kind)).PutText(info.text).size();
}

std::optional<InfoText> DecodeInfoText(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  InfoText info;
  info.kind = static_cast<Info>(reader.Take<uint16_t>());
  info.text = reader.TakeText(reader.rest().size());
  const bool known = info.kind == Info::kName || info.kind == Info::kDescription;
  return reader.ok() && known && IsText(info.text) ? std::optional(info) : std::nullopt;
}

std::array<uint8_t, kExportNameReplyBytes> EncodeExportNameReply(const InfoExport& info) {
  std::array<uint8_t, kExportNameReplyBytes> out;
  ByteWriter(out).Put(info.size).Put(info.flags);
  return out;
}

std::optional<InfoExport> DecodeExportNameReply(ConstByteSpan bytes) {
  ByteReader reader(bytes);
  InfoExport info;
  info.size = reader.Take<uint64_t>();
  info.flags = reader.Take<uint16_t>();
  return reader.Complete() ? std::optional(info) : std::nullopt;
}

}  // namespace sluice::nbd
