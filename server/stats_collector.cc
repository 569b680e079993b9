// SPDX-License-Identifier: Apache-2.0
#include "server/stats_collector.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <utility>

#include "core/units.h"
#include "server/export_table.h"
#include "server/grpc/op.h"
#include "storage/disk.h"

namespace sluice {
namespace {

// Errors as Linux numbers them; the NBD protocol's are among these.
std::string ErrnoName(int code) {
  const char* name = code < ErrorCounts::kCodes - 1 ? strerrorname_np(code) : nullptr;
  return name != nullptr ? name : "OTHER";
}

std::vector<ErrorSnapshot> ErrorsOf(const std::array<uint64_t, ErrorCounts::kCodes>& counts,
                                    std::string (*name)(int code)) {
  std::vector<ErrorSnapshot> errors;
  for (int code = 0; code < ErrorCounts::kCodes; ++code) {
    const uint64_t count = counts[static_cast<size_t>(code)];
    if (count != 0) errors.push_back({name(code), count});
  }
  return errors;
}

void AddErrors(const ErrorCounts& from, std::array<uint64_t, ErrorCounts::kCodes>& to) {
  for (int code = 0; code < ErrorCounts::kCodes; ++code) {
    to[static_cast<size_t>(code)] += from.of(code);
  }
}

std::string ReasonNameOf(int code) { return rpc::NameOf(static_cast<rpc::Reason>(code)); }

// What went out is read before what came in: never less than nothing is under way.
uint64_t LetInAndNotEnded(const DiskStats& stats) {
  uint64_t ended = stats.refused.value();
  for (const auto& stages : stats.stages.by_op) {
    ended += stages[static_cast<int>(Stage::kDevice)].count();
  }
  uint64_t came = 0;
  for (const Counter& counter : stats.requests) came += counter.value();
  return came - std::min(came, ended);
}

// One export through one door, over all reactors. False: nobody was ever there.
bool AddClients(const Export& exported, DoorKind door, uint16_t reactors, ClientSnapshot& to,
                std::array<HistogramSnapshot, kOps>& answers) {
  bool any = false;
  uint64_t ended = 0;
  uint64_t began = 0;
  uint64_t closed = 0;
  std::array<uint64_t, ErrorCounts::kCodes> errors{};
  for (uint16_t reactor = 0; reactor < reactors; ++reactor) {
    const ClientStats* stats = exported.stats->Find(door, reactor);
    if (stats == nullptr) continue;
    any = true;
    to.dropped += stats->dropped.value();
    closed += stats->closed.value();
    to.opened += stats->opened.value();
    to.waits_pool += stats->waits_pool.value();
    to.waits_own += stats->waits_own.value();
    to.in_line += stats->in_line.value();
    AddErrors(stats->errors, errors);
    for (int kind = 0; kind < kRequestKinds; ++kind) {
      const ClientStats::Kind& from = stats->kinds[kind];
      ClientSnapshot::Kind& sum = to.kinds[static_cast<size_t>(kind)];
      sum.total.Add(from.total_ns);
      sum.bytes += from.bytes.value();
      sum.requests += from.requests.value();
    }
    for (int op = 0; op < kOps; ++op) {
      const auto& stages = stats->stages.by_op[op];
      answers[static_cast<size_t>(op)].Add(stages[static_cast<int>(Stage::kAnswer)]);
    }
  }
  for (const ClientSnapshot::Kind& kind : to.kinds) {
    ended += kind.total.count();
    began += kind.requests;
  }
  ended += to.dropped;
  // The range that was asked about is no data.
  to.kinds[static_cast<int>(RequestKind::kExtents)].bytes = 0;
  to.open = to.opened - std::min(to.opened, closed);
  to.inflight = began - std::min(began, ended);
  to.errors = ErrorsOf(errors, door == DoorKind::kNbd ? ErrnoName : ReasonNameOf);
  return any;
}

// The disk that all of the export lies on; "*": several, or none that counts.
std::string DiskUnder(const Export& exported, const std::vector<DiskSnapshot>& disks) {
  if (exported.stands_on.size() == 1) return exported.stands_on.front();
  std::string found = "*";
  for (const DiskSnapshot& disk : disks) {
    const auto& names = exported.stands_on;
    if (std::find(names.begin(), names.end(), disk.name) == names.end()) continue;
    if (found != "*") return "*";
    found = disk.name;
  }
  return found;
}

void AddExports(const StatsSources& sources, StatsSnapshot& to) {
  std::map<std::string, AnswerSnapshot> answers;
  for (const auto& info : sources.exports->List()) {
    const auto& exported = static_cast<const Export&>(*info);
    to.exports.push_back({exported.name, exported.config.volume});
    for (int door = 0; door < kDoors; ++door) {
      ClientSnapshot clients;
      clients.export_name = exported.name;
      clients.volume = exported.config.volume;
      clients.door = static_cast<DoorKind>(door);
      AnswerSnapshot& answer = answers[DiskUnder(exported, to.disks)];
      if (AddClients(exported, clients.door, sources.reactors->size(), clients,
                     answer.operations)) {
        to.clients.push_back(std::move(clients));
      }
    }
  }
  for (auto& [disk, answer] : answers) {
    answer.disk = disk;
    to.answers.push_back(std::move(answer));
  }
}

ReactorSnapshot SnapshotOf(Reactor& reactor, const RingPoller* ring) {
  ReactorSnapshot to;
  to.load_percent = reactor.load_percent();
  to.pool_bytes = reactor.buffers().bytes();
  to.pool_free_bytes = reactor.buffers().free_bytes();
  to.bios = reactor.bios().credits();
  to.bios_reserved = reactor.bios().reserved();
  if (ring != nullptr) {
    to.enters = ring->enters();
    to.sqes = ring->sqes();
  }
  return to;
}

int64_t UnixNs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * static_cast<int64_t>(kSecond) + now.tv_nsec;
}

}  // namespace

DiskSnapshot SnapshotOf(const Disk& disk) {
  const DiskStats& stats = disk.stats();
  const GatherStats& gather = disk.gather_stats();
  DiskSnapshot to;
  to.name = disk.name();
  to.strategy = std::string(disk.strategy_name());
  to.home = disk.home();
  to.flush_failed = disk.failed();
  to.depth = disk.depth();
  to.riding = stats.riding.value();
  to.at_device = stats.at_device.value();
  const uint64_t inside = LetInAndNotEnded(stats);
  to.queued = inside - std::min(inside, to.riding);
  for (int op = 0; op < kOps; ++op) {
    DiskSnapshot::Operation& operation = to.operations[static_cast<size_t>(op)];
    operation.requests = stats.requests[op].value();
    operation.bytes = stats.bytes[op].value();
    operation.device_operations = stats.device_ops[op].value();
    for (size_t stage = 0; stage < operation.stages.size(); ++stage) {
      operation.stages[stage].Add(stats.stages.by_op[op][stage]);
    }
  }
  std::array<uint64_t, ErrorCounts::kCodes> errors{};
  AddErrors(stats.errors, errors);
  to.errors = ErrorsOf(errors, ErrnoName);
  to.runs = stats.runs.value();
  to.carriers = stats.carriers.value();
  to.riders = stats.riders.value();
  to.riders_per_carrier.Add(stats.riders_per_carrier);
  to.held = stats.held.value();
  to.retried = stats.retried.value();
  to.continued = stats.continued.value();
  to.slow = stats.slow.value();
  to.cut_gap = gather.cut_gap.value();
  to.cut_limit = gather.cut_limit.value();
  to.cut_class = gather.cut_class.value();
  to.cut_flush = gather.cut_flush.value();
  to.cut_off = gather.cut_off.value();
  return to;
}

StatsSnapshot TakeSnapshot(StatsSources& sources) {
  StatsSnapshot to;
  to.uptime_ns = sources.clock->NowNs() - sources.started_ns;
  to.unix_ns = UnixNs();
  sources.disks->ForEach([&to](const Disk& disk) { to.disks.push_back(SnapshotOf(disk)); });
  AddExports(sources, to);
  for (StatsSources::Door& door : sources.doors) to.doors.push_back(door());
  for (uint16_t id = 0; id < sources.reactors->size(); ++id) {
    const RingPoller* ring = id < sources.rings.size() ? sources.rings[id] : nullptr;
    to.reactors.push_back(SnapshotOf(sources.reactors->at(id), ring));
  }
  return to;
}

}  // namespace sluice
