// SPDX-License-Identifier: Apache-2.0
// Where a disk that is added at run time may lie.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice {

// `path` with every symbolic link resolved, if it then lies below one of `roots` (resolved too);
// its last part need not exist. PermissionDenied else; errors name the path. It must then be opened
// without following links (DiskSpec::no_links), or what was judged may not be what is opened.
// Blocks.
absl::StatusOr<std::string> PathUnder(const std::vector<std::string>& roots,
                                      const std::string& path);

}  // namespace sluice
