// SPDX-License-Identifier: Apache-2.0
#include "server/stats_log.h"

#include "absl/strings/str_cat.h"

namespace sluice {

std::string StatsLine(const Disk& disk, const RingPoller& ring) {
  const DiskStats& stats = disk.stats();
  const GatherStats& gather = disk.gather_stats();
  const auto of = [](const Counter(&counters)[kOps], Op op) {
    return counters[static_cast<int>(op)].value();
  };
  return absl::StrCat("stats disk=", disk.name(),                           //
                      " reads=", of(stats.requests, Op::kRead),             //
                      " writes=", of(stats.requests, Op::kWrite),           //
                      " flushes=", of(stats.requests, Op::kFlush),          //
                      " trims=", of(stats.requests, Op::kTrim),             //
                      " zeroes=", of(stats.requests, Op::kZero),            //
                      " read_bytes=", of(stats.bytes, Op::kRead),           //
                      " written_bytes=", of(stats.bytes, Op::kWrite),       //
                      " errors=", stats.errors.value(),                     //
                      " runs=", stats.runs.value(),                         //
                      " carriers=", stats.carriers.value(),                 //
                      " riders=", stats.riders.value(),                     //
                      " held=", stats.held.value(),                         //
                      " retried=", stats.retried.value(),                   //
                      " continued=", stats.continued.value(),               //
                      " slow=", stats.slow.value(),                         //
                      " device_reads=", of(stats.device_ops, Op::kRead),    //
                      " device_writes=", of(stats.device_ops, Op::kWrite),  //
                      " device_flushes=", disk.flushes(),                   //
                      " cut_gap=", gather.cut_gap.value(),                  //
                      " cut_limit=", gather.cut_limit.value(),              //
                      " cut_class=", gather.cut_class.value(),              //
                      " cut_flush=", gather.cut_flush.value(),              //
                      " cut_off=", gather.cut_off.value(),                  //
                      " enters=", ring.enters(), " sqes=", ring.sqes());
}

}  // namespace sluice
