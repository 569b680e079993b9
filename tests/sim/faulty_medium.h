// SPDX-License-Identifier: Apache-2.0
// A drive for tests: flat memory behind the Medium seam, with a stated fault model and one seed
// that replays it. It checks that its user keeps the seam's contract (SLUICE_CHECK).
//
// Time. An operation that was taken is due after a seeded number of ticks; Pump() is one tick. What
// is due completes through the manual poller in seeded order, so `done` runs in the reactor's next
// turn. An operation reads or changes the drive when it completes, not when it starts.
//
// Failure. Faults and rates are drawn when an operation starts. EIO on a write-type operation
// leaves each of its blocks old or new; any other error leaves all old. A short transfer did
// exactly what it says.
//
// Power cut. With a volatile cache, completed writes are cached versions of their blocks until a
// flush that was started later completes; FUA writes are durable at once. A flush that fails loses
// the versions it should have saved, though reads still see them (as Linux's page cache does).
// CrashImage() chooses for each block among its durable bytes, its cached versions and the
// operations under way.
//
// One thread: the one that turns the reactor.
#pragma once

#include <cerrno>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/poller.h"
#include "storage/medium.h"
#include "tests/sim/rng.h"

namespace sluice::sim {

inline constexpr uint32_t kSticky = ~uint32_t{0};
inline constexpr uint32_t kWhole = ~uint32_t{0};
inline constexpr uint32_t kAllOps = (1U << kOps) - 1;
constexpr uint32_t OpBit(Op op) { return 1U << static_cast<int>(op); }

// Strikes operations that start while it is there and touch its range (a flush touches all).
struct Fault {
  uint32_t ops = kAllOps;  // OpBit()s
  uint64_t offset = 0;
  uint64_t length = ~uint64_t{0};
  int error = EIO;                // 0: no error, but
  uint32_t short_bytes = kWhole;  // data operations transfer at most this
  uint32_t times = kSticky;       // operations that it strikes before it is gone
};

struct FaultyOptions {
  uint64_t seed = 1;
  MediumLimits limits{.size = 1024 * 1024, .block = 512, .physical_block = 512, .mem_align = 1};
  uint32_t full_at = 1024;  // kFull with so many under way
  uint32_t ticks_min = 1;   // latency, in Pump()s
  uint32_t ticks_max = 1;
  bool reorder = true;               // what is due in one tick completes in seeded order
  uint32_t immediate_per_mille = 0;  // ended inside Start()
  uint32_t short_per_mille = 0;      // data operations cut to a multiple of the block, at least one
  uint32_t error_per_mille = 0;      // EIO
};

// What the drive was asked for, in order of starting.
struct Request {
  Op op;
  uint8_t flags;
  uint64_t offset;
  uint32_t length;
  uint32_t seg_count;
};

class FaultyMedium final : public Medium {
 public:
  // `poller` is that of the reactor it will be attached to; it outlives the medium. `image`: first
  // contents, durable; zeroes beyond its end.
  FaultyMedium(ManualPoller& poller, const FaultyOptions& options, const std::string& image = {});
  ~FaultyMedium() override;

  const MediumLimits& limits() const noexcept override { return options_.limits; }
  void Attach(uint16_t) noexcept override {}
  Started Start(MediumIo& io) noexcept override;
  void QueryExtents(ExtentQuery& query) noexcept override;

  // One tick. Returns how many operations and queries completed.
  size_t Pump();
  // Ticks until nothing that is not held is under way. Returns how many completed.
  size_t PumpAll();

  void AddFault(const Fault& fault) { faults_.push_back(fault); }
  void ClearFaults() { faults_.clear(); }
  // A drive that hangs: operations of these kinds do not complete until Release().
  void Hold(uint32_t ops = kAllOps) { held_ = ops; }
  void Release() { held_ = 0; }

  // What a power cut at this moment leaves, drawn anew by each call.
  std::string CrashImage();
  // What reads see, and what is on stable storage for certain.
  const std::string& contents() const { return now_; }
  const std::string& durable() const { return durable_; }

  size_t under_way() const { return pending_.size(); }
  const std::vector<Request>& log() const { return log_; }
  size_t Count(Op op) const;                     // requests of one kind in the log
  uint64_t refused() const { return refused_; }  // answered kFull

 private:
  struct Pending {
    MediumIo* io;
    uint64_t due;
    uint64_t flush_covers;  // kFlush: versions up to this one
    int64_t result;
  };
  struct Version {
    uint64_t number;
    std::string bytes;
  };
  struct Query {
    RingOp op;
    ExtentQuery* query;
  };

  void CheckContract(const MediumIo& io) const;
  int64_t DrawResult(const MediumIo& io);
  void Apply(const Pending& pending);
  void ApplyEffect(const MediumIo& io, uint64_t length, bool torn);
  void ApplyFlush(uint64_t covers, bool failed);
  void SetBlock(uint64_t at, const std::string& bytes, bool stable);
  std::string NewBytes(const MediumIo& io, uint64_t at) const;  // what `io` puts into block `at`
  size_t AnswerQueries();

  ManualPoller& poller_;
  FaultyOptions options_;
  Rng rng_;
  std::string now_;
  std::string durable_;
  std::map<uint64_t, std::vector<Version>> cached_;  // by offset of the block, oldest first
  std::vector<bool> allocated_;                      // by block
  uint64_t versions_ = 0;
  uint64_t tick_ = 0;
  uint32_t held_ = 0;
  uint64_t refused_ = 0;
  std::vector<Fault> faults_;
  std::vector<Pending> pending_;
  std::vector<Query*> queries_;
  std::vector<Request> log_;
};

}  // namespace sluice::sim
