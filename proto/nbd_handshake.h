// SPDX-License-Identifier: Apache-2.0
// Messages of the fixed newstyle handshake. Nothing here does I/O or allocates; every function
// may be called from any thread.
//
// Fixed messages encode to an array. Variable ones encode into a span and return the bytes
// written, 0 if it is too small or a text is longer than the protocol allows. Decoding takes the
// whole message and fails (nullopt) on a wrong magic, on a byte too few or too many, and on a text
// that is too long, holds a NUL or is not UTF-8. What decoding returns points into its input.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "proto/bytes.h"
#include "proto/nbd.h"

namespace sluice::nbd {

// A name the protocol allows: UTF-8 without NUL, at most kMaxTextBytes. The empty name is one.
bool IsText(std::string_view text);

// Server's first words and the client's answer to them.
inline constexpr size_t kGreetingBytes = 18;
inline constexpr size_t kClientFlagsBytes = 4;
std::array<uint8_t, kGreetingBytes> EncodeGreeting(uint16_t handshake_flags);
std::optional<uint16_t> DecodeGreeting(ConstByteSpan bytes);
std::array<uint8_t, kClientFlagsBytes> EncodeClientFlags(uint32_t flags);
std::optional<uint32_t> DecodeClientFlags(ConstByteSpan bytes);

// An option's header; `length` bytes of data follow.
struct OptionHeader {
  Option option = {};
  uint32_t length = 0;
  bool operator==(const OptionHeader&) const = default;
};
inline constexpr size_t kOptionHeaderBytes = 16;
std::array<uint8_t, kOptionHeaderBytes> EncodeOptionHeader(const OptionHeader& header);
std::optional<OptionHeader> DecodeOptionHeader(ConstByteSpan bytes);

// An option reply's header; `length` bytes of data follow.
struct OptionReplyHeader {
  Option option = {};
  OptionReply type = {};
  uint32_t length = 0;
  bool operator==(const OptionReplyHeader&) const = default;
};
inline constexpr size_t kOptionReplyHeaderBytes = 20;
std::array<uint8_t, kOptionReplyHeaderBytes> EncodeOptionReplyHeader(
    const OptionReplyHeader& header);
std::optional<OptionReplyHeader> DecodeOptionReplyHeader(ConstByteSpan bytes);

// Data of INFO and GO. The list of infos may hold numbers nobody knows.
struct ExportQuery {
  std::string_view name;
  ConstByteSpan infos;  // big-endian 16-bit numbers
  size_t info_count() const { return infos.size() / sizeof(uint16_t); }
  Info info(size_t i) const {
    return static_cast<Info>(LoadBigEndian<uint16_t>(infos.data() + i * sizeof(uint16_t)));
  }
};
size_t EncodeExportQuery(std::string_view name, std::span<const Info> infos, ByteSpan out);
std::optional<ExportQuery> DecodeExportQuery(ConstByteSpan bytes);

// Data of LIST_META_CONTEXT and SET_META_CONTEXT.
struct MetaQuery {
  std::string_view name;
  uint32_t count = 0;
  ConstByteSpan queries;  // `count` of them, each well formed
};
size_t EncodeMetaQuery(std::string_view name, std::span<const std::string_view> queries,
                       ByteSpan out);
std::optional<MetaQuery> DecodeMetaQuery(ConstByteSpan bytes);
// Takes the next query off `queries` of a decoded MetaQuery; nullopt at the end.
std::optional<std::string_view> NextMetaQuery(ConstByteSpan& queries);

// Data of REP_SERVER: one export. The description may be empty.
struct ServerEntry {
  std::string_view name;
  std::string_view description;
  bool operator==(const ServerEntry&) const = default;
};
size_t EncodeServerEntry(const ServerEntry& entry, ByteSpan out);
std::optional<ServerEntry> DecodeServerEntry(ConstByteSpan bytes);

// Data of REP_META_CONTEXT. LIST_META_CONTEXT answers with id 0.
struct MetaContext {
  uint32_t id = 0;
  std::string_view name;
  bool operator==(const MetaContext&) const = default;
};
size_t EncodeMetaContext(const MetaContext& context, ByteSpan out);
std::optional<MetaContext> DecodeMetaContext(ConstByteSpan bytes);

// Data of REP_INFO, one kind each. The kind is the first 16 bits.
std::optional<Info> DecodeInfoKind(ConstByteSpan bytes);

struct InfoExport {
  uint64_t size = 0;
  uint16_t flags = 0;
  bool operator==(const InfoExport&) const = default;
};
inline constexpr size_t kInfoExportBytes = 12;
std::array<uint8_t, kInfoExportBytes> EncodeInfoExport(const InfoExport& info);
std::optional<InfoExport> DecodeInfoExport(ConstByteSpan bytes);

struct InfoBlockSize {
  uint32_t min = 1;
  uint32_t preferred = 4096;
  uint32_t max_payload = kDefaultMaxPayloadBytes;
  bool operator==(const InfoBlockSize&) const = default;
};
inline constexpr size_t kInfoBlockSizeBytes = 14;
std::array<uint8_t, kInfoBlockSizeBytes> EncodeInfoBlockSize(const InfoBlockSize& info);
std::optional<InfoBlockSize> DecodeInfoBlockSize(ConstByteSpan bytes);

// INFO_NAME and INFO_DESCRIPTION.
struct InfoText {
  Info kind = Info::kName;
  std::string_view text;
  bool operator==(const InfoText&) const = default;
};
size_t EncodeInfoText(const InfoText& info, ByteSpan out);
std::optional<InfoText> DecodeInfoText(ConstByteSpan bytes);

// Answer to EXPORT_NAME: no reply header, and 124 zero bytes unless both sides said kNoZeroes.
inline constexpr size_t kExportNameReplyBytes = 10;
inline constexpr size_t kExportNameZeroBytes = 124;
std::array<uint8_t, kExportNameReplyBytes> EncodeExportNameReply(const InfoExport& info);
std::optional<InfoExport> DecodeExportNameReply(ConstByteSpan bytes);

}  // namespace sluice::nbd
