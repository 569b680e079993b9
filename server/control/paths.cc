// SPDX-License-Identifier: Apache-2.0
#include "server/control/paths.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace sluice {

absl::StatusOr<std::string> PathUnder(const std::vector<std::string>& roots,
                                      const std::string& path) {
  namespace fs = std::filesystem;
  const auto refuse = [&](absl::string_view what) {
    return absl::PermissionDeniedError(absl::StrCat("path: ", Quote(path), " ", what));
  };
  if (!path.starts_with('/')) return refuse("is not absolute: begin it with /");
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error == std::errc::no_such_file_or_directory) {
    const fs::path folder = fs::canonical(fs::path(path).parent_path(), error);
    const fs::path last = fs::path(path).filename();
    if (!error && (last.empty() || last == "." || last == "..")) {
      error = std::make_error_code(std::errc::no_such_file_or_directory);
    }
    real = folder / last;
  }
  if (error) return refuse(absl::StrCat("cannot be resolved: ", error.message()));
  for (const std::string& root : roots) {
    const fs::path folder = fs::canonical(root, error);
    if (error) continue;
    const std::string prefix = folder == "/" ? "/" : folder.string() + "/";
    if (real.string().starts_with(prefix)) return real.string();
  }
  return refuse(roots.empty() ? "cannot be added: the config names no disk_roots"
                              : "lies under none of the config's disk_roots");
}

}  // namespace sluice
