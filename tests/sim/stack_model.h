// SPDX-License-Identifier: Apache-2.0
// What a volume may answer: for each sector of 512 bytes the values that a read, or a power cut,
// may leave there. Written from the promises R1 to R8 alone; knows nothing of how they are kept.
//
// Each effect (a write, a zero, a trim) has a begin, when its client sent it, and an end, when the
// client saw the answer. Sequence numbers of the world tell what was before what. An effect whose
// answer was success replaces, from its end on, everything that had ended before it began. One that
// failed, was abandoned, or is a trim may or may not have happened. A value once read excludes what
// had ended before that read began.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::sim {

inline constexpr uint32_t kStampBytes = 512;

// The contents of a sector that a write with this value leaves there; value 0 is zeroes.
void Stamp(uint32_t value, uint64_t sector, char* bytes);
// The value, or nothing if the bytes are no whole stamp of this sector.
struct Stamped {
  bool whole = false;
  uint32_t value = 0;
};
Stamped ReadStamp(uint64_t sector, const char* bytes);

struct Effect {
  uint64_t first = 0;  // sectors
  uint64_t count = 0;
  uint32_t value = 0;  // what it writes; 0 for zero and trim
  uint64_t begin = 0;
};

class StackModel {
 public:
  explicit StackModel(uint64_t sectors) : sectors_(sectors) {}

  uint64_t sectors() const { return sectors_.size(); }

  void Begin(const Effect& effect);
  enum class How : uint8_t {
    kDone,     // it happened
    kDurable,  // and is on stable storage (FUA)
    kMaybe,    // it happened, or a part of it, or nothing
  };
  void End(const Effect& effect, uint64_t now, How how);
  // A flush that began then was answered with success.
  void Flushed(uint64_t begin);

  // A read of `bytes` that began then and ended now. Empty if it is allowed, else what is wrong.
  std::string CheckRead(uint64_t first, const std::string& bytes, uint64_t begin, uint64_t now);
  // A power cut now may leave this.
  std::string CheckCrash(const std::string& image) const;

 private:
  static constexpr uint64_t kNever = ~uint64_t{0};
  struct Candidate {
    uint32_t value = 0;
    uint64_t begin = 0;
    uint64_t end = kNever;
    uint64_t excluded = kNever;  // by a read that saw another value
    bool happened = false;
  };
  struct Sector {
    std::vector<Candidate> candidates{{.end = 0, .happened = true}};
    uint64_t stable_from = 0;  // what ended before this is no longer on the drive
  };

  static bool MayRead(const Sector& sector, uint32_t value, uint64_t begin);
  std::string Describe(uint64_t at, const Stamped& got, const char* why) const;

  std::vector<Sector> sectors_;
};

}  // namespace sluice::sim
