// SPDX-License-Identifier: Apache-2.0
#include "server/stats_log.h"

#include "absl/strings/str_cat.h"
#include "core/bio.h"

namespace sluice {

std::string StatsLine(const DiskSnapshot& disk, const ReactorSnapshot& home) {
  const auto of = [&disk](Op op) -> const DiskSnapshot::Operation& {
    return disk.operations[static_cast<size_t>(op)];
  };
  uint64_t errors = 0;
  for (const ErrorSnapshot& error : disk.errors) errors += error.count;
  return absl::StrCat("stats disk=", disk.name,                              //
                      " reads=", of(Op::kRead).requests,                     //
                      " writes=", of(Op::kWrite).requests,                   //
                      " flushes=", of(Op::kFlush).requests,                  //
                      " trims=", of(Op::kTrim).requests,                     //
                      " zeroes=", of(Op::kZero).requests,                    //
                      " read_bytes=", of(Op::kRead).bytes,                   //
                      " written_bytes=", of(Op::kWrite).bytes,               //
                      " errors=", errors,                                    //
                      " runs=", disk.runs,                                   //
                      " carriers=", disk.carriers,                           //
                      " riders=", disk.riders,                               //
                      " held=", disk.held,                                   //
                      " retried=", disk.retried,                             //
                      " continued=", disk.continued,                         //
                      " slow=", disk.slow,                                   //
                      " device_reads=", of(Op::kRead).device_operations,     //
                      " device_writes=", of(Op::kWrite).device_operations,   //
                      " device_flushes=", of(Op::kFlush).device_operations,  //
                      " cut_gap=", disk.cut_gap,                             //
                      " cut_limit=", disk.cut_limit,                         //
                      " cut_class=", disk.cut_class,                         //
                      " cut_flush=", disk.cut_flush,                         //
                      " cut_off=", disk.cut_off,                             //
                      " enters=", home.enters, " sqes=", home.sqes);
}

}  // namespace sluice
