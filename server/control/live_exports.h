// SPDX-License-Identifier: Apache-2.0
// The export table that is in force. Reactors look into it without a lock; it is replaced as a
// whole, and the old one dies when every reactor has passed.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/reactor.h"
#include "server/export_table.h"

namespace sluice {

class LiveExports final : public ExportDirectory {
 public:
  // The reactors outlive it.
  LiveExports(ReactorSet& reactors, std::shared_ptr<const ExportTable> first)
      : reactors_(reactors), table_(std::move(first)), current_(table_.get()) {}

  // Any thread; a reactor's takes no lock.
  std::shared_ptr<const ExportInfo> Find(std::string_view name) const override;
  std::vector<std::shared_ptr<const ExportInfo>> List() const override;

  // Not on a reactor.
  std::shared_ptr<const ExportTable> table() const;
  // As Find(), for what a door needs beyond what clients are told.
  std::shared_ptr<const Export> Exported(const std::string& name) const {
    return std::static_pointer_cast<const Export>(table()->Find(name));
  }
  // Puts `next` in force; returns when no reactor sees the old one any more. REQUIRES: the reactors
  // run; not on one of them, and not on two threads at one time. Blocks.
  void Publish(std::shared_ptr<const ExportTable> next);

 private:
  ReactorSet& reactors_;
  mutable std::mutex mutex_;
  std::shared_ptr<const ExportTable> table_;  // guarded by mutex_
  std::atomic<const ExportTable*> current_;
};

// Returns when every reactor has ended the turn in which this was called. REQUIRES: they run; not
// on one of them. Blocks.
void PassAll(ReactorSet& reactors);

}  // namespace sluice
