// SPDX-License-Identifier: Apache-2.0
// A drive that breaks one promise. It stands in for a bug of ours of the same effect: a harness
// that does not find it within a few seeds proves nothing.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "storage/medium.h"
#include "tests/sim/rng.h"

namespace sluice::sim {

enum class Lie : uint8_t {
  kNone,
  kAckEarly,      // a write is done before it is; it is carried out later
  kShortIsWhole,  // a short write counts as a whole one
  kFlushSkipped,  // a flush is done without one
  kFuaDropped,    // a FUA write is a plain one
  kErrorToAll,    // an error of one part of a gathered write is every part's, later too
  kLateGhost,     // a write that failed is carried out after all, later
  kZeroSkipped,   // a zero is done without one
  kTrimTooFar,    // a trim takes the block behind it along
  kReadUnfilled,  // a short read counts as a whole one
  kMisplaced,     // now and then a write goes to the block behind its own
};
inline constexpr int kLies = 11;
const char* LieName(Lie lie);

class LyingMedium final : public Medium {
 public:
  LyingMedium(std::unique_ptr<Medium> below, Lie lie, uint64_t seed);
  ~LyingMedium() override;
  const MediumLimits& limits() const noexcept override { return below_->limits(); }
  void Attach(uint16_t reactor) noexcept override { below_->Attach(reactor); }
  Started Start(MediumIo& io) noexcept override;
  void QueryExtents(ExtentQuery& query) noexcept override { below_->QueryExtents(query); }

 private:
  struct Order {  // one operation given to the drive below
    MediumIo io;
    MediumIo* asked = nullptr;  // whom to answer; null: answered already
    LyingMedium* medium = nullptr;
    std::vector<char> memory;  // of its own, if it outlives the one who asked
    std::vector<Segment> segs;
  };

  Started Pass(MediumIo& io, bool keep);
  int64_t Result(const Order& order);
  void OnDone(Order& order) noexcept;
  bool InBadRange(const MediumIo& io) const;

  std::unique_ptr<Medium> below_;
  const Lie lie_;
  Rng rng_;
  std::list<std::unique_ptr<Order>> orders_;
  struct Range {
    uint64_t begin;
    uint64_t end;
  };
  std::vector<Range> bad_;  // kErrorToAll
};

}  // namespace sluice::sim
