// SPDX-License-Identifier: Apache-2.0
// What carries a volume's operations to a server and their outcomes back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "client/sdk/engine.h"
#include "sluice/client.h"

SLUICE_SDK_BEGIN
namespace internal {

enum class OpKind : uint8_t { kRead, kWrite, kWriteZeroes, kDiscard, kFlush, kExtents, kChecksums };

struct Op;

// Hears once of the end of each op it started, on the I/O thread; the op is its own again.
class OpOwner {
 public:
  virtual void OnEnd(Op& op, Status status) = 0;

 protected:
  ~OpOwner() = default;
};

// One request: within the volume, aligned, no longer than the transport takes. Its owner keeps it
// until OnEnd().
struct Op {
  OpOwner* owner = nullptr;
  OpKind kind = OpKind::kRead;
  uint32_t flags = 0;  // WriteFlags
  uint64_t offset = 0;
  uint32_t length = 0;
  std::byte* data = nullptr;  // of reads and writes
  // Of those that ask about the range: what was told is put behind it, and how many bytes were told
  // about.
  std::vector<Extent>* extents = nullptr;
  std::vector<Checksum>* checksums = nullptr;
  uint32_t chunk_bytes = 0;  // of kChecksums; the range begins with a chunk
  uint32_t covered = 0;
  uint32_t attempts = 0;  // the transport's: connections it was lost with
  bool sent = false;      // the transport's: in a session that is lost since
  uint64_t mark = 0;      // the transport's: of a flush, what it covers
  uint64_t doubts = 0;    // the transport's: of a flush, losses told before it

  bool changes() const {
    return kind == OpKind::kWrite || kind == OpKind::kWriteZeroes || kind == OpKind::kDiscard;
  }
  bool asks() const { return kind == OpKind::kExtents || kind == OpKind::kChecksums; }
};

class Transport {
 public:
  virtual ~Transport() = default;

  // Where its operations run. Any thread.
  virtual IoThread& thread() = 0;
  // Constant.
  virtual const VolumeInfo& info() const = 0;
  // What it is now. Any thread.
  virtual uint64_t size_bytes() const { return info().size_bytes; }
  // The longest request of a kind, in bytes; a multiple of the block, and of a chunk.
  virtual uint32_t max_length(OpKind kind) const = 0;

  // On the I/O thread. The op may end inside the call.
  virtual void Start(Op& op) = 0;
  // Before Stop(), not on the I/O thread: what blocks is told to end, and awaited.
  virtual void PrepareToStop() = 0;
  // On the I/O thread: whatever is outstanding ends now, what is started later ends at once.
  virtual void Stop() = 0;
};

// Connects; picks the transport by the URI's scheme. Blocks; not on an I/O thread.
Result<std::unique_ptr<Transport>> OpenTransport(Engine& engine, std::string_view uri,
                                                 const Options& options);

}  // namespace internal
SLUICE_SDK_END
