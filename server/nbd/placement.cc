// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/placement.h"

namespace sluice::nbd {

uint16_t PlaceConnection(ReactorSet& reactors, uint16_t home) {
  const uint32_t home_load = reactors.at(home).load_percent();
  if (home_load <= kBusyPercent) return home;
  uint16_t best = home;
  uint32_t best_load = home_load / 2 + 1;
  for (uint16_t id = 0; id < reactors.size(); ++id) {
    const uint32_t load = reactors.at(id).load_percent();
    if (load >= best_load) continue;
    best = id;
    best_load = load;
  }
  return best;
}

}  // namespace sluice::nbd
