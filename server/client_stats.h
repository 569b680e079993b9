// SPDX-License-Identifier: Apache-2.0
// What the clients of one export do, counted by the door they come through and by the reactor that
// serves them: each set is written by that reactor alone and read by any thread. A set is made when
// its first client comes, and lives as long as the export's name is served.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/bio.h"
#include "core/check.h"
#include "core/reactor.h"
#include "core/stats.h"

namespace sluice {

enum class DoorKind : uint8_t { kNbd, kGrpc };
inline constexpr int kDoors = 2;

// What clients ask for: core's operations by their own numbers, and what is none of them.
enum class RequestKind : uint8_t {
  kRead = 0,
  kWrite = 1,
  kFlush = 2,
  kTrim = 3,
  kZero = 4,
  kCache = 5,
  kExtents = 6,  // where there are holes
  kUnknown = 7,  // no such operation: answered with an error
};
inline constexpr int kRequestKinds = 8;
static_assert(kOps == static_cast<int>(RequestKind::kExtents));
constexpr RequestKind KindOf(Op op) { return static_cast<RequestKind>(op); }

struct ClientStats {
  struct Kind {
    Counter requests;    // that began, refused ones included
    Counter bytes;       // that were done
    Histogram total_ns;  // of those answered: from parsed to the last byte given to the socket
  };
  Kind kinds[kRequestKinds];
  StageTimes stages;   // kAnswer alone, of bios; the others are the disks'
  ErrorCounts errors;  // answered so; by the code that the client is told
  Counter dropped;     // began, and the client was gone before the answer

  // NBD connections past their handshake, or sessions.
  Counter opened;
  Counter closed;

  // Requests that could not begin when they came: no memory in the pools, or as much of it and as
  // many requests under way as one client may have.
  Counter waits_pool;
  Counter waits_own;
  Gauge in_line;  // clients that wait for the pools now

  Kind& of(RequestKind kind) noexcept { return kinds[static_cast<int>(kind)]; }
  const Kind& of(RequestKind kind) const noexcept { return kinds[static_cast<int>(kind)]; }
};

// All sets of one export.
class ExportStats {
 public:
  ExportStats() = default;
  ~ExportStats() {
    for (auto& set : sets_) delete set.load();
  }
  ExportStats(const ExportStats&) = delete;
  ExportStats& operator=(const ExportStats&) = delete;

  // The set that `reactor` writes. Any thread; allocates the first time.
  ClientStats& For(DoorKind door, uint16_t reactor) {
    std::atomic<ClientStats*>& set = sets_[Index(door, reactor)];
    if (ClientStats* there = set.load(std::memory_order_acquire)) return *there;
    auto made = std::make_unique<ClientStats>();
    ClientStats* there = nullptr;
    if (!set.compare_exchange_strong(there, made.get())) return *there;
    return *made.release();
  }

  // Null: no client of that door was ever there. Any thread.
  const ClientStats* Find(DoorKind door, uint16_t reactor) const noexcept {
    return sets_[Index(door, reactor)].load(std::memory_order_acquire);
  }

 private:
  static size_t Index(DoorKind door, uint16_t reactor) noexcept {
    SLUICE_CHECK(reactor < Reactor::kMax);
    return static_cast<size_t>(door) * Reactor::kMax + reactor;
  }
  std::array<std::atomic<ClientStats*>, size_t{kDoors} * Reactor::kMax> sets_{};
};

}  // namespace sluice
