// SPDX-License-Identifier: Apache-2.0
// The seam between policy and the world: what a disk's bytes lie on. A file or block device by
// io_uring, memory, nothing, or in tests a simulated, slow, short or failing one. A medium carries
// out; it does not queue, order, merge, retry or round.
//
// All calls are made on the disk's home reactor.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "core/bio.h"
#include "core/poller.h"
#include "core/target.h"

namespace sluice {

class Medium;

// One operation on the medium, in the medium's own units. The disk owns it and keeps it, and all
// memory named, until it has ended.
struct MediumIo {
  // The medium's own, from Start() to the end.
  RingOp op;  // to be completed by
  Medium* medium = nullptr;
  uint32_t attempts = 0;

  Op what = Op::kRead;
  uint8_t flags = 0;    // kFua (only if native_fua), kNoHole, kFastZero, kBorrow
  uint64_t offset = 0;  // bytes; kRead, kWrite, kZero, kTrim: a multiple of MediumLimits::block
  uint32_t length = 0;  // bytes, a multiple of it too
  const Segment* segs =
      nullptr;  // each base a multiple of mem_align, each length of block; sum is `length`
  uint32_t seg_count = 0;  // at most MediumLimits::segments_max
  Loan* loan = nullptr;    // out: what was lent to a kBorrow read, all of it; null if that failed
  int64_t result =
      0;  // out: bytes done (short is allowed for data), or a negative errno; 0 for the rest
  void (*done)(MediumIo& io) noexcept =
      nullptr;              // ends a kPending one; by the reactor, never inside Start()
  void* context = nullptr;  // the disk's
};

// The operation whose `op` this is: for a medium's RingOp::done.
inline MediumIo& MediumIoOf(RingOp& op) noexcept {
  static_assert(offsetof(MediumIo, op) == 0);
  return reinterpret_cast<MediumIo&>(op);
}

// A result that says nothing about the data: the same operation may be tried again, a few times.
constexpr bool IsTransient(int64_t result) { return result == -EAGAIN || result == -EINTR; }
inline constexpr uint8_t kTransientMax = 3;  // times

enum class Started : uint8_t {
  kPending,  // taken; `done` will be called
  kDone,     // ended at once; `result` says how; `done` will not be called
  kFull,     // not taken: ask again after a completion, or a turn if nothing is under way
};

struct MediumLimits {
  uint64_t size = 0;               // bytes, a multiple of block
  uint32_t block = 512;            // granularity of offsets and lengths, bytes
  uint32_t physical_block = 4096;  // below it the device itself reads, modifies and writes
  uint32_t mem_align = 512;        // of each segment's base, bytes
  uint32_t transfer_max =
      1 << 20;  // bytes worth gathering into one data operation; single bios may be longer
  uint32_t segments_max = 1024;  // segments of one operation
  uint32_t depth = 32;           // operations worth having under way
  uint32_t lend_bytes_max = 0;   // longest kBorrow read; 0: never lends
  bool read_only = false;
  bool rotational = false;
  bool volatile_cache = true;  // kFlush does something; false: writes are stable when done
  bool native_fua = false;     // kFua on kWrite is honoured by the medium
  bool page_cache = false;     // errors may surface in another operation than their own (promise 2)
  bool can_trim = false;
  bool can_zero = false;       // kZero may work; -EOPNOTSUPP tells if it does not after all
  bool can_fast_zero = false;  // with kFastZero it is quicker than writing, or -EOPNOTSUPP at once
};

class Medium {
 public:
  virtual ~Medium() = default;
  virtual const MediumLimits& limits() const noexcept = 0;

  // Called inside a turn of the reactor (Reactor::Current()) whose thread makes all calls from then
  // on, until Detach(). Not twice without that between.
  virtual void Attach(uint16_t reactor) noexcept = 0;
  // REQUIRES: attached; nothing is under way.
  virtual void Detach() noexcept {}

  [[nodiscard]] virtual Started Start(MediumIo& io) noexcept = 0;

  // As Target::QueryExtents(), within the medium.
  virtual void QueryExtents(ExtentQuery& query) noexcept = 0;

  // What limits().size would be if it were asked for now; an errno, negative, if that cannot be
  // told. Any thread; blocks.
  virtual int64_t FindSize() noexcept { return static_cast<int64_t>(limits().size); }
  // limits().size from now on: what FindSize() said. It only grows. The home reactor's.
  virtual void SetSize(uint64_t size) noexcept { static_cast<void>(size); }
};

}  // namespace sluice
