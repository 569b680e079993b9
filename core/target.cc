// SPDX-License-Identifier: Apache-2.0
#include "core/target.h"

namespace sluice {

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
