// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace sluice {

// A part of a volume's range that lies in one piece on one leg. Bytes, in the leg's space.
struct Piece {
  uint32_t leg;
  uint64_t offset;
  uint64_t length;
  bool operator==(const Piece&) const = default;
};

// Where the bytes of a volume lie on its legs: a bijection from [0, size()) into the legs, and
// nothing else. It knows no request, no disk and no block size, keeps no state, allocates nothing
// after it is made, and may be used from any thread.
//
// Ranges are given as (offset, length) with offset <= size() and length <= size() - offset; that is
// asserted. All sums are 64-bit and cannot wrap: a geometry whose size would not fit in 64 bits is
// not made.
class Geometry {
 public:
  using Emit = absl::FunctionRef<void(const Piece&)>;

  Geometry(const Geometry&) = delete;
  Geometry& operator=(const Geometry&) = delete;
  virtual ~Geometry() = default;

  uint64_t size() const { return size_; }
  uint32_t legs() const { return legs_; }

  // Emits the pieces of the range in volume order; together they cover it exactly. No piece is
  // empty.
  virtual void Map(uint64_t offset, uint64_t length, Emit emit) const = 0;

  // The part of leg `leg` that the range touches; length 0 if none. It is always one contiguous
  // run: the concatenation of the leg's pieces. Takes constant time however many pieces there are.
  virtual Piece LegRun(uint32_t leg, uint64_t offset, uint64_t length) const = 0;

  // The inverse: where in the volume a byte of a leg appears; nothing if the volume does not use
  // it.
  virtual std::optional<uint64_t> VolumeOffset(uint32_t leg, uint64_t leg_offset) const = 0;

  // The most pieces that any one leg has in any range of at most `length` bytes.
  virtual uint64_t MaxPiecesOnLeg(uint64_t length) const = 0;

 protected:
  Geometry(uint32_t legs, uint64_t size) : size_(size), legs_(legs) {}

 private:
  const uint64_t size_;
  const uint32_t legs_;
};

// The three makers refuse with InvalidArgument, in words that make sense after the name of the
// volume.

// [offset, offset + size) of one leg.
absl::StatusOr<std::unique_ptr<const Geometry>> MakeSlice(uint64_t leg_size, uint64_t offset,
                                                          uint64_t size);

// The legs one after the other.
absl::StatusOr<std::unique_ptr<const Geometry>> MakeConcat(absl::Span<const uint64_t> leg_sizes);

// Chunks dealt to the legs in turn. `chunk` is a power of two, 1 or more; every leg is cut to the
// smallest, rounded down to a whole number of chunks.
absl::StatusOr<std::unique_ptr<const Geometry>> MakeStripe(absl::Span<const uint64_t> leg_sizes,
                                                           uint64_t chunk);

}  // namespace sluice
