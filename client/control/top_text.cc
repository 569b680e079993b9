// SPDX-License-Identifier: Apache-2.0
#include "client/control/top_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/command/text.h"
#include "client/control/table.h"

namespace sluice::control {
namespace {

using command::JsonText;

std::string RateText(double rate) { return absl::StrFormat(rate < 10 ? "%.1f" : "%.0f", rate); }
std::string MegaText(double bytes) { return absl::StrFormat("%.1f", bytes / 1e6); }

std::string LatencyText(double us) {
  if (us == 0) return "-";
  if (us < 1000) return absl::StrFormat("%.0f µs", us);
  if (us < 1'000'000) return absl::StrFormat(us < 10'000 ? "%.1f ms" : "%.0f ms", us / 1e3);
  return absl::StrFormat("%.1f s", us / 1e6);
}

Cell ErrorCell(uint64_t errors) {
  return {absl::StrCat(errors), errors > 0 ? Tone::kBad : Tone::kPlain};
}

std::vector<Cell> CommonCells(const Load& load) {
  return {load.name,
          RateText(load.iops()),
          MegaText(load.read_bytes),
          MegaText(load.written_bytes),
          LatencyText(load.p50_us),
          LatencyText(load.p99_us)};
}

std::string ReactorLine(const v1::Stats& now) {
  std::vector<std::string> parts;
  for (const v1::ReactorStats& reactor : now.reactors()) {
    const uint64_t used =
        reactor.pool_bytes() - std::min(reactor.pool_free_bytes(), reactor.pool_bytes());
    parts.push_back(absl::StrFormat("%d: %d %% busy, %s of payload", reactor.reactor(),
                                    reactor.load_percent(), command::SizeText(used)));
  }
  return parts.empty() ? "" : absl::StrCat("\nreactor  ", absl::StrJoin(parts, "   "), "\n");
}

std::string LoadJson(const Load& load) {
  return absl::StrFormat(
      "\"name\": %s, \"iops\": %.3f, \"read_iops\": %.3f, \"write_iops\": %.3f, "
      "\"read_bytes_per_second\": %.3f, \"write_bytes_per_second\": %.3f, \"p50_us\": %.3f, "
      "\"p99_us\": %.3f, \"inflight\": %d, \"errors\": %d",
      JsonText(load.name), load.iops(), load.reads, load.writes, load.read_bytes,
      load.written_bytes, load.p50_us, load.p99_us, load.inflight, load.errors);
}

std::string TotalJson(const google::protobuf::RepeatedPtrField<v1::OpStats>& ops, uint64_t errors) {
  uint64_t reads = 0, writes = 0, others = 0, read_bytes = 0, written_bytes = 0;
  for (const v1::OpStats& op : ops) {
    if (op.op() == v1::STATS_OP_READ) {
      reads += op.count();
      read_bytes += op.bytes();
    } else if (op.op() == v1::STATS_OP_WRITE) {
      writes += op.count();
      written_bytes += op.bytes();
    } else {
      others += op.count();
    }
  }
  return absl::StrFormat(
      "\"total\": {\"reads\": %d, \"writes\": %d, \"others\": %d, \"read_bytes\": %d, "
      "\"written_bytes\": %d, \"errors\": %d}",
      reads, writes, others, read_bytes, written_bytes, errors);
}

}  // namespace

std::string TopTable(const Rates& rates, const v1::Stats& now, bool colour) {
  Table exports({"EXPORT", ">IOPS", ">READ MB/S", ">WRITE MB/S", ">P50", ">P99", ">INFLIGHT",
                 ">USERS", ">ERRORS"});
  for (const ExportLoad& load : rates.exports) {
    std::vector<Cell> row = CommonCells(load);
    row.emplace_back(absl::StrCat(load.inflight));
    row.emplace_back(absl::StrCat(load.users));
    row.push_back(ErrorCell(load.errors));
    exports.Add(std::move(row));
  }
  Table disks({"DISK", ">IOPS", ">READ MB/S", ">WRITE MB/S", ">P50", ">P99", ">QUEUED",
               ">AT DEVICE", ">RUNS/S", ">MERGE", ">ERRORS"});
  for (const DiskLoad& load : rates.disks) {
    std::vector<Cell> row = CommonCells(load);
    row.emplace_back(absl::StrCat(load.queued));
    row.emplace_back(absl::StrCat(load.at_device));
    row.emplace_back(RateText(load.runs));
    row.emplace_back(load.requests_per_run == 0 ? std::string("-")
                                                : absl::StrFormat("%.2f", load.requests_per_run));
    row.push_back(ErrorCell(load.errors));
    disks.Add(std::move(row));
  }
  return absl::StrCat(exports.Text(colour), "\n", disks.Text(colour), ReactorLine(now));
}

std::string TopJson(const Rates& rates, const v1::Stats& now) {
  std::vector<std::string> exports;
  for (size_t i = 0; i < rates.exports.size(); ++i) {
    const v1::ExportStats& stats = now.exports(static_cast<int>(i));
    exports.push_back(absl::StrFormat("{%s, \"users\": %d, %s}", LoadJson(rates.exports[i]),
                                      rates.exports[i].users,
                                      TotalJson(stats.ops(), stats.errors())));
  }
  std::vector<std::string> disks;
  for (size_t i = 0; i < rates.disks.size(); ++i) {
    const DiskLoad& load = rates.disks[i];
    const v1::DiskStats& stats = now.disks(static_cast<int>(i));
    disks.push_back(absl::StrFormat(
        "{%s, \"queued\": %d, \"at_device\": %d, \"runs_per_second\": %.3f, "
        "\"requests_per_run\": %.3f, \"riders_per_carrier\": %.3f, %s}",
        LoadJson(load), load.queued, load.at_device, load.runs, load.requests_per_run,
        load.riders_per_carrier, TotalJson(stats.ops(), stats.errors())));
  }
  std::vector<std::string> reactors;
  for (const v1::ReactorStats& reactor : now.reactors()) {
    reactors.push_back(absl::StrFormat(
        "{\"reactor\": %d, \"load_percent\": %d, \"pool_bytes\": %d, \"pool_free_bytes\": %d}",
        reactor.reactor(), reactor.load_percent(), reactor.pool_bytes(),
        reactor.pool_free_bytes()));
  }
  return absl::StrFormat(
      "{\"unix_ns\": %d, \"seconds\": %.6f, \"exports\": [%s], \"disks\": [%s], \"reactors\": "
      "[%s]}\n",
      now.unix_ns(), rates.seconds, absl::StrJoin(exports, ", "), absl::StrJoin(disks, ", "),
      absl::StrJoin(reactors, ", "));
}

}  // namespace sluice::control
