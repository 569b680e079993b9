// SPDX-License-Identifier: Apache-2.0
#include "server/http/watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "server/http/exposition.h"

namespace sluice::http {
namespace {

// Longer than any turn should take, and than a machine that swaps may make it.
constexpr uint64_t kStuckNs = 30 * kSecond;

}  // namespace

Pages Watch::MakePages() {
  Pages pages;
  pages.emplace("/metrics", [this] { return Metrics(); });
  pages.emplace("/healthz", [this] { return Health(); });
  pages.emplace("/readyz", [this] { return Readiness(); });
  return pages;
}

void Watch::Attach(StatsSources sources) {
  const std::lock_guard lock(mutex_);
  sources_ = std::make_unique<StatsSources>(std::move(sources));
  pulse_ = std::make_unique<Pulse>(*sources_->reactors, *sources_->clock, kStuckNs);
}

bool Watch::attached() {
  const std::lock_guard lock(mutex_);
  return sources_ != nullptr;
}

StatsSnapshot Watch::Snapshot() {
  const std::lock_guard lock(mutex_);
  StatsSnapshot snapshot = TakeSnapshot(*sources_);
  snapshot.draining = phase_.load() == Phase::kDraining;
  return snapshot;
}

// A line for each disk that has to be seen to.
std::string Watch::Degraded() {
  std::string text;
  const std::lock_guard lock(mutex_);
  if (sources_ == nullptr) return text;
  sources_->disks->ForEach([&text](const Disk& disk) {
    if (!disk.failed()) return;
    absl::StrAppend(&text, "disk ", disk.name(),
                    ": a flush failed: no flush and no FUA write succeeds any more; see to the "
                    "drive, then restart\n");
  });
  return text;
}

Page Watch::Metrics() {
  if (!attached()) return {503, "starting: there is nothing to count yet\n"};
  return {200, Expose(Snapshot(), TakeProcessSnapshot()), kExpositionType};
}

Page Watch::Health() {
  std::string stuck;
  {
    const std::lock_guard lock(mutex_);
    if (pulse_ != nullptr && phase_.load() == Phase::kServing) stuck = pulse_->Check();
  }
  if (!stuck.empty()) return {503, stuck + Degraded()};
  return {200, "ok\n" + Degraded()};
}

Page Watch::Readiness() {
  switch (phase_.load()) {
    case Phase::kStarting:
      return {503, "starting: disks and doors are being opened\n"};
    case Phase::kDraining:
      return {503, "draining: requests in flight are finished, new ones refused\n" + Degraded()};
    case Phase::kServing:
      break;
  }
  return {200, "ready\n" + Degraded()};
}

}  // namespace sluice::http
