// SPDX-License-Identifier: Apache-2.0
// Requests that need more than one device operation: reads and writes finer than the device's block
// or in memory that it cannot use (read-modify-write through a bounce buffer), zeroes with ragged
// ends, and zeroes that the medium cannot do (written). One at a time per disk, in order; the range
// guard, which rounds out to the block, keeps writes away from each other. A disk has one. The
// reactor's thread; the bounce buffer is allocated once.
#pragma once

#include <cstdint>

#include "core/bio.h"
#include "core/pool.h"
#include "core/stats.h"
#include "storage/medium.h"

namespace sluice {

struct TurnTask;

class SlowPath {
 public:
  // `ended` is called for each bio that ended, with a positive errno or 0; never from inside Add().
  using Ended = void (*)(Bio& bio, int error, void* context) noexcept;

  // Each operation given to the medium is counted in device_ops[its op]. `dispatch` calls Run(); it
  // is listed when a run stopped only to let others have their turn.
  SlowPath(Medium& medium, Counter* device_ops, TurnTask& dispatch, Ended ended, void* context);

  // True if the medium can carry out the operation's range and memory as they are.
  static bool Fits(const MediumLimits& limits, const MediumIo& io) noexcept;

  // Takes a single bio (never a carrier); kRead, kWrite or kZero.
  void Add(Bio& bio) noexcept;
  // Goes on: after Add(), and after the medium said kFull. The disk's dispatch calls it once a
  // turn.
  void Run() noexcept;

  bool idle() const noexcept { return current_ == nullptr && queue_.empty(); }
  bool in_flight() const noexcept { return in_flight_; }
  // After Run(): the medium was full, call it again.
  bool refused() const noexcept { return ready_; }

  // For the io-timeout: the request at the medium, if it was begun before `before_ns`, is answered
  // by `expire`, and goes no further when the medium gives it back; those behind it fail. True if
  // there is one.
  bool ExpireBefore(uint64_t before_ns, Ended expire) noexcept;
  // Ends with EIO what is not at the medium.
  void FailWaiting() noexcept;

 private:
  // What is left to do of the current bio: [at_, end_) in the medium's space, a chunk at a time.
  enum class Step : uint8_t { kNext, kReadHead, kReadTail, kTransfer };
  struct Chunk {
    uint64_t offset = 0;  // aligned out
    uint32_t length = 0;  // aligned out
    uint64_t from = 0;    // the part that the request means
    uint64_t to = 0;
  };

  bool NextChunk() noexcept;
  void Begin(Step step, Op what, uint64_t offset, uint32_t length, char* memory) noexcept;
  [[nodiscard]] bool Start() noexcept;
  void OnDone() noexcept;
  void Advance() noexcept;
  void AfterRead() noexcept;
  void WriteChunk() noexcept;
  void End(int error) noexcept;

  Medium& medium_;
  Counter* device_ops_;
  TurnTask& dispatch_;
  Ended ended_;
  void* context_;
  uint32_t block_;
  Arena bounce_;
  BioFifo queue_;
  Bio* current_ = nullptr;
  uint64_t started_ns_ = 0;
  uint64_t at_ = 0;
  Step step_ = Step::kNext;
  Chunk chunk_;
  MediumIo io_;
  Segment segment_{};
  bool in_flight_ = false;
  bool expired_ = false;  // the one in flight
  bool ready_ = false;    // io_ waits to be started
  bool zero_by_writing_ = false;
  uint8_t transient_ = 0;  // times that io_ was tried again
};

}  // namespace sluice
