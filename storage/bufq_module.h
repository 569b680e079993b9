// SPDX-License-Identifier: Apache-2.0
// Strategies from shared objects. Control path, blocking, any thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/bufq.h"

namespace sluice {

// Opens FOLDER/NAME.so and checks that it fits this process. NotFound: there is no such file, or
// `folder` is empty. FailedPrecondition: it is there and was refused; the message says why.
// REQUIRES: IsBufqName(name), so that no name leads out of the folder.
absl::StatusOr<BufqStrategy> LoadBufqModule(const std::string& folder, absl::string_view name);

}  // namespace sluice
