// SPDX-License-Identifier: Apache-2.0
// What one exposition holds, by family, and its text in Prometheus' format. prometheus-cpp's model
// of metrics is what it is kept in. Samples of a family need not be added in a row. One thread.
#pragma once

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "server/stats_snapshot.h"

namespace sluice::http {

class Book {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  struct Family {
    const char* name;
    const char* help;
  };
  // Bounds of buckets, as powers of two: every `step`th from `first` to `last`.
  struct Bounds {
    int first, last, step;
    double per_unit;  // what the snapshot counts in, of the family's unit
  };

  void Gauge(const Family& family, Labels labels, double value);
  // These two leave out what never happened.
  void Count(const Family& family, Labels labels, double value);
  void Histogram(const Family& family, Labels labels, const HistogramSnapshot& from,
                 const Bounds& bounds);

  std::string Text() const;

 private:
  prometheus::ClientMetric& Add(const Family& family, prometheus::MetricType type, Labels labels);
  prometheus::MetricFamily& Find(const Family& family, prometheus::MetricType type);

  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace sluice::http
