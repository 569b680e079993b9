// SPDX-License-Identifier: Apache-2.0
// A disk: range guard -> gather -> bufq -> medium, and the way back.
//
// Life of a bio here. Strategy() lets it through the guard (write types) and plugs it. At the end
// of the turn Dispatch() gathers what is plugged into runs; a run that touches a waiting one joins
// it; a short one beside a run in flight, of a client that has many here, is held for it, until
// that ends or it is no longer short (window d of the design); otherwise it goes straight to the
// medium if the bufq is empty and the disk below its depth, else into the bufq. Completions make
// room and Pump() -- NetBSD's dk_start loop -- fills it: the refused one first, then the bufq's
// choice, until the medium says full. A short transfer is continued; a failed or short carrier is
// sent again once, rider by rider, so that only the guilty fails (R16). Flushes pass neither gather
// nor bufq.
//
// A request that the device answers not at all within io_timeout_ns is answered with EIO; its
// memory stays until the kernel gives it back, and nothing more is done for it then (R15). What
// waits for such a request, or for a disk all of whose operations hang, fails as well.
//
// All calls are the home reactor's but the constructor and those marked "any thread". What it is
// can be changed while it serves: its strategy and its depth at any time, its home while nobody
// uses it; and it may grow.
#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/bio.h"
#include "core/reactor.h"
#include "core/stats.h"
#include "core/target.h"
#include "storage/bufq.h"
#include "storage/flight_index.h"
#include "storage/flusher.h"
#include "storage/gather.h"
#include "storage/medium.h"
#include "storage/range_guard.h"
#include "storage/slow_path.h"

namespace sluice {

struct DiskOptions {
  std::string name;
  uint32_t depth = 0;  // operations at the medium at one time; 0: what the medium says
  bool gather = true;
  uint64_t io_timeout_ns = 0;  // 0: wait for ever
  size_t bios_max = 16384;  // bios that all doors together may have here (credits of all reactors)
  bool read_only = false;   // besides what the medium says
  uint32_t logical_block = 0;  // what clients are told, bytes; 0: the medium's
};

// Written by the home reactor, read by any thread.
struct DiskStats {
  Counter requests[kOps];
  Counter bytes[kOps];
  Counter refused;     // of these, answered before they were let in
  ErrorCounts errors;  // by errno
  Counter runs;        // what was sent to the medium straight, singles and carriers, first time
  Counter carriers;    // of these, carriers of two or more
  Counter riders;      // requests in those
  Histogram riders_per_carrier;
  Counter held;              // runs that were held for the one in flight before them
  Counter device_ops[kOps];  // operations that the medium took, whatever for
  Counter continued;         // short transfers continued
  Counter retried;           // riders sent again singly
  Counter slow;              // requests by the slow path
  StageTimes stages;         // kDevice ends for every request that was let in, whatever its way
  Gauge at_device;           // runs at the medium now
  Gauge riding;              // and requests in them
};

class Disk final : public Target {
 public:
  static constexpr uint32_t kDepthMax = 1024;

  // `medium` is attached to `home` already or will be, before the first bio.
  Disk(const DiskOptions& options, std::unique_ptr<Medium> medium, std::unique_ptr<Bufq> bufq,
       Reactor& home);
  ~Disk() override;  // REQUIRES: idle()

  // Any thread.
  uint16_t home() const noexcept override { return home_id_.load(std::memory_order_relaxed); }
  const Limits& limits() const noexcept override { return limits_; }

  void Strategy(Bio& bio) noexcept override;
  void Cancel(Bio& bio) noexcept override;
  void QueryExtents(ExtentQuery& query) noexcept override { medium_->QueryExtents(query); }

  // Puts another strategy in the old one's place; what waits moves over in the old one's order.
  // Returns the old one, empty.
  std::unique_ptr<Bufq> SwapBufq(std::unique_ptr<Bufq> bufq) noexcept;
  absl::string_view strategy_name() const { return strategy_name_.load(); }  // any thread

  // So many operations at the medium at one time, 1 to kDepthMax, at once if they are to be more.
  // Allocates.
  void SetDepth(uint32_t depth);
  uint32_t depth() const noexcept { return depth_.load(std::memory_order_relaxed); }  // any thread

  size_t queued() const noexcept { return bufq_->size(); }  // in the strategy's queue

  // A closed disk takes nothing but flushes; all else ends with ESHUTDOWN. What is here is carried
  // out.
  void SetClosed(bool closed) noexcept { closed_ = closed; }
  // Runs that wait and operations that are at the medium: how far a closed disk is from idle().
  size_t backlog() const noexcept;

  // To another reactor: Leave() here, then Arrive() there. REQUIRES: idle(), and nobody uses the
  // disk meanwhile. One that left may end on any thread.
  void Leave() noexcept;
  void Arrive(Reactor& home) noexcept;

  // The medium has grown; limits().size follows. Only this reactor sees it rise: others go by what
  // they are told.
  void Grow(uint64_t medium_bytes) noexcept;

  Medium& medium() noexcept { return *medium_; }
  bool idle() const noexcept;
  uint64_t failed_ns() const noexcept { return flusher_.failed_ns(); }  // when failed() began
  // When the oldest operation that the device does not answer was given to it; 0: none hangs.
  uint64_t hung_since_ns() const noexcept {
    return !in_flight_.empty() && in_flight_.front().expired ? in_flight_.front().started_ns : 0;
  }

  // --- any thread ---
  const std::string& name() const noexcept { return options_.name; }
  // A flush failed: every flush and FUA fails from then on.
  bool failed() const noexcept { return flusher_.failed(); }
  const DiskStats& stats() const noexcept { return stats_; }
  const GatherStats& gather_stats() const noexcept { return gather_.stats(); }
  uint64_t flushes() const noexcept {
    return stats_.device_ops[static_cast<int>(Op::kFlush)].value();
  }

 private:
  // One operation at the medium.
  struct Slot : Flight {
    MediumIo io;
    Disk* disk = nullptr;
    Bio* run = nullptr;     // null: free
    uint32_t requests = 0;  // 1, or the carrier's riders
    uint64_t started_ns = 0;
    bool expired = false;                       // its requests were answered
    uint8_t transient = 0;                      // times that it was tried again
    Carrier* held = nullptr;                    // a run that waits for this one
    Segment* vector = nullptr;                  // segments_max of them
    boost::intrusive::list_member_hook<> link;  // in free_, or in in_flight_ by start
  };
  using SlotList = boost::intrusive::list<
      Slot, boost::intrusive::member_hook<Slot, boost::intrusive::list_member_hook<>, &Slot::link>,
      boost::intrusive::constant_time_size<false>>;
  static Limits LimitsOf(const DiskOptions& options, const MediumLimits& medium);

  void AddSlot(Slot& slot, Segment* vector) noexcept;

  // Going down.
  void Refuse(Bio& bio, int error) noexcept;
  void Plug(Bio& bio) noexcept;
  void Dispatch() noexcept;
  void CollectRuns() noexcept;
  void Route(Bio& run) noexcept;
  bool Join(Bio& run) noexcept;
  Slot* HoldFor(const Bio& run) noexcept;
  void Hold(Bio& run, Slot& slot) noexcept;
  void LetGo(Slot& slot) noexcept;
  void Pump() noexcept;
  [[nodiscard]] bool RestartStalled() noexcept;
  [[nodiscard]] bool StartRun(Bio& run) noexcept;
  bool IsSlow(const Bio& run, const MediumIo& io) const noexcept;
  void GoSlow(Bio& run) noexcept;
  void Fill(Slot& slot, Bio& run) noexcept;
  [[nodiscard]] bool StartSlot(Slot& slot) noexcept;
  void CountStart(Slot& slot) noexcept;

  // Coming back (disk_completion.cc).
  void OnSlotDone(Slot& slot) noexcept;
  [[nodiscard]] bool PrepareRest(Slot& slot) noexcept;
  void EndSlot(Slot& slot) noexcept;
  bool MayConsumeErrors(const Bio& bio) const noexcept;
  void FreeSlot(Slot& slot) noexcept;
  void EndRun(Bio& run, int error) noexcept;
  void SendSingly(Carrier& carrier, Where where) noexcept;
  void EndOperation(Bio& bio, int error) noexcept;
  void EndBio(Bio& bio, int error) noexcept;
  void LogError(const Bio& bio, int error) noexcept;

  // Taking back (disk_failing.cc).
  void CancelRider(Bio& rider) noexcept;
  void CheckTimeouts() noexcept;
  static void ExpireBio(Bio& bio, int why, void* disk) noexcept;
  size_t ExpireSlots(uint64_t before_ns) noexcept;
  void FailStalled(uint64_t before_ns) noexcept;
  void FailQueued() noexcept;
  void FailWaiting(uint64_t before_ns) noexcept;
  void FailRun(Bio& run) noexcept;

  const DiskOptions options_;
  Reactor* home_;
  std::atomic<uint16_t> home_id_;  // its number, for other threads
  std::unique_ptr<Medium> medium_;
  Limits limits_;
  std::atomic<uint32_t> depth_;  // written on the reactor alone
  std::unique_ptr<Bufq> bufq_;
  std::atomic<const char*> strategy_name_;  // bufq_'s, for other threads
  RangeGuard guard_;
  Gather gather_;
  Flusher flusher_;
  SlowPath slow_;

  Arena flows_;
  uint32_t* const outstanding_;  // requests that are here, by flow
  std::deque<Arena> vectors_;
  std::deque<Slot> slots_;
  uint32_t serving_;  // slots that are not spare: depth_, or more until these have ended
  bool closed_ = false;
  SlotList spare_;
  SlotList free_;
  SlotList in_flight_;       // oldest first
  FlightIndex flights_;      // those in flight
  SlotList stalled_;         // continued ones that the medium refused for now
  Bio* deferred_ = nullptr;  // refused by the medium; goes first next time
  BioFifo next_;             // riders to be sent singly; they go before the bufq's choice

  TurnTask dispatch_;
  Timer timeout_;
  uint64_t logged_ns_ = 0;
  DiskStats stats_;
};

}  // namespace sluice
