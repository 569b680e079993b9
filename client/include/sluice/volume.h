// SPDX-License-Identifier: Apache-2.0
// A volume on a server, and what can be done with it.
//
// Three faces over one engine: Read() blocks, AsyncRead() calls back, ReadFuture() gives a future;
// sluice/awaitable.h adds co_await. Any number of threads may use one Volume. Callbacks run on the
// volume's I/O thread, one at a time: they must not block, may start new operations, and must not
// call a blocking one (that is refused with kFailedPrecondition) nor drop the last handle.
//
// Memory given to an operation is the SDK's until it has ended: until the call returns, the
// callback runs, the future is ready.
//
// Order. A flush covers every write answered before it was asked for. Writes (also of zeroes, also
// discards) that overlap are done one after the other, in the order they were asked for; all else
// is done in any order. A read beside a write of the same range may see either.
//
// Lost connections. They are made again by themselves, for Options::reconnect_ms. What was not sent
// yet and what changes nothing is then sent (again). What becomes of a write that was sent and not
// answered depends on the door.
//
// NBD: it ends with kUnknownOutcome, since NBD has no sessions in which a server could know it
// again: it may be done, not done, or yet to be done until the connection is back, and an
// overlapping write is held until then. The next flush says kUnknownOutcome too, once, if writes
// had been answered since the last one: the server may have restarted and lost what was not yet
// durable. In both cases: write again what matters, and flush. Options::resend_writes does it for
// you where that is safe.
//
// gRPC: the session goes on where it was. The server says which writes it has done; the others are
// sent again, in their order, and each is done once. If the server has restarted, the same is done
// in a new session, provided that nobody wrote meanwhile; the next flush then tells the doubt
// above. kUnknownOutcome is left for what was outstanding when another client took over (then all
// fails, kFenced), for volumes opened kShared after a restart, and for what is given up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sluice/buffer.h"
#include "sluice/export.h"
#include "sluice/status.h"

SLUICE_SDK_BEGIN

// As it was when the volume was opened. Sizes in bytes.
struct VolumeInfo {
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 1;  // offsets and lengths are multiples of it
  uint32_t preferred_bytes = 4096;
  uint32_t max_transfer_bytes = 0;  // of one request; the SDK splits what is longer
  uint32_t connections = 1;
  bool read_only = false;
  bool can_flush = false;
  bool can_fua = false;
  bool can_discard = false;
  bool can_write_zeroes = false;
  bool can_tell_extents = false;
  bool rotational = false;
  bool can_checksum = false;
};

// A run of a volume whose state is the same.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;  // bytes, never 0
  bool hole = false;    // takes no space
  bool zero = false;    // reads as zeroes
  bool operator==(const Extent&) const = default;
};

// Of a chunk of a volume.
struct Checksum {
  uint64_t offset = 0;
  uint32_t length = 0;  // bytes
  uint32_t crc32c = 0;  // Castagnoli, RFC 3720 B.4; of what was read, when that went well
  Status status;        // not ok: why the server could not read the chunk
};

// Flags of writes.
enum WriteFlags : uint32_t {
  kNone = 0,
  kFua = 1,     // answered when durable; a flush follows by itself where the server has no FUA
  kNoHole = 2,  // WriteZeroes: keep the space allocated
};

using Callback = std::function<void(Status)>;
using ExtentsCallback = std::function<void(Result<std::vector<Extent>>)>;
using ChecksumsCallback = std::function<void(Result<std::vector<Checksum>>)>;

namespace internal {
class VolumeState;
}

// A handle; copies are the same volume, which is closed with the last of them.
class SLUICE_API Volume {
 public:
  static constexpr uint32_t kChecksumChunkBytes = 64 << 10;

  explicit Volume(std::shared_ptr<internal::VolumeState> state) : state_(std::move(state)) {}

  const VolumeInfo& info() const;
  // What it is now: info().size_bytes until a resize is told.
  uint64_t size_bytes() const;
  BufferPool& buffers() const;

  Status Read(uint64_t offset, std::span<std::byte> into) const;
  Status Write(uint64_t offset, std::span<const std::byte> from, uint32_t flags = kNone) const;
  Status WriteZeroes(uint64_t offset, uint64_t length, uint32_t flags = kNone) const;
  // Gives the space up; what is read there next is zeroes or what was there.
  Status Discard(uint64_t offset, uint64_t length, uint32_t flags = kNone) const;
  Status Flush() const;
  // All of the range, in order, neighbours joined. kUnsupported: the server does not tell.
  Result<std::vector<Extent>> Extents(uint64_t offset, uint64_t length) const;
  // gRPC: the server reads the range, and all that crosses the network is a sum of each chunk, in
  // order; the last chunk may be shorter. `chunk_bytes`: a power of two, one block to 1 MiB. A
  // chunk that cannot be read does not fail the call: its status tells it. kUnsupported over NBD,
  // which has no checksums: open the volume over gRPC, or read it.
  Result<std::vector<Checksum>> Checksums(uint64_t offset, uint64_t length,
                                          uint32_t chunk_bytes = kChecksumChunkBytes) const;

  void AsyncRead(uint64_t offset, std::span<std::byte> into, Callback done) const;
  void AsyncRead(uint64_t offset, Buffer into, Callback done) const;
  void AsyncWrite(uint64_t offset, std::span<const std::byte> from, uint32_t flags,
                  Callback done) const;
  void AsyncWrite(uint64_t offset, Buffer from, uint32_t flags, Callback done) const;
  void AsyncWriteZeroes(uint64_t offset, uint64_t length, uint32_t flags, Callback done) const;
  void AsyncDiscard(uint64_t offset, uint64_t length, uint32_t flags, Callback done) const;
  void AsyncFlush(Callback done) const;
  void AsyncExtents(uint64_t offset, uint64_t length, ExtentsCallback done) const;
  void AsyncChecksums(uint64_t offset, uint64_t length, uint32_t chunk_bytes,
                      ChecksumsCallback done) const;

  std::future<Status> ReadFuture(uint64_t offset, std::span<std::byte> into) const;
  std::future<Status> WriteFuture(uint64_t offset, std::span<const std::byte> from,
                                  uint32_t flags = kNone) const;
  std::future<Status> FlushFuture() const;

 private:
  friend class Batch;
  std::shared_ptr<internal::VolumeState> state_;
};

SLUICE_SDK_END
