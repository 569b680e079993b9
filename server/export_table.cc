// SPDX-License-Identifier: Apache-2.0
#include "server/export_table.h"

#include <algorithm>
#include <set>

#include "core/check.h"

namespace sluice {
namespace {

constexpr uint32_t kMaxBlock = 64 * 1024;  // NBD, "Block size constraints"

std::vector<std::string> StandsOn(const ExportTable::Entry& entry) {
  return entry.stands_on.empty() ? std::vector{entry.config.volume} : entry.stands_on;
}

std::shared_ptr<const Export> MakeExport(const ExportTable::Entry& entry, uint16_t first_flow,
                                         std::shared_ptr<ExportStats> stats) {
  const Limits& limits = entry.target->limits();
  auto made = std::make_shared<Export>();
  made->name = entry.config.name;
  made->description = entry.config.description;
  made->size_bytes = limits.size;
  made->read_only = entry.config.read_only || limits.read_only;
  made->rotational = limits.rotational;
  made->can_trim = limits.can_trim;
  made->can_zero = limits.can_zero;
  made->fast_zero = limits.can_fast_zero;
  made->min_block_bytes = limits.logical_block;
  made->preferred_block_bytes =
      std::clamp(limits.preferred, std::max(limits.logical_block, kSector), kMaxBlock);
  made->config = entry.config;
  made->keep = entry.keep;
  made->target = entry.target;
  made->stands_on = StandsOn(entry);
  made->stats = std::move(stats);
  made->prio = static_cast<uint8_t>(entry.config.priority);
  made->nbd_excluded = entry.config.nbd_excluded;
  made->first_flow = first_flow;
  return made;
}

}  // namespace

std::vector<uint32_t> FlowWeights(const std::vector<ExportConfig>& exports) {
  std::vector<uint32_t> weights;
  for (const ExportConfig& e : exports) weights.insert(weights.end(), kFlowsPerExport, e.weight);
  return weights;
}

ExportTable::ExportTable(const std::vector<Entry>& entries, std::string_view default_export,
                         const ExportTable* old) {
  SLUICE_CHECK(entries.size() * kFlowsPerExport <= 65536);
  const auto before = [old](const Entry& entry) {
    return old == nullptr ? nullptr
                          : std::static_pointer_cast<const Export>(old->Find(entry.config.name));
  };
  std::set<uint32_t> taken;
  for (const Entry& entry : entries) {
    if (const auto there = before(entry)) taken.insert(there->first_flow);
  }
  uint32_t free = 0;
  for (const Entry& entry : entries) {
    const auto there = before(entry);
    const bool same = there != nullptr && there->config == entry.config &&
                      there->target == entry.target && there->stands_on == StandsOn(entry);
    if (same) there->size_bytes.RiseTo(entry.target->limits().size);
    while (there == nullptr && taken.contains(free)) free += kFlowsPerExport;
    const uint32_t flow = there != nullptr ? there->first_flow : free;
    taken.insert(flow);
    auto stats = there != nullptr ? there->stats : std::make_shared<ExportStats>();
    list_.push_back(same ? there
                         : MakeExport(entry, static_cast<uint16_t>(flow), std::move(stats)));
    by_name_.emplace(entry.config.name, list_.back());
  }
  if (!default_export.empty()) {
    by_name_.emplace("", by_name_.at(std::string(default_export)));
  } else if (list_.size() == 1) {
    by_name_.emplace("", list_.front());
  }
}

std::shared_ptr<const ExportInfo> ExportTable::Find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  return found == by_name_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const ExportInfo>> ExportTable::List() const { return list_; }

std::vector<uint32_t> ExportTable::Weights() const {
  std::vector<uint32_t> weights;
  for (const auto& info : list_) {
    const auto& each = static_cast<const Export&>(*info);
    weights.resize(std::max<size_t>(weights.size(), each.first_flow + kFlowsPerExport), 1);
    std::fill_n(weights.begin() + each.first_flow, kFlowsPerExport, each.config.weight);
  }
  return weights;
}

}  // namespace sluice
