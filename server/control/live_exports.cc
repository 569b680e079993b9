// SPDX-License-Identifier: Apache-2.0
#include "server/control/live_exports.h"

#include <latch>
#include <utility>

#include "core/check.h"

namespace sluice {

std::shared_ptr<const ExportInfo> LiveExports::Find(std::string_view name) const {
  if (Reactor::Current() != nullptr) return current_.load()->Find(name);
  return table()->Find(name);
}

std::vector<std::shared_ptr<const ExportInfo>> LiveExports::List() const {
  if (Reactor::Current() != nullptr) return current_.load()->List();
  return table()->List();
}

std::shared_ptr<const ExportTable> LiveExports::table() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

void LiveExports::Publish(std::shared_ptr<const ExportTable> next) {
  std::shared_ptr<const ExportTable> old;
  {
    const std::lock_guard lock(mutex_);
    old = std::exchange(table_, std::move(next));
    current_.store(table_.get());
  }
  PassAll(reactors_);
}

void PassAll(ReactorSet& reactors) {
  SLUICE_CHECK(Reactor::Current() == nullptr);
  std::latch passed(reactors.size());
  for (uint16_t id = 0; id < reactors.size(); ++id) {
    reactors.at(id).Post([&passed] { passed.count_down(); });
  }
  passed.wait();
}

}  // namespace sluice
