// SPDX-License-Identifier: Apache-2.0
// Latencies in log-linear buckets: each power of two is cut into 128, so that a value read back is
// at most 0.8 % above the one recorded. Any uint64_t can be recorded. Not thread safe.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice::bench {

class Histogram {
 public:
  void Record(uint64_t value) {
    ++counts_[Index(value)];
    sum_ += value;
    max_ = std::max(max_, value);
  }
  void Merge(const Histogram& other);

  uint64_t count() const;
  uint64_t max() const { return max_; }
  double mean() const;  // 0 when empty

  // The smallest bound that at least `share` (0 to 1) of the values do not exceed; 0 when empty.
  uint64_t Quantile(double share) const;

  // Neighbouring buckets summed up, four to each power of two, the empty ones left out.
  struct Bar {
    uint64_t upper = 0;  // values in it do not exceed this
    uint64_t count = 0;
  };
  std::vector<Bar> Bars() const;

 private:
  static constexpr unsigned kFineBits = 7;  // 128 buckets for each power of two
  static constexpr unsigned kBarBits = 2;
  static constexpr size_t kBuckets = (64 - kFineBits + 1) << kFineBits;

  static size_t Index(uint64_t value) {
    if (value < (1u << kFineBits)) return static_cast<size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kFineBits;
    return (size_t{shift} << kFineBits) + static_cast<size_t>(value >> shift);
  }
  static uint64_t Upper(size_t index);

  std::array<uint64_t, kBuckets> counts_{};
  uint64_t sum_ = 0;
  uint64_t max_ = 0;
};

}  // namespace sluice::bench
