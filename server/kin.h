// SPDX-License-Identifier: Apache-2.0
// Exports that share bytes, as those of one volume do, or a disk's and its slices': who writes by
// one of them is in the way of the writers of the others. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "server/exclusion.h"
#include "server/export_table.h"

namespace sluice {

// One and the same, or both can be written and have bytes in common.
bool AreKin(const Export& a, const Export& b);

// `exported` first, then its kin in the directory, whose entries are Exports.
using Kin = std::vector<std::shared_ptr<const Export>>;
Kin KinOf(const ExportDirectory& exports, const Export& exported);

// A place at the first of `kin` for one NBD connection; empty while a session has one of them for
// itself.
Exclusion::Seat SitAt(const Kin& kin) noexcept;

// The first of `kin` is a session's alone: lets nobody sit down at any of them. False, and nothing
// has changed, if somebody sits and not `anyway`, or if it is somebody's already.
bool TakeAlone(const Kin& kin, bool anyway) noexcept;

// NBD connections at all of them.
uint32_t SeatsAt(const Kin& kin) noexcept;

}  // namespace sluice
