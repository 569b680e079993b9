// SPDX-License-Identifier: Apache-2.0
#include "client/bench/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command/text.h"
#include "core/units.h"

namespace sluice::bench {
namespace {

using command::JsonText;

struct Percentile {
  const char* name;
  double share;
};
constexpr Percentile kPercentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

double Microseconds(uint64_t ns) { return static_cast<double>(ns) / kMicrosecond; }

// 1234567 as 1,234,567.
std::string Grouped(double number) {
  std::string digits = absl::StrFormat("%.0f", number);
  for (ptrdiff_t at = std::ssize(digits) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

std::string Size(uint64_t bytes) {
  if (bytes % kMiB == 0) return absl::StrCat(bytes / kMiB, " MiB");
  if (bytes % kKiB == 0) return absl::StrCat(bytes / kKiB, " KiB");
  return absl::StrCat(bytes, " B");
}

std::string Plural(uint64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string HistogramText(const Histogram& histogram) {
  constexpr double kWidth = 40;
  const auto bars = histogram.Bars();
  uint64_t highest = 1;
  for (const auto& bar : bars) highest = std::max(highest, bar.count);
  std::string out = "\n     <= µs      requests\n";
  for (const auto& bar : bars) {
    const double share = static_cast<double>(bar.count) / static_cast<double>(histogram.count());
    const double part = static_cast<double>(bar.count) / static_cast<double>(highest);
    absl::StrAppendFormat(&out, "%10.1f  %12s  %5.1f %%  ", Microseconds(bar.upper),
                          Grouped(static_cast<double>(bar.count)), 100 * share);
    for (auto i = static_cast<int>(std::ceil(part * kWidth)); i > 0; --i) out += "█";
    out += "\n";
  }
  return out;
}

std::string ErrorList(const Tally& tally) {
  std::string out;
  for (const auto& [code, count] : tally.errors_by_code) {
    const auto name = nbd::ErrorName(code);
    absl::StrAppend(&out, out.empty() ? "" : ", ", absl::string_view(name.data(), name.size()),
                    " (", static_cast<uint32_t>(code), ") ", Plural(count, "time"));
  }
  return out;
}

}  // namespace

std::string TableOf(const Options& options, const Result& result) {
  const Tally& tally = result.tally;
  std::string mix;
  if (options.mode.reads == kMixed) mix = absl::StrCat(" ", options.reads(), " % reads");
  std::string out = absl::StrFormat("%s\n%s%s, %s, depth %d, %s, %.2f s%s\n\n",
                                    absl::CHexEscape(options.uri_text), options.mode.name, mix,
                                    Size(options.block_size), options.depth,
                                    Plural(options.connections, "connection"), result.seconds,
                                    result.interrupted ? ", interrupted" : "");
  absl::StrAppendFormat(&out, "  IOPS     %14s    requests   %14s\n", Grouped(result.iops()),
                        Grouped(static_cast<double>(tally.answered)));
  absl::StrAppendFormat(&out, "  MB/s     %14.1f    errors     %14s\n",
                        result.bytes_per_second() / 1e6,
                        Grouped(static_cast<double>(tally.errors)));
  if (const auto durable = result.durable_iops()) {
    absl::StrAppendFormat(&out, "  durable  %14s    IOPS with the final flush in the time\n",
                          Grouped(*durable));
  }
  absl::StrAppendFormat(&out, "  client   %14.2f    µs of CPU a request\n",
                        result.cpu_us_per_request());
  if (options.verify) {
    absl::StrAppendFormat(&out, "  verified %14s    wrong      %14s\n",
                          Grouped(static_cast<double>(tally.checked + result.read_back.checked)),
                          Grouped(static_cast<double>(result.mismatches())));
  }
  absl::StrAppendFormat(&out, "\n  latency µs %8s", "mean");
  for (const auto& p : kPercentiles) absl::StrAppendFormat(&out, " %9s", p.name);
  absl::StrAppendFormat(&out, " %9s\n           %10.1f", "max",
                        tally.latency_ns.mean() / kMicrosecond);
  for (const auto& p : kPercentiles) {
    absl::StrAppendFormat(&out, " %9.1f", Microseconds(tally.latency_ns.Quantile(p.share)));
  }
  absl::StrAppendFormat(&out, " %9.1f\n", Microseconds(tally.latency_ns.max()));
  if (options.histogram) out += HistogramText(tally.latency_ns);
  return out;
}

std::string JsonOf(const Options& options, const Result& result) {
  const Tally& tally = result.tally;
  const auto durable = result.durable_iops();
  std::string out = absl::StrFormat(
      "{\"uri\": %s, \"rw\": \"%s\", \"read_percent\": %d, \"block_size\": %d, \"depth\": %d, "
      "\"connections\": %d, \"seconds\": %.6f, \"requests\": %d, \"errors\": %d, \"iops\": %.1f, "
      "\"bytes_per_second\": %.1f, \"durable_iops\": %s, ",
      JsonText(options.uri_text), options.mode.name, options.reads(), options.block_size,
      options.depth, options.connections, result.seconds, tally.answered, tally.errors,
      result.iops(), result.bytes_per_second(),
      durable ? absl::StrFormat("%.1f", *durable) : "null");
  absl::StrAppendFormat(&out, "\"latency_us\": {\"mean\": %.3f", tally.latency_ns.mean() / 1e3);
  for (const auto& p : kPercentiles) {
    absl::StrAppendFormat(&out, ", \"%s\": %.3f", p.name,
                          Microseconds(tally.latency_ns.Quantile(p.share)));
  }
  absl::StrAppendFormat(&out, ", \"max\": %.3f}, \"client_cpu_us_per_request\": %.4f",
                        Microseconds(tally.latency_ns.max()), result.cpu_us_per_request());
  absl::StrAppendFormat(&out, ", \"verified\": %d, \"mismatches\": %d, \"histogram\": [",
                        tally.checked + result.read_back.checked, result.mismatches());
  const char* separator = "";
  for (const auto& bar : tally.latency_ns.Bars()) {
    absl::StrAppendFormat(&out, "%s{\"le_us\": %.3f, \"count\": %d}", separator,
                          Microseconds(bar.upper), bar.count);
    separator = ", ";
  }
  return out + "]}\n";
}

std::string ProblemsOf(const Result& result) {
  std::string out;
  if (!result.status.ok()) absl::StrAppend(&out, result.status.message(), "\n");
  if (result.tally.errors > 0) {
    absl::StrAppend(&out, Plural(result.tally.errors, "request"),
                    " failed: ", ErrorList(result.tally), "; the server's log says why\n");
  }
  if (result.read_back.errors > 0) {
    absl::StrAppend(&out, Plural(result.read_back.errors, "read"),
                    " of the verification failed: ", ErrorList(result.read_back),
                    "; the server's log says why\n");
  }
  if (result.mismatches() > 0) {
    absl::StrAppend(
        &out, Plural(result.mismatches(), "read"), " brought wrong data, the first at offset ",
        std::min(result.tally.first_mismatch, result.read_back.first_mismatch),
        "; a run that only reads needs a write run of the same --seed and region before it\n");
  }
  return out;
}

}  // namespace sluice::bench
