// SPDX-License-Identifier: Apache-2.0
// Stable storage for one disk: FLUSH, and FUA where the medium has none of its own. Those that wait
// share one flush of the medium, but only one that was not yet submitted when they came: it then
// covers every write that was answered before.
//
// A failed flush is never retried into success (R6): the kernel may have marked the lost pages
// clean. From then on every flush and every FUA fails with EIO until the server is restarted. On a
// page-cache medium a failed FUA write is a failed flush too, since it may have consumed another
// write's error; the disk calls Fail() for it first. The reactor's thread; no allocation.
#pragma once

#include <cstdint>

#include "core/bio.h"
#include "core/stats.h"
#include "storage/medium.h"

namespace sluice {

class Flusher {
 public:
  using Ended = void (*)(Bio& bio, int error, void* context) noexcept;

  // `ended` is called for each bio, never from inside Add().
  Flusher(Medium& medium, Ended ended, void* context);

  void Add(Bio& bio) noexcept;
  // Starts what waits, if no flush is under way. The disk's dispatch calls it once a turn.
  void Run() noexcept;

  void Fail() noexcept { failed_ = true; }
  bool failed() const noexcept { return failed_; }
  bool idle() const noexcept { return waiting_.empty() && covered_.empty(); }
  // For the io-timeout: since when a flush is under way (0: none), and whom it keeps waiting.
  uint64_t started_ns() const noexcept { return in_flight_ ? started_ns_ : 0; }
  template <typename F>
  void ForEach(F&& visit) noexcept {
    for (Bio& bio : covered_) visit(bio);
    for (Bio& bio : waiting_) visit(bio);
  }

  uint64_t flushes() const noexcept { return flushes_.value(); }  // given to the medium; any thread

 private:
  void OnDone() noexcept;
  void EndAll(BioFifo& bios, int error) noexcept;

  Medium& medium_;
  Ended ended_;
  void* context_;
  BioFifo waiting_;  // not yet covered by a submitted flush
  BioFifo covered_;  // covered by the one under way
  MediumIo io_;
  bool in_flight_ = false;
  bool failed_ = false;
  uint64_t started_ns_ = 0;
  Counter flushes_;
};

}  // namespace sluice
