// SPDX-License-Identifier: Apache-2.0
// Gathers neighbours into runs: requests of one turn, whoever sent them, with each other and with
// the runs that still wait, matched by offset and not by order of arrival. Nothing is copied and
// nothing waits for the sake of gathering.
//
// The law. One run: same operation, flags and priority class; adjacent, never overlapping; never
// across a flush; at most bytes_max (trims and zeroes: kMaxEffect) and segments_max. Reads, writes,
// trims and zeroes gather; kNoGather and kBorrow bios never do. A run of one is the bio itself. A
// run that waits in the bufq is always a carrier (kNoGather ones excepted), so that it can grow
// there: at its back in place, at its front by entering the bufq anew.
//
// A disk has one. The reactor's thread; no allocation.
#pragma once

#include <boost/intrusive/set.hpp>
#include <cstdint>

#include "core/bio.h"
#include "core/pool.h"
#include "core/stats.h"
#include "storage/carrier.h"

namespace sluice {

struct GatherLimits {
  uint32_t bytes_max = kMaxTransfer;
  uint32_t segments_max = 256;
  bool on = true;
};

// Why runs ended where they did; written by the disk's reactor, read by any thread.
struct GatherStats {
  Counter cut_gap;    // no neighbour
  Counter cut_limit;  // the neighbour would not fit
  Counter cut_class;  // the neighbour behind differs in FUA alone
  Counter cut_flush;  // a flush came between
  Counter cut_off;    // kNoGather, kBorrow, or gathering is off
};

class Gather {
 public:
  Gather(const GatherLimits& limits, size_t capacity) : limits_(limits), carriers_(capacity) {}
  ~Gather();  // REQUIRES: nothing plugged, nothing waiting

  // The bio stays here until Collect(); where becomes kGather.
  void Plug(Bio& bio) noexcept;
  bool has_plugged() const noexcept { return !plugged_.empty(); }

  // The next run of what is plugged, in order of its oldest member; null when there is none. It may
  // be merged into a waiting run instead (FindNeighbour).
  Bio* Collect() noexcept;

  // How a run met one that waits.
  enum class Met : uint8_t { kNone, kBack, kFront };
  // Adds `run` to a waiting neighbour, if there is one that it fits. kBack: `waiting` grew in
  // place, `run` is gone. kFront: the same, but its offset changed: it must leave its queue before
  // and enter it after, so nothing is done yet: call PrependTo(run, waiting) in between.
  Met FindNeighbour(Bio& run, Carrier*& waiting) noexcept;
  void AppendTo(Bio& run, Carrier& waiting) noexcept;
  void PrependTo(Bio& run, Carrier& waiting) noexcept;

  // A run begins to wait: returns what to queue in its place (a carrier that holds it, or the run
  // itself).
  Bio& BeginWait(Bio& run) noexcept;
  // It ends to wait: returns what to send (a carrier of one gives its rider back).
  Bio& EndWait(Bio& run) noexcept;

  // From here on nothing joins what came before.
  void Cut() noexcept;

  // A waiting carrier (out of its queue by now) falls apart into `riders`.
  void Dissolve(Carrier& carrier, BioFifo& riders) noexcept;

  // A carrier that is done with: all riders have been taken from it.
  void Free(Carrier& carrier) noexcept;

  // The waiting carrier that `rider` (where == kRider) sits in, cut off or not; null if it waits no
  // more.
  Carrier* FindCarrierOf(Bio& rider) noexcept;
  // Takes out a plugged bio.
  void Unplug(Bio& bio) noexcept;

  const GatherStats& stats() const noexcept { return stats_; }
  // The bio, or run, may ride at all.
  bool Gathers(const Bio& bio) const noexcept;
  // Runs of the same class may ride together.
  static uint32_t ClassOf(const Bio& bio) noexcept;

 private:
  struct Key {
    uint32_t run_class;
    uint64_t offset;
    friend bool operator<(const Key& a, const Key& b) {
      return a.run_class != b.run_class ? a.run_class < b.run_class : a.offset < b.offset;
    }
  };
  struct BioKey {
    using type = Key;
    Key operator()(const Bio& bio) const { return {ClassOf(bio), bio.offset}; }
  };
  struct CarrierKey {
    using type = Key;
    Key operator()(const Carrier& carrier) const {
      return {ClassOf(carrier.bio), carrier.bio.offset};
    }
  };
  using PluggedTree =
      boost::intrusive::multiset<Bio, boost::intrusive::member_hook<Bio, TreeHook, &Bio::sort>,
                                 boost::intrusive::key_of_value<BioKey>,
                                 boost::intrusive::constant_time_size<false>>;
  using WaitingTree = boost::intrusive::multiset<
      Carrier, boost::intrusive::member_hook<Carrier, TreeHook, &Carrier::index>,
      boost::intrusive::key_of_value<CarrierKey>, boost::intrusive::constant_time_size<false>>;

  bool Fits(const Bio& run, uint32_t segments, const Bio& more,
            uint32_t more_segments) const noexcept;
  static uint32_t SegmentsOf(Bio& run) noexcept;
  Carrier& Wrap(Bio& bio) noexcept;
  void AddBack(Carrier& carrier, Bio& bio) noexcept;
  void AddFront(Carrier& carrier, Bio& bio) noexcept;
  void TakePlugged(Bio& bio) noexcept;
  void CountCut(const Bio& last, bool limit) noexcept;
  void EndIndex(Carrier& carrier) noexcept;
  static Carrier* FindIn(WaitingTree& tree, Bio& rider) noexcept;

  GatherLimits limits_;
  Slab<Carrier> carriers_;
  BioFifo plugged_;        // by arrival
  PluggedTree by_offset_;  // the same, those that may gather
  WaitingTree waiting_;    // those that can grow
  WaitingTree cut_;        // those that a flush cut off
  GatherStats stats_;
};

}  // namespace sluice
