// SPDX-License-Identifier: Apache-2.0
// The arithmetic of `sluice top`, and how tables and screens are laid out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/control/rates.h"
#include "client/control/screen.h"
#include "client/control/table.h"
#include "client/control/words.h"

namespace sluice::control {
namespace {

v1::OpStats& AddOp(v1::DiskStats& disk, v1::StatsOp kind, uint64_t count, uint64_t bytes) {
  v1::OpStats& op = *disk.add_ops();
  op.set_op(kind);
  op.set_count(count);
  op.set_bytes(bytes);
  return op;
}

v1::Stats At(uint64_t seconds, uint64_t runs, uint64_t carriers, uint64_t riders) {
  v1::Stats stats;
  stats.set_uptime_ns(seconds * 1'000'000'000);
  v1::DiskStats& disk = *stats.add_disks();
  disk.set_disk("d0");
  disk.set_runs(runs);
  disk.set_carriers(carriers);
  disk.set_riders(riders);
  return stats;
}

TEST(Rates, AreTheDifferenceOverTheTimeBetween) {
  v1::Stats before = At(10, 0, 0, 0);
  AddOp(*before.mutable_disks(0), v1::STATS_OP_READ, 1000, 4'096'000);
  v1::Stats after = At(14, 0, 0, 0);
  AddOp(*after.mutable_disks(0), v1::STATS_OP_READ, 3000, 12'288'000);
  AddOp(*after.mutable_disks(0), v1::STATS_OP_FLUSH, 4, 0);
  after.mutable_disks(0)->set_errors(3);
  after.mutable_disks(0)->set_queued(5);
  after.mutable_disks(0)->set_at_device(2);
  const Rates rates = RatesBetween(before, after);
  EXPECT_EQ(rates.seconds, 4);
  const DiskLoad& disk = rates.disks.at(0);
  EXPECT_EQ(disk.reads, 500);
  EXPECT_EQ(disk.others, 1);
  EXPECT_EQ(disk.iops(), 501);
  EXPECT_EQ(disk.read_bytes, 2'048'000);
  EXPECT_EQ(disk.errors, 3u);
  EXPECT_EQ(disk.inflight, 7u);
}

TEST(Rates, MergeIsRequestsInARun) {
  // 60 runs: 50 of one request, 10 carriers with 150 riders.
  const DiskLoad disk = RatesBetween(At(1, 40, 10, 20), At(2, 100, 20, 170)).disks.at(0);
  EXPECT_EQ(disk.runs, 60);
  EXPECT_DOUBLE_EQ(disk.requests_per_run, 200.0 / 60);
  EXPECT_EQ(disk.riders_per_carrier, 15);
  const DiskLoad idle = RatesBetween(At(1, 40, 10, 20), At(2, 40, 10, 20)).disks.at(0);
  EXPECT_EQ(idle.requests_per_run, 0);
}

TEST(Rates, OfAServerThatStartedAnewCountFromItsStart) {
  v1::Stats before = At(100, 5000, 0, 0);
  const Rates rates = RatesBetween(before, At(2, 10, 0, 0));
  EXPECT_EQ(rates.seconds, 2);
  EXPECT_EQ(rates.disks.at(0).runs, 5);
}

TEST(Rates, LatenciesComeFromTheBucketsThatFilledInBetween) {
  v1::Stats before = At(1, 0, 0, 0);
  v1::Stats after = At(2, 0, 0, 0);
  // Bucket 17 is 65536 to 131072 ns. What was there before plays no part.
  auto& old = *AddOp(*before.mutable_disks(0), v1::STATS_OP_READ, 9, 0).mutable_total();
  auto& now = *AddOp(*after.mutable_disks(0), v1::STATS_OP_READ, 109, 0).mutable_total();
  for (int i = 0; i < 30; ++i) {
    old.add_buckets(i == 25 ? 9 : 0);
    now.add_buckets(i == 25 ? 9 : i == 17 ? 100 : 0);
  }
  const DiskLoad disk = RatesBetween(before, after).disks.at(0);
  EXPECT_DOUBLE_EQ(disk.p50_us, 98.304);
  EXPECT_GT(disk.p99_us, 130);
  EXPECT_LT(disk.p99_us, 131.072);
}

TEST(Quantile, OfNothingIsZeroAndOfOneBucketLiesInIt) {
  EXPECT_EQ(QuantileNs({}, 0.5), 0);
  EXPECT_EQ(QuantileNs({0, 0, 0}, 0.5), 0);
  EXPECT_EQ(QuantileNs({7}, 0.99), 0);
  EXPECT_EQ(QuantileNs({0, 0, 0, 4}, 1), 8);
  EXPECT_EQ(QuantileNs({0, 0, 0, 4}, 0.5), 6);
}

TEST(TableText, NumbersGoRightAndNoLineEndsWithBlanks) {
  Table table({"NAME", ">N", "LAST"});
  table.Add({"é", "1", ""});
  table.Add({"bb", {"1234", Tone::kBad}, "x"});
  EXPECT_EQ(table.Text(false), "NAME     N  LAST\né        1\nbb    1234  x\n");
  EXPECT_EQ(table.Text(true), "NAME     N  LAST\né        1\nbb    \033[31m1234\033[0m  x\n");
}

TEST(FactsText, NamesArePaddedAlike) {
  Facts facts;
  facts.Add("a", "1");
  facts.Add("long name", "2\n");
  EXPECT_EQ(facts.Text(false), "a          1\nlong name  2\\x0a\n");
}

TEST(ClippedText, FitsAScreenAndKeepsColours) {
  EXPECT_EQ(Clipped("abc\ndef\nghi\n", 2, 2), "ab\nde");
  EXPECT_EQ(Clipped("abc\n", 5, 80), "abc\n");
  EXPECT_EQ(Clipped("a\033[31mbcd\033[0me\nf", 9, 2), "a\033[31mb\033[0m\nf");
  EXPECT_EQ(Clipped("éöü", 1, 2), "éö");
}

TEST(Words, Ages) {
  constexpr int64_t kSecond = 1'000'000'000;
  EXPECT_EQ(AgeText(0, 5), "-");
  EXPECT_EQ(AgeText(1, 1 + 119 * kSecond), "119 s");
  EXPECT_EQ(AgeText(1, 1 + 3600 * kSecond), "60 min");
  EXPECT_EQ(AgeText(1, 1 + 86'400 * kSecond), "24 h");
  EXPECT_EQ(AgeText(1, 1 + 86'400 * 30 * kSecond), "30 d");
  EXPECT_EQ(AgeText(10, 5), "0 s");
}

}  // namespace
}  // namespace sluice::control
