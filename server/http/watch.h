// SPDX-License-Identifier: Apache-2.0
// What the HTTP door tells of the process: /metrics, /healthz, /readyz.
//
// Health is about the process: 200 while its reactors turn, whatever its disks do, for a restart
// mends no disk. Readiness is about new clients: 503, and why, before the doors are open and from
// the drain on. What an operator should see to but no client need be kept away for -- a disk whose
// flush failed -- stands in the body of both.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "server/http/answer.h"
#include "server/http/pulse.h"
#include "server/stats_collector.h"

namespace sluice::http {

class Watch {
 public:
  Watch() = default;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Good while this lives.
  Pages MakePages();

  // --- any thread ---
  // There is something to look at: what `sources` names outlives this.
  void Attach(StatsSources sources);
  void BeginServing() { phase_.store(Phase::kServing); }
  void BeginDrain() { phase_.store(Phase::kDraining); }
  // REQUIRES: attached.
  StatsSnapshot Snapshot();

 private:
  enum class Phase : uint8_t { kStarting, kServing, kDraining };

  Page Metrics();
  Page Health();
  Page Readiness();
  bool attached();
  std::string Degraded();

  std::atomic<Phase> phase_{Phase::kStarting};
  std::mutex mutex_;  // guards all below
  std::unique_ptr<StatsSources> sources_;
  std::unique_ptr<Pulse> pulse_;
};

}  // namespace sluice::http
