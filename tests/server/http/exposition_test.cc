// SPDX-License-Identifier: Apache-2.0
#include "server/http/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_split.h"
#include "core/bio.h"

namespace sluice::http {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

// The lines that begin so.
std::vector<std::string> Lines(const std::string& text, const std::string& begin) {
  std::vector<std::string> found;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (std::string(line).starts_with(begin)) found.emplace_back(line);
  }
  return found;
}

StatsSnapshot OneExport() {
  StatsSnapshot stats;
  stats.unix_ns = 1'000'000'000'000;
  stats.uptime_ns = 10'000'000'000;
  ClientSnapshot& clients = stats.clients.emplace_back();
  clients.export_name = "a";
  clients.volume = "v";
  return stats;
}

TEST(Exposition, WhatNeverHappenedIsLeftOut) {
  StatsSnapshot stats = OneExport();
  stats.disks.emplace_back().name = "d";
  const std::string text = Expose(stats, {});
  EXPECT_THAT(text, Not(HasSubstr("sluice_requests_total")));
  EXPECT_THAT(text, Not(HasSubstr("sluice_request_duration_seconds")));
  EXPECT_THAT(text, Not(HasSubstr("sluice_disk_requests_total")));
  EXPECT_THAT(text, Not(HasSubstr("sluice_disk_stage_duration_seconds")));
  // What is now is told, nothing or not.
  EXPECT_THAT(text, HasSubstr("sluice_disk_flush_failed{disk=\"d\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("sluice_draining 0\n"));
}

TEST(Exposition, RequestsAreTotalsAndBytesAreBytes) {
  StatsSnapshot stats = OneExport();
  stats.clients[0].kinds[static_cast<int>(RequestKind::kWrite)].requests = 3;
  stats.clients[0].kinds[static_cast<int>(RequestKind::kWrite)].bytes = 12288;
  stats.clients[0].errors = {{"EIO", 2}};
  const std::string text = Expose(stats, {});
  const std::string labels = "{export=\"a\",volume=\"v\",door=\"nbd\",operation=\"write\"} ";
  EXPECT_THAT(Lines(text, "sluice_requests_total"),
              testing::ElementsAre("sluice_requests_total" + labels + "3"));
  EXPECT_THAT(Lines(text, "sluice_request_bytes_total"),
              testing::ElementsAre("sluice_request_bytes_total" + labels + "12288"));
  EXPECT_THAT(text, HasSubstr("sluice_request_errors_total{export=\"a\",volume=\"v\",door=\"nbd\","
                              "code=\"EIO\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE sluice_requests_total counter\n"));
}

TEST(Exposition, LatenciesAreCumulativeBucketsOfSeconds) {
  StatsSnapshot stats = OneExport();
  HistogramSnapshot& total = stats.clients[0].kinds[0].total;
  total.buckets[0] = 1;   // 0 ns
  total.buckets[12] = 2;  // below 4.096 us
  total.buckets[39] = 1;  // longer than all bounds
  total.sum = 5'000'000'000;
  const std::string text = Expose(stats, {});
  const auto buckets = Lines(text, "sluice_request_duration_seconds_bucket");
  const std::string labels = "{export=\"a\",volume=\"v\",door=\"nbd\",operation=\"read\",le=\"";
  const std::string name = "sluice_request_duration_seconds_bucket" + labels;
  EXPECT_THAT(buckets, Contains(name + "4.096e-06\"} 3"));
  EXPECT_THAT(buckets, Contains(name + "4.294967296\"} 3"));
  EXPECT_THAT(buckets, Contains(name + "+Inf\"} 4"));
  EXPECT_EQ(buckets.size(), 23u);
  EXPECT_THAT(text, HasSubstr("operation=\"read\"} 4\n"));
  EXPECT_THAT(Lines(text, "sluice_request_duration_seconds_sum"),
              Contains(testing::EndsWith(" 5")));
}

TEST(Exposition, CarriersAreCountedByTheirRequests) {
  StatsSnapshot stats;
  DiskSnapshot& disk = stats.disks.emplace_back();
  disk.name = "d";
  disk.riders_per_carrier.buckets[2] = 4;  // two or three
  disk.riders_per_carrier.buckets[6] = 1;  // 32 to 63
  disk.riders_per_carrier.sum = 40;
  const std::string text = Expose(stats, {});
  EXPECT_THAT(text, HasSubstr("sluice_disk_carrier_requests_bucket{disk=\"d\",le=\"3\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("sluice_disk_carrier_requests_bucket{disk=\"d\",le=\"63\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("sluice_disk_carrier_requests_sum{disk=\"d\"} 40\n"));
}

TEST(Exposition, AnExportMayHaveAnyName) {
  StatsSnapshot stats = OneExport();
  stats.clients[0].export_name = "a\"b\\c\nd";
  stats.clients[0].kinds[0].requests = 1;
  EXPECT_THAT(Expose(stats, {}), HasSubstr("{export=\"a\\\"b\\\\c\\nd\","));
}

TEST(Exposition, DoorsTellTheirOwnNames) {
  StatsSnapshot stats = OneExport();
  stats.clients[0].open = 2;
  ClientSnapshot grpc = stats.clients[0];
  grpc.door = DoorKind::kGrpc;
  grpc.open = 1;
  stats.clients.push_back(grpc);
  const std::string text = Expose(stats, {});
  EXPECT_THAT(text, HasSubstr("sluice_export_connections{export=\"a\",volume=\"v\",door=\"nbd\"} "
                              "2\n"));
  EXPECT_THAT(text,
              HasSubstr("sluice_export_sessions{export=\"a\",volume=\"v\",door=\"grpc\"} 1\n"));
}

TEST(Exposition, TheProcessBeganAtATime) {
  EXPECT_THAT(Expose(OneExport(), {}), HasSubstr("process_start_time_seconds 990\n"));
  const ProcessSnapshot process = TakeProcessSnapshot();
  EXPECT_GT(process.cpu_seconds, 0);
  EXPECT_GT(process.resident_bytes, 1u << 20);
  EXPECT_GE(process.open_fds, 3u);
  EXPECT_GT(process.max_fds, process.open_fds);
}

}  // namespace
}  // namespace sluice::http
