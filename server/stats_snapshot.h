// SPDX-License-Identifier: Apache-2.0
// One look at every counter of the process, as plain structs: what /metrics, StatsService, `sluice
// top` and the log are made of. Counts are those since the start and never run backwards while what
// they count is there; durations are nanoseconds.
// server/stats_collector.h takes it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/stats.h"
#include "server/client_stats.h"

namespace sluice {

struct HistogramSnapshot {
  std::array<uint64_t, Histogram::kBuckets> buckets{};  // as Histogram's
  uint64_t sum = 0;

  void Add(const Histogram& histogram) noexcept;
  uint64_t count() const noexcept;
};

// Errors of one kind. `code`: an errno's name (disks: the system's, NBD: the protocol's), or an
// ErrorReason of proto/sluice/v1/error.proto without its prefix.
struct ErrorSnapshot {
  std::string code;
  uint64_t count = 0;
};

struct DiskSnapshot {
  struct Operation {
    uint64_t requests = 0;  // as they came from above
    uint64_t bytes = 0;
    uint64_t device_operations = 0;           // what the device was asked to do, for whatever
    std::array<HistogramSnapshot, 3> stages;  // kQueue, kDispatch, kDevice
  };
  std::string name;
  std::string strategy;
  uint16_t home = 0;          // its reactor
  bool flush_failed = false;  // for ever: no flush and no FUA succeeds any more
  uint32_t depth = 0;         // operations at the device at one time, at most
  std::array<Operation, kOps> operations;
  std::vector<ErrorSnapshot> errors;
  uint64_t runs = 0;      // sent to the device: singles and carriers
  uint64_t carriers = 0;  // runs of two or more requests
  uint64_t riders = 0;    // requests in carriers
  HistogramSnapshot riders_per_carrier;
  uint64_t held = 0;       // runs that waited for their neighbour in flight
  uint64_t retried = 0;    // requests sent again singly after their carrier failed
  uint64_t continued = 0;  // short transfers gone on with
  uint64_t slow = 0;       // requests that needed more than one operation
  // Why runs ended where they did.
  uint64_t cut_gap = 0, cut_limit = 0, cut_class = 0, cut_flush = 0, cut_off = 0;
  // Now: requests let in and not at the device in a run; runs at the device, and requests in them.
  uint64_t queued = 0, at_device = 0, riding = 0;
};

struct ExportSnapshot {
  std::string name;
  std::string volume;
};

// What the clients of one export did through one door. Absent while there was none.
struct ClientSnapshot {
  struct Kind {
    uint64_t requests = 0;
    uint64_t bytes = 0;
    HistogramSnapshot total;
  };
  std::string export_name;
  std::string volume;
  DoorKind door = DoorKind::kNbd;
  std::array<Kind, kRequestKinds> kinds;
  std::vector<ErrorSnapshot> errors;
  uint64_t dropped = 0;
  uint64_t opened = 0;  // connections (NBD), sessions (gRPC)
  uint64_t waits_pool = 0, waits_own = 0;
  // Now: of `opened`; of those, in line for memory; requests that began and are not answered.
  uint64_t open = 0, in_line = 0, inflight = 0;
};

// The stage from a device's last answer to the client's, by where the requests went.
struct AnswerSnapshot {
  std::string disk;  // "*": over several
  std::array<HistogramSnapshot, kOps> operations;
};

struct DoorSnapshot {
  std::string name;            // "nbd", "grpc"
  uint64_t accepted = 0;       // connections
  uint64_t accept_errors = 0;  // no descriptor, no memory
  uint64_t delayed = 0;        // connections that waited for others to go
  uint64_t connections = 0;    // now, in their handshake too
  uint64_t connections_max = 0;
  uint64_t handshakes = 0;             // now; where they are counted by themselves
  uint64_t handshakes_max = 0;         // 0: they are not
  std::vector<ErrorSnapshot> refused;  // by reason
};

struct ReactorSnapshot {
  uint32_t load_percent = 0;                     // of the last 100 ms
  uint64_t enters = 0;                           // io_uring_enter calls
  uint64_t sqes = 0;                             // operations prepared
  uint64_t pool_bytes = 0, pool_free_bytes = 0;  // payload memory
  uint64_t bios = 0, bios_reserved = 0;          // requests' own memory
};

struct StatsSnapshot {
  uint64_t uptime_ns = 0;
  int64_t unix_ns = 0;
  bool draining = false;
  std::vector<DiskSnapshot> disks;
  std::vector<ExportSnapshot> exports;  // all, in the config's order
  std::vector<ClientSnapshot> clients;  // by export in the config's order, then by door
  std::vector<AnswerSnapshot> answers;
  std::vector<DoorSnapshot> doors;
  std::vector<ReactorSnapshot> reactors;
};

// As they stand in labels.
const char* DoorName(DoorKind door);
const char* KindName(RequestKind kind);

}  // namespace sluice
