// SPDX-License-Identifier: Apache-2.0
#include "client/bench/histogram.h"

#include <cmath>
#include <numeric>

namespace sluice::bench {

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

uint64_t Histogram::count() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

double Histogram::mean() const {
  const uint64_t n = count();
  return n == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(n);
}

uint64_t Histogram::Upper(size_t index) {
  constexpr size_t kFine = size_t{1} << kFineBits;
  if (index < 2 * kFine) return index;
  const size_t shift = (index >> kFineBits) - 1;
  const uint64_t mantissa = (index & (kFine - 1)) | kFine;
  return (mantissa << shift) + ((uint64_t{1} << shift) - 1);
}

uint64_t Histogram::Quantile(double share) const {
  const uint64_t n = count();
  const auto wanted =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(n))));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(Upper(i), max_);
  }
  return max_;
}

std::vector<Histogram::Bar> Histogram::Bars() const {
  constexpr size_t kTogether = size_t{1} << (kFineBits - kBarBits);
  std::vector<Bar> bars;
  for (size_t i = 0; i < kBuckets; i += kTogether) {
    const auto first = counts_.begin() + static_cast<std::ptrdiff_t>(i);
    const uint64_t count =
        std::accumulate(first, first + static_cast<std::ptrdiff_t>(kTogether), uint64_t{0});
    if (count > 0) bars.push_back({Upper(i + kTogether - 1), count});
  }
  return bars;
}

}  // namespace sluice::bench
