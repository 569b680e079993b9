// SPDX-License-Identifier: Apache-2.0
// The exports of the process, shared by all doors: name -> target, policy and what clients are
// told. Immutable once made; any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/target.h"
#include "server/client_stats.h"
#include "server/config.h"
#include "server/exclusion.h"
#include "server/export.h"

namespace sluice {

// What a door needs beyond what clients are told. ExportTable's entries are all of this type.
struct Export : ExportInfo, std::enable_shared_from_this<Export> {
  ExportConfig config;
  std::shared_ptr<Target> keep;  // the target, if it is to live as long as this
  Target* target = nullptr;
  std::vector<std::string> stands_on;  // its volume, and the disks and volumes below
  uint8_t prio = 1;
  uint16_t first_flow = 0;  // its flows are first_flow .. first_flow + kFlowsPerExport - 1

  // Its NBD connections, or a session that wants to be the only writer and that NBD is excluded by.
  bool nbd_excluded = true;
  mutable Exclusion exclusion;

  // Shared with the export of this name that was there before it.
  std::shared_ptr<ExportStats> stats = std::make_shared<ExportStats>();

  // Admissions of new connections, for the doors (server/nbd/door.h).
  mutable std::atomic<uint64_t> admissions_begun{0};
  mutable std::atomic<uint64_t> admissions_ended{0};
  // It is being taken away: nobody new gets in, even who has found it before.
  mutable std::atomic<bool> withdrawn{false};
};

// Peers share the flows of an export by a hash, so that four connections of one peer are one flow.
inline constexpr uint32_t kFlowsPerExport = 64;
inline uint16_t FlowOf(const Export& exported, uint16_t peer_hash) {
  return static_cast<uint16_t>(exported.first_flow + peer_hash % kFlowsPerExport);
}
// Weight of every flow, by its number: what the strategy `fair` is given.
std::vector<uint32_t> FlowWeights(const std::vector<ExportConfig>& exports);

class ExportTable final : public ExportDirectory {
 public:
  // An export's volume and its target, which outlives the table or is kept by it.
  struct Entry {
    ExportConfig config;
    Target* target;
    std::shared_ptr<Target> keep = nullptr;
    std::vector<std::string> stands_on = {};  // Topology::StandsOn(); empty: the volume alone
  };
  // `default_export` is what the empty name means; empty: the only entry, if there is only one.
  // What is as it was in `old` stays the same Export, which may grow, and every export of the same
  // name keeps its flows and its counters.
  ExportTable(const std::vector<Entry>& entries, std::string_view default_export,
              const ExportTable* old = nullptr);

  std::shared_ptr<const ExportInfo> Find(std::string_view name) const override;
  std::vector<std::shared_ptr<const ExportInfo>> List() const override;

  // By flow, as FlowWeights() of the exports when none was changed.
  std::vector<uint32_t> Weights() const;

 private:
  std::vector<std::shared_ptr<const ExportInfo>> list_;  // in the config's order
  absl::flat_hash_map<std::string, std::shared_ptr<const ExportInfo>> by_name_;
};

}  // namespace sluice
