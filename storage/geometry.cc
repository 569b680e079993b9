// SPDX-License-Identifier: Apache-2.0
#include "storage/geometry.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>
#include <vector>

#include "core/check.h"

namespace sluice {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

void CheckRange(const Geometry& geometry, uint64_t offset, uint64_t length) {
  SLUICE_CHECK(offset <= geometry.size() && length <= geometry.size() - offset);
}

class Slice final : public Geometry {
 public:
  Slice(uint64_t start, uint64_t size) : Geometry(1, size), start_(start) {}

  void Map(uint64_t offset, uint64_t length, Emit emit) const override {
    CheckRange(*this, offset, length);
    if (length > 0) emit({0, start_ + offset, length});
  }

  Piece LegRun(uint32_t leg, uint64_t offset, uint64_t length) const override {
    CheckRange(*this, offset, length);
    return {leg, start_ + offset, length};
  }

  std::optional<uint64_t> VolumeOffset(uint32_t, uint64_t leg_offset) const override {
    if (leg_offset < start_ || leg_offset - start_ >= size()) return std::nullopt;
    return leg_offset - start_;
  }

  uint64_t MaxPiecesOnLeg(uint64_t length) const override { return length > 0 ? 1 : 0; }

 private:
  const uint64_t start_;
};

class Concat final : public Geometry {
 public:
  // `starts` holds the volume offset of each leg's first byte and, last, the volume's size.
  explicit Concat(std::vector<uint64_t> starts)
      : Geometry(static_cast<uint32_t>(starts.size() - 1), starts.back()),
        starts_(std::move(starts)) {}

  void Map(uint64_t offset, uint64_t length, Emit emit) const override {
    CheckRange(*this, offset, length);
    const auto next = std::upper_bound(starts_.begin(), starts_.end() - 1, offset);
    auto leg = static_cast<uint32_t>(next - starts_.begin() - 1);
    while (length > 0) {
      const Piece piece = LegRun(leg++, offset, length);
      emit(piece);
      offset += piece.length;
      length -= piece.length;
    }
  }

  Piece LegRun(uint32_t leg, uint64_t offset, uint64_t length) const override {
    CheckRange(*this, offset, length);
    const uint64_t begin = std::max(offset, starts_[leg]);
    const uint64_t end = std::min(offset + length, starts_[leg + 1]);
    return begin < end ? Piece{leg, begin - starts_[leg], end - begin} : Piece{leg, 0, 0};
  }

  std::optional<uint64_t> VolumeOffset(uint32_t leg, uint64_t leg_offset) const override {
    if (leg_offset >= starts_[leg + 1] - starts_[leg]) return std::nullopt;
    return starts_[leg] + leg_offset;
  }

  uint64_t MaxPiecesOnLeg(uint64_t length) const override { return length > 0 ? 1 : 0; }

 private:
  const std::vector<uint64_t> starts_;
};

class Stripe final : public Geometry {
 public:
  Stripe(uint32_t legs, uint64_t chunks_per_leg, int shift)
      : Geometry(legs, (chunks_per_leg << shift) * legs),
        shift_(shift),
        mask_((uint64_t{1} << shift) - 1),
        leg_size_(chunks_per_leg << shift) {}

  void Map(uint64_t offset, uint64_t length, Emit emit) const override {
    CheckRange(*this, offset, length);
    while (length > 0) {
      const uint64_t chunk = offset >> shift_;
      const uint64_t inside = offset & mask_;
      const uint64_t take = std::min(length, mask_ - inside + 1);
      emit({static_cast<uint32_t>(chunk % legs()), ((chunk / legs()) << shift_) + inside, take});
      offset += take;
      length -= take;
    }
  }

  Piece LegRun(uint32_t leg, uint64_t offset, uint64_t length) const override {
    CheckRange(*this, offset, length);
    if (length == 0) return {leg, 0, 0};
    const uint64_t last_byte = offset + (length - 1);
    const uint64_t low = offset >> shift_;
    const uint64_t high = last_byte >> shift_;
    const uint64_t ahead = Ahead(low % legs(), leg);    // from `low` up to the leg's first chunk
    const uint64_t behind = Ahead(leg, high % legs());  // from the leg's last chunk up to `high`
    if (ahead > high - low) return {leg, 0, 0};
    const uint64_t first = low + ahead;
    const uint64_t last = high - behind;
    const uint64_t begin = ((first / legs()) << shift_) + (ahead == 0 ? offset & mask_ : 0);
    const uint64_t end = ((last / legs()) << shift_) + (behind == 0 ? last_byte & mask_ : mask_);
    return {leg, begin, end - begin + 1};
  }

  std::optional<uint64_t> VolumeOffset(uint32_t leg, uint64_t leg_offset) const override {
    if (leg_offset >= leg_size_) return std::nullopt;
    return (((leg_offset >> shift_) * legs() + leg) << shift_) + (leg_offset & mask_);
  }

  uint64_t MaxPiecesOnLeg(uint64_t length) const override {
    if (length == 0) return 0;
    // The range that touches most chunks starts at the last byte of one; every legs()-th is the
    // leg's.
    const uint64_t rest = length - 1;
    const uint64_t more = (rest >> shift_) + ((rest & mask_) != 0 ? 1 : 0);
    return std::min(more / legs() + 1, leg_size_ >> shift_);
  }

 private:
  // How far leg `to` comes after leg `from` in the deal.
  uint64_t Ahead(uint64_t from, uint64_t to) const {
    return to >= from ? to - from : to + legs() - from;
  }

  const int shift_;
  const uint64_t mask_;
  const uint64_t leg_size_;
};

absl::Status CheckLegs(absl::Span<const uint64_t> leg_sizes) {
  if (leg_sizes.empty()) return absl::InvalidArgumentError("has no legs");
  if (leg_sizes.size() > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError("has too many legs");
  }
  for (size_t i = 0; i < leg_sizes.size(); ++i) {
    if (leg_sizes[i] == 0) return absl::InvalidArgumentError(absl::StrCat("leg ", i, " is empty"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Geometry>> MakeSlice(uint64_t leg_size, uint64_t offset,
                                                          uint64_t size) {
  if (size == 0) return absl::InvalidArgumentError("a slice of 0 bytes");
  if (offset > leg_size || size > leg_size - offset) {
    return absl::InvalidArgumentError(absl::StrCat("the slice of ", size, " bytes at ", offset,
                                                   " leaves its leg of ", leg_size, " bytes"));
  }
  return std::make_unique<const Slice>(offset, size);
}

absl::StatusOr<std::unique_ptr<const Geometry>> MakeConcat(absl::Span<const uint64_t> leg_sizes) {
  if (absl::Status status = CheckLegs(leg_sizes); !status.ok()) return status;
  std::vector<uint64_t> starts = {0};
  for (const uint64_t leg_size : leg_sizes) {
    if (leg_size > kMax - starts.back()) {
      return absl::InvalidArgumentError("the legs together exceed 64 bits");
    }
    starts.push_back(starts.back() + leg_size);
  }
  return std::make_unique<const Concat>(std::move(starts));
}

absl::StatusOr<std::unique_ptr<const Geometry>> MakeStripe(absl::Span<const uint64_t> leg_sizes,
                                                           uint64_t chunk) {
  if (absl::Status status = CheckLegs(leg_sizes); !status.ok()) return status;
  if (!std::has_single_bit(chunk)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the chunk of ", chunk, " bytes is no power of 2"));
  }
  const uint64_t smallest = *std::min_element(leg_sizes.begin(), leg_sizes.end());
  if (smallest < chunk) {
    return absl::InvalidArgumentError(absl::StrCat("its smallest leg of ", smallest,
                                                   " bytes holds no chunk of ", chunk, " bytes"));
  }
  const int shift = std::countr_zero(chunk);
  const uint64_t chunks_per_leg = smallest >> shift;
  if ((chunks_per_leg << shift) > kMax / leg_sizes.size()) {
    return absl::InvalidArgumentError("the legs together exceed 64 bits");
  }
  return std::make_unique<const Stripe>(static_cast<uint32_t>(leg_sizes.size()), chunks_per_leg,
                                        shift);
}

}  // namespace sluice
