// SPDX-License-Identifier: Apache-2.0
#include "server/kin.h"

#include <algorithm>

namespace sluice {
namespace {

bool StandsOn(const Export& above, const Export& below) {
  return std::find(above.stands_on.begin(), above.stands_on.end(), below.config.volume) !=
         above.stands_on.end();
}

}  // namespace

// Legs are used once and slices do not overlap (storage/topology.h), so bytes are shared only with
// what stands above or below.
bool AreKin(const Export& a, const Export& b) {
  if (&a == &b) return true;
  return !a.read_only && !b.read_only && (StandsOn(a, b) || StandsOn(b, a));
}

Kin KinOf(const ExportDirectory& exports, const Export& exported) {
  Kin kin{exported.shared_from_this()};
  for (auto& info : exports.List()) {
    auto other = std::static_pointer_cast<const Export>(std::move(info));
    if (other.get() != &exported && AreKin(exported, *other)) kin.push_back(std::move(other));
  }
  return kin;
}

// Whoever sits first, then looks, and whoever takes first, then looks, cannot both have missed the
// other.
Exclusion::Seat SitAt(const Kin& kin) noexcept {
  Exclusion::Seat seat = kin.front()->exclusion.Sit();
  for (const auto& each : kin) {
    if (each->exclusion.taken()) return Exclusion::Seat();
  }
  return seat;
}

bool TakeAlone(const Kin& kin, bool anyway) noexcept {
  if (!kin.front()->exclusion.Take()) return false;
  if (anyway || SeatsAt(kin) == 0) return true;
  kin.front()->exclusion.Release();
  return false;
}

uint32_t SeatsAt(const Kin& kin) noexcept {
  uint32_t seats = 0;
  for (const auto& each : kin) seats += each->exclusion.seated();
  return seats;
}

}  // namespace sluice
