// SPDX-License-Identifier: Apache-2.0
#include "client/control/rates.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace sluice::control {
namespace {

double Per(uint64_t before, uint64_t after, double seconds) {
  return after > before ? static_cast<double>(after - before) / seconds : 0;
}

double Ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

using Ops = google::protobuf::RepeatedPtrField<v1::OpStats>;

void AddOps(const Ops& before, const Ops& after, double seconds, Load& load) {
  std::map<int, const v1::OpStats*> old;
  for (const v1::OpStats& op : before) old[op.op()] = &op;
  std::vector<uint64_t> buckets;
  for (const v1::OpStats& op : after) {
    static const v1::OpStats kNone;
    const auto found = old.find(op.op());
    const v1::OpStats& was = found == old.end() ? kNone : *found->second;
    const double rate = Per(was.count(), op.count(), seconds);
    const double bytes = Per(was.bytes(), op.bytes(), seconds);
    if (op.op() == v1::STATS_OP_READ) {
      load.reads += rate;
      load.read_bytes += bytes;
    } else if (op.op() == v1::STATS_OP_WRITE) {
      load.writes += rate;
      load.written_bytes += bytes;
    } else {
      load.others += rate;
    }
    const auto& now = op.total().buckets();
    const auto& then = was.total().buckets();
    buckets.resize(std::max(buckets.size(), static_cast<size_t>(now.size())));
    for (int i = 0; i < now.size(); ++i) {
      const uint64_t former = i < then.size() ? then.Get(i) : 0;
      buckets[static_cast<size_t>(i)] += now.Get(i) - std::min(former, now.Get(i));
    }
  }
  load.p50_us = QuantileNs(buckets, 0.5) / 1000;
  load.p99_us = QuantileNs(buckets, 0.99) / 1000;
}

ExportLoad Between(const v1::ExportStats& before, const v1::ExportStats& after, double seconds) {
  ExportLoad load;
  load.name = after.export_name();
  AddOps(before.ops(), after.ops(), seconds, load);
  load.errors = after.errors() - std::min(before.errors(), after.errors());
  load.inflight = after.inflight();
  load.users = after.sessions() + after.nbd_connections();
  return load;
}

DiskLoad Between(const v1::DiskStats& before, const v1::DiskStats& after, double seconds) {
  DiskLoad load;
  load.name = after.disk();
  AddOps(before.ops(), after.ops(), seconds, load);
  load.errors = after.errors() - std::min(before.errors(), after.errors());
  load.queued = after.queued();
  load.at_device = after.at_device();
  load.inflight = uint64_t{after.queued()} + after.at_device();
  load.runs = Per(before.runs(), after.runs(), seconds);
  const uint64_t runs = after.runs() - std::min(before.runs(), after.runs());
  const uint64_t carriers = after.carriers() - std::min(before.carriers(), after.carriers());
  const uint64_t riders = after.riders() - std::min(before.riders(), after.riders());
  load.riders_per_carrier = Ratio(riders, carriers);
  load.requests_per_run = Ratio(runs - std::min(runs, carriers) + riders, runs);
  return load;
}

template <typename Item, typename Name>
const Item& Find(const google::protobuf::RepeatedPtrField<Item>& items, const std::string& name,
                 Name name_of) {
  static const Item kNone;
  const auto found = std::find_if(items.begin(), items.end(),
                                  [&](const Item& item) { return (item.*name_of)() == name; });
  return found == items.end() ? kNone : *found;
}

}  // namespace

double QuantileNs(const std::vector<uint64_t>& buckets, double share) {
  uint64_t count = 0;
  for (const uint64_t in_bucket : buckets) count += in_bucket;
  const double wanted = share * static_cast<double>(count);
  double below = 0;
  for (size_t i = 0; i < buckets.size() && count > 0; ++i) {
    const auto here = static_cast<double>(buckets[i]);
    if (here > 0 && below + here >= wanted) {
      const double low = i == 0 ? 0 : std::ldexp(1.0, static_cast<int>(i) - 1);
      const double high = i == 0 ? 0 : std::ldexp(1.0, static_cast<int>(i));
      return low + (high - low) * std::max(0.0, wanted - below) / here;
    }
    below += here;
  }
  return 0;
}

Rates RatesBetween(const v1::Stats& before, const v1::Stats& after) {
  // An uptime that fell is another server's.
  static const v1::Stats kNone;
  const v1::Stats& was = before.uptime_ns() < after.uptime_ns() ? before : kNone;
  Rates rates;
  rates.seconds = std::max(static_cast<double>(after.uptime_ns() - was.uptime_ns()) / 1e9, 1e-9);
  for (const v1::ExportStats& now : after.exports()) {
    const auto& then = Find(was.exports(), now.export_name(), &v1::ExportStats::export_name);
    rates.exports.push_back(Between(then, now, rates.seconds));
  }
  for (const v1::DiskStats& now : after.disks()) {
    const auto& then = Find(was.disks(), now.disk(), &v1::DiskStats::disk);
    rates.disks.push_back(Between(then, now, rates.seconds));
  }
  return rates;
}

}  // namespace sluice::control
