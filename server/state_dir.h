// SPDX-License-Identifier: Apache-2.0
// What must outlive the process: a folder of this server alone, with a few small files in it, each
// replaced as a whole.
//
// A file is one line "sluice-state VERSION NAME BYTES CRC32C" (numbers in decimal, the sum of the
// line so far and the body in eight hex digits), then the body. Save() writes a new file beside the
// old one, syncs it, renames it over the old one and syncs the folder (rename(2), fsync(2)):
// whatever is killed at whatever step, Load() finds all of the old body or all of the new one.
//
// Control path: calls block. Any thread; one call at a time goes on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

class StateDir {
 public:
  static constexpr size_t kBytesMax = size_t{16} << 20;  // of one body

  // Where a server's state lies unless it is told: $STATE_DIRECTORY, which the service manager sets
  // (its first folder, systemd.exec(5)); else /var/lib/sluice for root; else
  // $HOME/.local/state/sluice. Empty if nothing tells.
  static std::string DefaultPath();

  // Makes the folder (mode 0700, those above it too) if it is missing, and takes it for this
  // process alone. Unavailable: another process has it. Errors name the path.
  static absl::StatusOr<std::unique_ptr<StateDir>> Open(const std::string& path);
  ~StateDir();  // gives the folder up
  StateDir(const StateDir&) = delete;
  StateDir& operator=(const StateDir&) = delete;

  const std::string& path() const { return path_; }

  // The body saved last under `name` ([a-z]+); nothing if none ever was. `version` is the newest
  // that the caller reads; it must read all older ones. DataLoss: the file is corrupt.
  // FailedPrecondition: a newer server wrote it. What was not loaded is never overwritten.
  absl::StatusOr<std::optional<std::string>> Load(const std::string& name, uint32_t version);

  // Replaces the body of `name`; durable when OK. After an error the old one is there, as the
  // caller goes on with it; the new one may be only if the drive failed again as it was put back.
  // It may be saved again. ResourceExhausted: more than kBytesMax. REQUIRES: Load(name) succeeded.
  absl::Status Save(const std::string& name, uint32_t version, absl::string_view body);

 private:
  StateDir(std::string path, int folder) : path_(std::move(path)), folder_(folder) {}
  absl::Status Failed(const std::string& name, absl::string_view what) const;
  absl::Status WriteNew(const std::string& name, absl::string_view text);
  absl::Status Install(const std::string& fresh, const std::string& name);

  const std::string path_;
  const int folder_;  // its lock, too
  std::mutex mutex_;
  std::map<std::string, std::string> loaded_;  // what is there of them; guarded by mutex_
};

}  // namespace sluice
