// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice {

// The release, as CMake's project() names it.
inline constexpr char kVersion[] = SLUICE_VERSION;

}  // namespace sluice
