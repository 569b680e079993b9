// SPDX-License-Identifier: Apache-2.0
// The numbers of the NBD protocol (proto.md of the NBD project) and its error table.
// The messages are in proto/nbd_handshake.h and proto/nbd_transmission.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::nbd {

inline constexpr uint16_t kPort = 10809;

inline constexpr uint64_t kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;    // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kChunkMagic = 0x668e33ef;

// Names, descriptions, queries and error messages; in bytes.
inline constexpr uint32_t kMaxTextBytes = 4096;
// What a peer may send or ask for when nothing was agreed.
inline constexpr uint32_t kDefaultMaxPayloadBytes = 32u << 20;

// Handshake flags; the client echoes those it takes in a 32-bit word.
inline constexpr uint16_t kFixedNewstyle = 1u << 0;
inline constexpr uint16_t kNoZeroes = 1u << 1;

enum class Option : uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kPeekExport = 4,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
  kExtendedHeaders = 11,
};

enum class OptionReply : uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kErrUnsup = 0x80000001,
  kErrPolicy = 0x80000002,
  kErrInvalid = 0x80000003,
  kErrPlatform = 0x80000004,
  kErrTlsReqd = 0x80000005,
  kErrUnknown = 0x80000006,
  kErrShutdown = 0x80000007,
  kErrBlockSizeReqd = 0x80000008,
  kErrTooBig = 0x80000009,
  kErrExtHeaderReqd = 0x8000000a,
};
constexpr bool IsError(OptionReply type) { return (static_cast<uint32_t>(type) >> 31) != 0; }

enum class Info : uint16_t { kExport = 0, kName = 1, kDescription = 2, kBlockSize = 3 };

// Transmission flags: what an export can do.
inline constexpr uint16_t kHasFlags = 1u << 0;
inline constexpr uint16_t kReadOnly = 1u << 1;
inline constexpr uint16_t kSendFlush = 1u << 2;
inline constexpr uint16_t kSendFua = 1u << 3;
inline constexpr uint16_t kRotational = 1u << 4;
inline constexpr uint16_t kSendTrim = 1u << 5;
inline constexpr uint16_t kSendWriteZeroes = 1u << 6;
inline constexpr uint16_t kSendDf = 1u << 7;
inline constexpr uint16_t kCanMultiConn = 1u << 8;
inline constexpr uint16_t kSendCache = 1u << 10;
inline constexpr uint16_t kSendFastZero = 1u << 11;

enum class Command : uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisc = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};
// "READ", "WRITE" ...; "UNKNOWN" for a number that is none of them.
std::string_view CommandName(Command command);

// Command flags.
inline constexpr uint16_t kFlagFua = 1u << 0;
inline constexpr uint16_t kFlagNoHole = 1u << 1;
inline constexpr uint16_t kFlagDf = 1u << 2;
inline constexpr uint16_t kFlagReqOne = 1u << 3;
inline constexpr uint16_t kFlagFastZero = 1u << 4;

inline constexpr uint16_t kChunkDone = 1u << 0;
enum class ChunkType : uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kOffsetHole = 2,
  kBlockStatus = 5,
  kError = 0x8001,
  kErrorOffset = 0x8002,
};
constexpr bool IsError(ChunkType type) { return (static_cast<uint16_t>(type) >> 15) != 0; }

// The only errors that go on the wire.
enum class Error : uint32_t {
  kNone = 0,
  kPerm = 1,
  kIo = 5,
  kNoMem = 12,
  kInval = 22,
  kNoSpc = 28,
  kOverflow = 75,
  kNotSup = 95,
  kShutdown = 108,
};

// "EIO", "ENOSPC" ...; "UNKNOWN" for a number that is none of them.
std::string_view ErrorName(Error error);

// What a client is told for a system errno (0 is success). Lossy: log the true one first.
// What a drive or the way to it may have caused is kIo, whatever fits nothing better is kInval.
Error NbdError(int system_errno);
// The nearest system errno of a wire error, for the client's side.
int SystemErrno(Error error);

// The one meta context this project serves, and its status bits.
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr uint32_t kStateHole = 1u << 0;
inline constexpr uint32_t kStateZero = 1u << 1;
inline constexpr uint32_t kMaxExtentsPerChunk = 1u << 20;

}  // namespace sluice::nbd
