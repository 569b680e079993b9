// SPDX-License-Identifier: Apache-2.0
#include "client/bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace sluice::bench {
namespace {

constexpr double kShares[] = {0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0};

// The definition: the smallest value that at least that share of all do not exceed.
uint64_t QuantileBySorting(std::vector<uint64_t> values, double share) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::max<size_t>(rank, 1) - 1];
}

std::vector<uint64_t> Values(uint64_t seed, size_t count, unsigned max_bits) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> values(count);
  for (uint64_t& value : values) value = random() >> (64 - 1 - random() % max_bits);
  return values;
}

TEST(Histogram, QuantilesAreAtMostOnePercentAboveThoseOfASort) {
  for (const size_t count : {1, 2, 3, 10, 999, 1000, 20000}) {
    for (const unsigned bits : {7u, 20u, 40u, 63u}) {
      const auto values = Values(count * 100 + bits, count, bits);
      Histogram histogram;
      for (const uint64_t value : values) histogram.Record(value);
      for (const double share : kShares) {
        const auto exact = static_cast<double>(QuantileBySorting(values, share));
        const auto told = static_cast<double>(histogram.Quantile(share));
        EXPECT_GE(told, exact) << count << " values of " << bits << " bits, " << share;
        EXPECT_LE(told, exact * (1 + 1.0 / 128)) << count << " values, " << bits << ", " << share;
      }
    }
  }
}

TEST(Histogram, SmallValuesAndTheMaximumAreExact) {
  Histogram histogram;
  for (uint64_t value = 0; value < 256; ++value) histogram.Record(value);
  EXPECT_EQ(histogram.Quantile(0.5), 127u);
  histogram.Record(123456789);
  EXPECT_EQ(histogram.max(), 123456789u);
  EXPECT_EQ(histogram.Quantile(1.0), 123456789u);
}

TEST(Histogram, TakesTheWholeRange) {
  Histogram histogram;
  histogram.Record(0);
  histogram.Record(UINT64_MAX);
  EXPECT_EQ(histogram.Quantile(0.5), 0u);
  EXPECT_EQ(histogram.Quantile(1.0), UINT64_MAX);
}

TEST(Histogram, AnEmptyOneTellsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.mean(), 0);
  EXPECT_EQ(histogram.Quantile(0.99), 0u);
  EXPECT_TRUE(histogram.Bars().empty());
}

TEST(Histogram, MergedPartsTellTheSameAsTheWhole) {
  const auto values = Values(7, 5000, 40);
  Histogram whole;
  Histogram parts[3];
  for (size_t i = 0; i < values.size(); ++i) {
    whole.Record(values[i]);
    parts[i % 3].Record(values[i]);
  }
  Histogram merged;
  for (const Histogram& part : parts) merged.Merge(part);
  EXPECT_EQ(merged.count(), values.size());
  EXPECT_EQ(merged.mean(), whole.mean());
  EXPECT_EQ(merged.max(), whole.max());
  for (const double share : kShares) EXPECT_EQ(merged.Quantile(share), whole.Quantile(share));
}

TEST(Histogram, BarsRiseHoldEveryValueOnceAndSayWhatTheyBound) {
  const auto values = Values(11, 5000, 40);
  Histogram histogram;
  for (const uint64_t value : values) histogram.Record(value);
  uint64_t below = 0;
  uint64_t last_upper = 0;
  for (const Histogram::Bar& bar : histogram.Bars()) {
    EXPECT_GT(bar.count, 0u);
    if (below > 0) {
      EXPECT_GT(bar.upper, last_upper);
    }
    below += bar.count;
    last_upper = bar.upper;
    const auto exact = std::count_if(values.begin(), values.end(),
                                     [&](uint64_t value) { return value <= bar.upper; });
    EXPECT_EQ(below, static_cast<uint64_t>(exact));
  }
  EXPECT_EQ(below, values.size());
}

}  // namespace
}  // namespace sluice::bench
