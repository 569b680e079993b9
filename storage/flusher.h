// SPDX-License-Identifier: Apache-2.0
// Stable storage for one disk: FLUSH, and FUA where the medium has none of its own. Those that wait
// share one flush of the medium, but only one that was not yet submitted when they came: it then
// covers every write that was answered before.
//
// A failed flush is never retried into success (R6): the kernel may have marked the lost pages
// clean. From then on every flush and every FUA fails with EIO until the server is restarted. On a
// page-cache medium a failed FUA write is a failed flush too, since it may have consumed another
// write's error; the disk calls Fail() for it first. A flush that hangs has failed as well.
// The reactor's thread; no allocation.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "core/bio.h"
#include "core/stats.h"
#include "storage/medium.h"

namespace sluice {

class Flusher {
 public:
  using Ended = void (*)(Bio& bio, int error, void* context) noexcept;

  // `ended` is called for each bio, with a positive errno or 0; never from inside Add(). Each flush
  // given to the medium is counted in `flushes`.
  Flusher(Medium& medium, Counter& flushes, Ended ended, void* context);

  void Add(Bio& bio) noexcept;
  // Starts what waits, if no flush is under way. The disk's dispatch calls it once a turn.
  void Run() noexcept;
  bool in_flight() const noexcept { return in_flight_; }
  // After Run(): the medium was full, call it again.
  bool refused() const noexcept { return !in_flight_ && !waiting_.empty(); }

  void Fail() noexcept;
  bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }  // any thread
  uint64_t failed_ns() const noexcept { return failed_ns_; }  // when; the reactor's time
  bool idle() const noexcept { return waiting_.empty() && covered_.empty(); }

  // For the io-timeout: a flush that is under way since before `before_ns` has failed; `expire`
  // answers whom it keeps waiting, now. True if there is one.
  bool ExpireBefore(uint64_t before_ns, Ended expire) noexcept;
  // Ends with EIO what no flush was submitted for.
  void FailWaiting() noexcept { EndAll(waiting_, EIO); }

 private:
  void OnDone() noexcept;
  void EndAll(BioFifo& bios, int error) noexcept;

  Medium& medium_;
  Ended ended_;
  void* context_;
  BioFifo waiting_;  // not yet covered by a submitted flush
  BioFifo covered_;  // covered by the one under way
  MediumIo io_;
  Counter& flushes_;
  bool in_flight_ = false;
  bool expired_ = false;  // the one under way
  std::atomic<bool> failed_{false};
  uint64_t failed_ns_ = 0;
  uint64_t started_ns_ = 0;
};

}  // namespace sluice
