// SPDX-License-Identifier: Apache-2.0
#include "core/target.h"

#include <memory>

#include "core/check.h"
#include "core/reactor.h"

namespace sluice {
namespace {

// A query away from the reactor that asked, with what the asker had put into it.
struct Journey {
  Reactor& asker;
  void (*done)(ExtentQuery& query) noexcept;
  void* context;
};

void GoHome(ExtentQuery& query) noexcept {
  const std::unique_ptr<Journey> journey(static_cast<Journey*>(query.context));
  query.done = journey->done;
  query.context = journey->context;
  journey->asker.Post([&query] { query.done(query); });
}

}  // namespace

void AskExtents(Target& target, ExtentQuery& query) {
  Reactor* here = Reactor::Current();
  SLUICE_CHECK(here != nullptr);
  if (target.home() == kNoHome || target.home() == here->id()) return target.QueryExtents(query);
  query.context = new Journey{*here, query.done, query.context};
  query.done = GoHome;
  here->set().at(target.home()).Post([&target, &query] { target.QueryExtents(query); });
}

void AppendExtent(std::vector<Extent>& extents, const Extent& extent) {
  if (extent.length == 0) return;
  if (!extents.empty() && extents.back().hole == extent.hole &&
      extents.back().zero == extent.zero) {
    extents.back().length += extent.length;
  } else {
    extents.push_back(extent);
  }
}

}  // namespace sluice
