// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/stats_snapshot.h"

#include <map>
#include <string>
#include <vector>

namespace sluice::rpc {
namespace {

using Errors = std::vector<ErrorSnapshot>;

v1::StatsOp NameOf(RequestKind kind) {
  switch (kind) {
    case RequestKind::kRead:
      return v1::STATS_OP_READ;
    case RequestKind::kWrite:
      return v1::STATS_OP_WRITE;
    case RequestKind::kFlush:
      return v1::STATS_OP_FLUSH;
    case RequestKind::kTrim:
      return v1::STATS_OP_DISCARD;
    case RequestKind::kZero:
      return v1::STATS_OP_WRITE_ZEROES;
    case RequestKind::kCache:
      return v1::STATS_OP_CACHE;
    case RequestKind::kExtents:
      return v1::STATS_OP_BLOCK_STATUS;
    case RequestKind::kUnknown:
      break;
  }
  return v1::STATS_OP_UNKNOWN;
}

uint64_t CountOf(const Errors& errors) {
  uint64_t all = 0;
  for (const ErrorSnapshot& error : errors) all += error.count;
  return all;
}

void Fill(const Errors& from, google::protobuf::RepeatedPtrField<v1::ErrorStats>& to) {
  for (const ErrorSnapshot& error : from) {
    v1::ErrorStats& stats = *to.Add();
    stats.set_code(error.code);
    stats.set_count(error.count);
  }
}

void Fill(const HistogramSnapshot& from, v1::Latency& to) {
  to.mutable_buckets()->Assign(from.buckets.begin(), from.buckets.end());
  to.set_sum_ns(from.sum);
}

void Fill(const DiskSnapshot& from, const AnswerSnapshot* answers, bool counters_only,
          v1::DiskStats& to) {
  to.set_disk(from.name);
  for (size_t op = 0; op < from.operations.size(); ++op) {
    const DiskSnapshot::Operation& operation = from.operations[op];
    v1::OpStats& ops = *to.add_ops();
    ops.set_op(NameOf(static_cast<RequestKind>(op)));
    ops.set_count(operation.requests);
    ops.set_bytes(operation.bytes);
    if (counters_only) continue;
    Fill(operation.stages[0], *ops.mutable_queue());
    Fill(operation.stages[1], *ops.mutable_dispatch());
    Fill(operation.stages[2], *ops.mutable_device());
    if (answers != nullptr) Fill(answers->operations[op], *ops.mutable_answer());
  }
  to.set_errors(CountOf(from.errors));
  Fill(from.errors, *to.mutable_error_codes());
  to.set_runs(from.runs);
  to.set_carriers(from.carriers);
  to.set_riders(from.riders);
  to.mutable_carriers_by_riders()->Assign(from.riders_per_carrier.buckets.begin(),
                                          from.riders_per_carrier.buckets.end());
  to.set_held(from.held);
  to.set_retried(from.retried);
  to.set_continued(from.continued);
  to.set_slow(from.slow);
  to.set_cut_gap(from.cut_gap);
  to.set_cut_limit(from.cut_limit);
  to.set_cut_class(from.cut_class);
  to.set_cut_flush(from.cut_flush);
  to.set_cut_off(from.cut_off);
  const auto device = [&from](Op op) {
    return from.operations[static_cast<size_t>(op)].device_operations;
  };
  to.set_device_reads(device(Op::kRead));
  to.set_device_writes(device(Op::kWrite));
  to.set_device_flushes(device(Op::kFlush));
  to.set_queued(static_cast<uint32_t>(from.queued));
  to.set_at_device(static_cast<uint32_t>(from.riding));
  to.set_strategy(from.strategy);
  to.set_depth(from.depth);
  to.set_flush_failed(from.flush_failed);
}

// Adds what came through one door to its export.
void Fill(const ClientSnapshot& from, bool counters_only, v1::ExportStats& to) {
  v1::ExportDoorStats& door = *to.add_doors();
  door.set_door(DoorName(from.door));
  for (size_t kind = 0; kind < from.kinds.size(); ++kind) {
    v1::OpStats& ops = *door.add_ops();
    ops.set_op(NameOf(static_cast<RequestKind>(kind)));
    ops.set_count(from.kinds[kind].requests);
    ops.set_bytes(from.kinds[kind].bytes);
    if (!counters_only) Fill(from.kinds[kind].total, *ops.mutable_total());
    v1::OpStats& sum = *to.mutable_ops(static_cast<int>(kind));
    sum.set_count(sum.count() + ops.count());
    sum.set_bytes(sum.bytes() + ops.bytes());
  }
  Fill(from.errors, *door.mutable_error_codes());
  door.set_dropped(from.dropped);
  door.set_opened(from.opened);
  door.set_open(static_cast<uint32_t>(from.open));
  door.set_inflight(static_cast<uint32_t>(from.inflight));
  door.set_waits_pool(from.waits_pool);
  door.set_waits_own(from.waits_own);
  door.set_in_line(static_cast<uint32_t>(from.in_line));
  to.set_errors(to.errors() + CountOf(from.errors));
  to.set_inflight(to.inflight() + door.inflight());
  from.door == DoorKind::kNbd ? to.set_nbd_connections(door.open()) : to.set_sessions(door.open());
}

void Fill(const DoorSnapshot& from, v1::DoorStats& to) {
  to.set_door(from.name);
  to.set_accepted(from.accepted);
  to.set_accept_errors(from.accept_errors);
  to.set_delayed(from.delayed);
  Fill(from.refused, *to.mutable_refused());
  to.set_connections(static_cast<uint32_t>(from.connections));
  to.set_connections_limit(static_cast<uint32_t>(from.connections_max));
  to.set_handshakes(static_cast<uint32_t>(from.handshakes));
  to.set_handshakes_limit(static_cast<uint32_t>(from.handshakes_max));
}

void Fill(const ReactorSnapshot& from, v1::ReactorStats& to) {
  to.set_load_percent(from.load_percent);
  to.set_enters(from.enters);
  to.set_sqes(from.sqes);
  to.set_pool_bytes(from.pool_bytes);
  to.set_pool_free_bytes(from.pool_free_bytes);
  to.set_bios(from.bios);
  to.set_bios_reserved(from.bios_reserved);
}

}  // namespace

void FillStats(const StatsSnapshot& from, bool counters_only, v1::Stats& to) {
  to.set_uptime_ns(from.uptime_ns);
  to.set_unix_ns(from.unix_ns);
  to.set_draining(from.draining);
  std::map<std::string, const AnswerSnapshot*> answers;
  for (const AnswerSnapshot& each : from.answers) answers[each.disk] = &each;
  for (const DiskSnapshot& disk : from.disks) {
    const auto found = answers.find(disk.name);
    Fill(disk, found == answers.end() ? nullptr : found->second, counters_only, *to.add_disks());
  }
  std::map<std::string, v1::ExportStats*> exports;
  for (const ExportSnapshot& each : from.exports) {
    v1::ExportStats& stats = *to.add_exports();
    stats.set_export_name(each.name);
    stats.set_volume(each.volume);
    for (int kind = 0; kind < kRequestKinds; ++kind) {
      stats.add_ops()->set_op(NameOf(static_cast<RequestKind>(kind)));
    }
    exports[each.name] = &stats;
  }
  for (const ClientSnapshot& clients : from.clients) {
    const auto found = exports.find(clients.export_name);
    if (found != exports.end()) Fill(clients, counters_only, *found->second);
  }
  for (const DoorSnapshot& door : from.doors) Fill(door, *to.add_doors());
  for (size_t id = 0; id < from.reactors.size(); ++id) {
    v1::ReactorStats& stats = *to.add_reactors();
    stats.set_reactor(static_cast<uint32_t>(id));
    Fill(from.reactors[id], stats);
  }
}

}  // namespace sluice::rpc
