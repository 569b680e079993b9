// SPDX-License-Identifier: Apache-2.0
#include "server/http/exposition.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/bio.h"
#include "server/http/book.h"
#include "server/version.h"

namespace sluice::http {
namespace {

using Labels = Book::Labels;
using Bounds = Book::Bounds;

// Most of a scrape is buckets, of stages above all, which are therefore told in coarser ones.
constexpr Bounds kRequestNs = {12, 33, 1, 1e9};  // 4 us to 8.6 s
constexpr Bounds kStageNs = {12, 34, 2, 1e9};    // 4 us to 17 s
constexpr Bounds kRiders = {2, 10, 1, 1};        // 2 to 1023

constexpr const char* kStageNames[] = {"queue", "dispatch", "device", "answer"};
static_assert(std::size(kStageNames) == kStages);

double Of(uint64_t count) { return static_cast<double>(count); }

Labels With(Labels labels, const char* name, std::string value) {
  labels.push_back({name, std::move(value)});
  return labels;
}

// --- clients, by export and door ---

constexpr Book::Family kExportInfo = {"sluice_export_info", "An export and its volume; 1."};
constexpr Book::Family kRequests = {"sluice_requests_total",
                                    "Requests that clients sent, refused ones included."};
constexpr Book::Family kRequestBytes = {"sluice_request_bytes_total",
                                        "Bytes read, written, trimmed or zeroed for clients."};
constexpr Book::Family kRequestErrors = {
    "sluice_request_errors_total", "Requests answered with an error, by what the client was told."};
constexpr Book::Family kRequestSeconds = {
    "sluice_request_duration_seconds",
    "From a request's last byte parsed to its answer's last byte given to the socket; over gRPC to "
    "its result given to the call."};
constexpr Book::Family kRequestsDropped = {"sluice_requests_dropped_total",
                                           "Requests whose client was gone before the answer."};
constexpr Book::Family kRequestsInflight = {"sluice_inflight_requests",
                                            "Requests that began and are not answered."};
constexpr Book::Family kConnections = {"sluice_export_connections",
                                       "NBD connections past their handshake."};
constexpr Book::Family kConnectionsOpened = {"sluice_export_connections_opened_total",
                                             "NBD connections that passed their handshake."};
constexpr Book::Family kSessions = {"sluice_export_sessions", "Sessions of the gRPC door."};
constexpr Book::Family kSessionsOpened = {"sluice_export_sessions_opened_total",
                                          "Sessions that the gRPC door granted."};
constexpr Book::Family kWaits = {
    "sluice_backpressure_waits_total",
    "Times that a client's next request had to wait: for memory in the pools (pool), or for the "
    "client's own requests, since it had its share of them or they overlap (own)."};
constexpr Book::Family kInLine = {"sluice_backpressure_waiting_clients",
                                  "Clients in line for memory in the pools."};

void AddClients(const ClientSnapshot& from, Book& book) {
  const Labels labels = {
      {"export", from.export_name}, {"volume", from.volume}, {"door", DoorName(from.door)}};
  for (int i = 0; i < kRequestKinds; ++i) {
    const ClientSnapshot::Kind& kind = from.kinds[static_cast<size_t>(i)];
    const char* const name = KindName(static_cast<RequestKind>(i));
    book.Count(kRequests, With(labels, "operation", name), Of(kind.requests));
    book.Count(kRequestBytes, With(labels, "operation", name), Of(kind.bytes));
    book.Histogram(kRequestSeconds, With(labels, "operation", name), kind.total, kRequestNs);
  }
  for (const ErrorSnapshot& error : from.errors) {
    book.Count(kRequestErrors, With(labels, "code", error.code), Of(error.count));
  }
  book.Count(kRequestsDropped, labels, Of(from.dropped));
  book.Gauge(kRequestsInflight, labels, Of(from.inflight));
  const bool nbd = from.door == DoorKind::kNbd;
  book.Gauge(nbd ? kConnections : kSessions, labels, Of(from.open));
  book.Count(nbd ? kConnectionsOpened : kSessionsOpened, labels, Of(from.opened));
  book.Count(kWaits, With(labels, "reason", "pool"), Of(from.waits_pool));
  book.Count(kWaits, With(labels, "reason", "own"), Of(from.waits_own));
  book.Gauge(kInLine, labels, Of(from.in_line));
}

// --- disks ---

constexpr Book::Family kDiskInfo = {"sluice_disk_info", "A disk and its queueing strategy; 1."};
constexpr Book::Family kDiskRequests = {
    "sluice_disk_requests_total", "Requests that reached the disk, parts of split ones included."};
constexpr Book::Family kDiskBytes = {"sluice_disk_request_bytes_total", "Bytes of these."};
constexpr Book::Family kDiskErrors = {"sluice_disk_errors_total",
                                      "Requests that the disk failed, by the system's error."};
constexpr Book::Family kDiskOperations = {"sluice_disk_operations_total",
                                          "Operations that the device was given, for whatever."};
constexpr Book::Family kDiskRuns = {
    "sluice_disk_runs_total", "Runs sent to the device: single requests, and carriers of several."};
constexpr Book::Family kDiskRiders = {"sluice_disk_carrier_requests",
                                      "Requests in each carrier: a run of two or more."};
constexpr Book::Family kDiskCuts = {
    "sluice_disk_run_cuts_total",
    "Why runs ended where they did: no neighbour (gap), it would not fit (limit), it differs in "
    "FUA (class), a flush came between (flush), gathering is off for it (off)."};
constexpr Book::Family kDiskHeld = {"sluice_disk_held_runs_total",
                                    "Runs that waited for their neighbour in flight."};
constexpr Book::Family kDiskRetried = {"sluice_disk_retried_requests_total",
                                       "Requests sent again singly after their carrier failed."};
constexpr Book::Family kDiskContinued = {"sluice_disk_continued_operations_total",
                                         "Short transfers that were gone on with."};
constexpr Book::Family kDiskSlow = {
    "sluice_disk_slow_requests_total",
    "Requests that needed several operations: finer than the device's block, or zeroes written."};
constexpr Book::Family kDiskQueued = {"sluice_disk_queued_requests",
                                      "Requests in the disk that are not in a run at the device."};
constexpr Book::Family kDiskRiding = {"sluice_disk_device_requests",
                                      "Requests in runs at the device."};
constexpr Book::Family kDiskAtDevice = {"sluice_disk_device_runs", "Runs at the device."};
constexpr Book::Family kDiskDepth = {"sluice_disk_depth",
                                     "Runs that may be at the device at one time."};
constexpr Book::Family kDiskFailed = {
    "sluice_disk_flush_failed",
    "1: a flush failed, and none succeeds any more until an operator acts."};
constexpr Book::Family kStageSeconds = {
    "sluice_disk_stage_duration_seconds",
    "Parts of a request's time: from parsed to gathered (queue), to given to the device "
    "(dispatch), to answered by it (device), to the answer given to the socket (answer; disk=\"*\" "
    "if over several disks)."};

void AddDisk(const DiskSnapshot& from, Book& book) {
  const Labels disk = {{"disk", from.name}};
  const Labels queue = {{"disk", from.name}, {"strategy", from.strategy}};
  book.Gauge(kDiskInfo, queue, 1);
  for (int i = 0; i < kOps; ++i) {
    const DiskSnapshot::Operation& op = from.operations[static_cast<size_t>(i)];
    const char* const name = OpName(static_cast<Op>(i));
    book.Count(kDiskRequests, With(disk, "operation", name), Of(op.requests));
    book.Count(kDiskBytes, With(disk, "operation", name), Of(op.bytes));
    book.Count(kDiskOperations, With(disk, "operation", name), Of(op.device_operations));
    for (size_t stage = 0; stage < op.stages.size(); ++stage) {
      book.Histogram(kStageSeconds,
                     With(With(disk, "operation", name), "stage", kStageNames[stage]),
                     op.stages[stage], kStageNs);
    }
  }
  for (const ErrorSnapshot& error : from.errors) {
    book.Count(kDiskErrors, With(disk, "code", error.code), Of(error.count));
  }
  book.Count(kDiskRuns, disk, Of(from.runs));
  book.Histogram(kDiskRiders, disk, from.riders_per_carrier, kRiders);
  book.Count(kDiskCuts, With(disk, "reason", "gap"), Of(from.cut_gap));
  book.Count(kDiskCuts, With(disk, "reason", "limit"), Of(from.cut_limit));
  book.Count(kDiskCuts, With(disk, "reason", "class"), Of(from.cut_class));
  book.Count(kDiskCuts, With(disk, "reason", "flush"), Of(from.cut_flush));
  book.Count(kDiskCuts, With(disk, "reason", "off"), Of(from.cut_off));
  book.Count(kDiskHeld, disk, Of(from.held));
  book.Count(kDiskRetried, disk, Of(from.retried));
  book.Count(kDiskContinued, disk, Of(from.continued));
  book.Count(kDiskSlow, disk, Of(from.slow));
  book.Gauge(kDiskQueued, queue, Of(from.queued));
  book.Gauge(kDiskRiding, disk, Of(from.riding));
  book.Gauge(kDiskAtDevice, disk, Of(from.at_device));
  book.Gauge(kDiskDepth, disk, from.depth);
  book.Gauge(kDiskFailed, disk, from.flush_failed ? 1 : 0);
}

void AddAnswers(const AnswerSnapshot& from, Book& book) {
  for (int i = 0; i < kOps; ++i) {
    book.Histogram(kStageSeconds,
                   {{"disk", from.disk},
                    {"operation", OpName(static_cast<Op>(i))},
                    {"stage", kStageNames[static_cast<int>(Stage::kAnswer)]}},
                   from.operations[static_cast<size_t>(i)], kStageNs);
  }
}

// --- doors ---

constexpr Book::Family kAccepted = {"sluice_door_accepted_connections_total",
                                    "Connections that the door accepted."};
constexpr Book::Family kAcceptErrors = {"sluice_door_accept_errors_total",
                                        "Failures to accept: no descriptor or memory was left."};
constexpr Book::Family kDelayed = {
    "sluice_door_delayed_connections_total",
    "Connections that had to wait for others to go before they were served."};
constexpr Book::Family kRefused = {"sluice_door_refused_connections_total",
                                   "Connections, handshakes or calls refused."};
constexpr Book::Family kDoorConnections = {"sluice_door_connections",
                                           "Connections, those in their handshake included."};
constexpr Book::Family kDoorConnectionsMax = {"sluice_door_connections_limit",
                                              "Connections that there may be."};
constexpr Book::Family kHandshakes = {"sluice_door_handshakes", "Connections in their handshake."};
constexpr Book::Family kHandshakesMax = {"sluice_door_handshakes_limit",
                                         "Connections that may be in their handshake."};

void AddDoor(const DoorSnapshot& from, Book& book) {
  const Labels door = {{"door", from.name}};
  book.Count(kAccepted, door, Of(from.accepted));
  book.Count(kAcceptErrors, door, Of(from.accept_errors));
  book.Count(kDelayed, door, Of(from.delayed));
  for (const ErrorSnapshot& refused : from.refused) {
    book.Count(kRefused, With(door, "reason", refused.code), Of(refused.count));
  }
  book.Gauge(kDoorConnections, door, Of(from.connections));
  book.Gauge(kDoorConnectionsMax, door, Of(from.connections_max));
  if (from.handshakes_max == 0) return;
  book.Gauge(kHandshakes, door, Of(from.handshakes));
  book.Gauge(kHandshakesMax, door, Of(from.handshakes_max));
}

// --- the process ---

constexpr Book::Family kLoad = {"sluice_reactor_load_ratio",
                                "Share of the last 100 ms for which the thread was busy."};
constexpr Book::Family kEnters = {"sluice_reactor_ring_enters_total", "Calls of io_uring_enter."};
constexpr Book::Family kSqes = {"sluice_reactor_ring_submissions_total",
                                "Operations prepared for io_uring."};
constexpr Book::Family kPool = {"sluice_reactor_pool_bytes",
                                "Memory for the payloads of requests."};
constexpr Book::Family kPoolFree = {"sluice_reactor_pool_free_bytes", "What of it is free."};
constexpr Book::Family kBios = {"sluice_reactor_bios", "Records for the parts of requests."};
constexpr Book::Family kBiosReserved = {"sluice_reactor_bios_reserved",
                                        "What of these is reserved."};
constexpr Book::Family kBuildInfo = {"sluice_build_info", "The server's version; 1."};
constexpr Book::Family kDraining = {
    "sluice_draining", "1: the server finishes what is in flight and takes nothing new."};
constexpr Book::Family kCpu = {"process_cpu_seconds_total", "User and system CPU time."};
constexpr Book::Family kStart = {"process_start_time_seconds",
                                 "When the process began, since 1970 UTC."};
constexpr Book::Family kResident = {"process_resident_memory_bytes", "Resident memory."};
constexpr Book::Family kOpenFds = {"process_open_fds", "Open file descriptors."};
constexpr Book::Family kMaxFds = {"process_max_fds", "File descriptors that may be open."};

void AddReactor(size_t id, const ReactorSnapshot& from, Book& book) {
  const Labels reactor = {{"reactor", absl::StrCat(id)}};
  book.Gauge(kLoad, reactor, from.load_percent / 100.0);
  book.Count(kEnters, reactor, Of(from.enters));
  book.Count(kSqes, reactor, Of(from.sqes));
  book.Gauge(kPool, reactor, Of(from.pool_bytes));
  book.Gauge(kPoolFree, reactor, Of(from.pool_free_bytes));
  book.Gauge(kBios, reactor, Of(from.bios));
  book.Gauge(kBiosReserved, reactor, Of(from.bios_reserved));
}

void AddProcess(const ProcessSnapshot& process, Book& book) {
  book.Count(kCpu, {}, process.cpu_seconds);
  book.Gauge(kResident, {}, Of(process.resident_bytes));
  book.Gauge(kOpenFds, {}, Of(process.open_fds));
  book.Gauge(kMaxFds, {}, Of(process.max_fds));
}

}  // namespace

std::string Expose(const StatsSnapshot& stats, const ProcessSnapshot& process) {
  Book book;
  for (const ExportSnapshot& each : stats.exports) {
    book.Gauge(kExportInfo, {{"export", each.name}, {"volume", each.volume}}, 1);
  }
  for (const ClientSnapshot& clients : stats.clients) AddClients(clients, book);
  for (const DiskSnapshot& disk : stats.disks) AddDisk(disk, book);
  for (const AnswerSnapshot& answer : stats.answers) AddAnswers(answer, book);
  for (const DoorSnapshot& door : stats.doors) AddDoor(door, book);
  for (size_t id = 0; id < stats.reactors.size(); ++id) AddReactor(id, stats.reactors[id], book);
  book.Gauge(kBuildInfo, {{"version", kVersion}}, 1);
  book.Gauge(kDraining, {}, stats.draining ? 1 : 0);
  book.Gauge(kStart, {}, Of(static_cast<uint64_t>(stats.unix_ns) - stats.uptime_ns) / 1e9);
  AddProcess(process, book);
  return book.Text();
}

}  // namespace sluice::http
