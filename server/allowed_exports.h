// SPDX-License-Identifier: Apache-2.0
// A directory as one peer may see it: an export that it may not open is not there.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "server/access.h"
#include "server/export_table.h"

namespace sluice {

class AllowedExports final : public ExportDirectory {
 public:
  // `all`, whose entries are Exports, outlives it.
  AllowedExports(const ExportDirectory& all, Identity who) : all_(all), who_(std::move(who)) {}

  std::shared_ptr<const ExportInfo> Find(std::string_view name) const override {
    auto info = all_.Find(name);
    return info != nullptr && May(*info) ? info : nullptr;
  }
  std::vector<std::shared_ptr<const ExportInfo>> List() const override {
    auto list = all_.List();
    std::erase_if(list, [this](const auto& info) { return !May(*info); });
    return list;
  }

 private:
  bool May(const ExportInfo& info) const {
    return MayOpen(static_cast<const Export&>(info).config, who_);
  }

  const ExportDirectory& all_;
  const Identity who_;
};

}  // namespace sluice
