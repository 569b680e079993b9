// SPDX-License-Identifier: Apache-2.0
// What an export is, asked of the gRPC door without holding it.
#pragma once

#include <string>

#include "client/control/link.h"
#include "sluice/volume.h"

namespace sluice::control {

// `export_name` empty: the default export. In the answer `read_only` is the export's own, and
// `connections` is 2 as far as a session may have several streams.
Result<VolumeInfo> DescribeExport(const Link& link, const std::string& export_name);

}  // namespace sluice::control
