// SPDX-License-Identifier: Apache-2.0
#include "server/http/book.h"

#include <charconv>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace sluice::http {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// The families as text. The library's own serializer writes the same labels and bounds again and
// again: for a hundred busy exports, 34,000 lines, it took 36 to 57 ms of CPU where this takes 9 to
// 20.
class Writer {
 public:
  explicit Writer(const std::vector<MetricFamily>& families) {
    for (const MetricFamily& family : families) Add(family);
  }
  std::string Take() { return std::move(out_); }

 private:
  static std::string Escaped(const std::string& text) {
    return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\n", "\\n"}, {"\"", "\\\""}});
  }
  // The shortest text that is this number again.
  static std::string Number(double value) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
    return std::string(text, end);
  }

  void Add(const MetricFamily& family) {
    const char* type = family.type == MetricType::Counter ? "counter"
                       : family.type == MetricType::Gauge ? "gauge"
                                                          : "histogram";
    absl::StrAppend(&out_, "# HELP ", family.name, " ", family.help, "\n# TYPE ", family.name, " ",
                    type, "\n");
    for (const ClientMetric& metric : family.metric) {
      std::string labels;
      for (const auto& label : metric.label) {
        absl::StrAppend(&labels, labels.empty() ? "" : ",", label.name, "=\"", Escaped(label.value),
                        "\"");
      }
      if (family.type == MetricType::Histogram) {
        AddHistogram(family.name, labels, metric.histogram);
      } else {
        const bool counter = family.type == MetricType::Counter;
        AddSample(family.name, labels, counter ? metric.counter.value : metric.gauge.value);
      }
    }
  }
  void AddSample(const std::string& name, const std::string& labels, double value) {
    absl::StrAppend(&out_, name);
    if (!labels.empty()) absl::StrAppend(&out_, "{", labels, "}");
    absl::StrAppend(&out_, " ", Number(value), "\n");
  }
  void AddHistogram(const std::string& name, const std::string& labels,
                    const ClientMetric::Histogram& histogram) {
    const std::string head =
        absl::StrCat(name, "_bucket{", labels, labels.empty() ? "" : ",", "le=\"");
    for (const ClientMetric::Bucket& bucket : histogram.bucket) {
      auto [bound, fresh] = bounds_.try_emplace(bucket.upper_bound);
      if (fresh) bound->second = Number(bucket.upper_bound);
      absl::StrAppend(&out_, head, bound->second, "\"} ", bucket.cumulative_count, "\n");
    }
    absl::StrAppend(&out_, head, "+Inf\"} ", histogram.sample_count, "\n");
    AddSample(name + "_sum", labels, histogram.sample_sum);
    AddSample(name + "_count", labels, static_cast<double>(histogram.sample_count));
  }

  std::string out_;
  std::map<double, std::string> bounds_;  // as text
};

}  // namespace

void Book::Gauge(const Family& family, Labels labels, double value) {
  Add(family, MetricType::Gauge, std::move(labels)).gauge.value = value;
}

void Book::Count(const Family& family, Labels labels, double value) {
  if (value == 0) return;
  Add(family, MetricType::Counter, std::move(labels)).counter.value = value;
}

void Book::Histogram(const Family& family, Labels labels, const HistogramSnapshot& from,
                     const Bounds& bounds) {
  const uint64_t count = from.count();
  if (count == 0) return;
  ClientMetric::Histogram& to = Add(family, MetricType::Histogram, std::move(labels)).histogram;
  to.sample_count = count;
  to.sample_sum = static_cast<double>(from.sum) / bounds.per_unit;
  uint64_t below = 0;
  for (int i = 0; i <= bounds.last; ++i) {
    below += from.buckets[static_cast<size_t>(i)];
    if (i < bounds.first || (i - bounds.first) % bounds.step != 0) continue;
    // Bucket i holds what is less than 2^i: of whole things, at most one less.
    const uint64_t bound = (uint64_t{1} << i) - (bounds.per_unit == 1 ? 1 : 0);
    to.bucket.push_back({below, static_cast<double>(bound) / bounds.per_unit});
  }
}

std::string Book::Text() const { return Writer(families_).Take(); }

ClientMetric& Book::Add(const Family& family, MetricType type, Labels labels) {
  ClientMetric& metric = Find(family, type).metric.emplace_back();
  metric.label = std::move(labels);
  return metric;
}

// Few, and mostly the last ones again.
MetricFamily& Book::Find(const Family& family, MetricType type) {
  for (auto it = families_.rbegin(); it != families_.rend(); ++it) {
    if (it->name == family.name) return *it;
  }
  MetricFamily& made = families_.emplace_back();
  made.name = family.name;
  made.help = family.help;
  made.type = type;
  return made;
}

}  // namespace sluice::http
