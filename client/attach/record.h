// SPDX-License-Identifier: Apache-2.0
// What a keeper tells of itself: a file for each device in /run/sluice-attach, locked by the keeper
// as long as it lives. A file that nobody has locked is left from a keeper that is gone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice::attach {

// Not below /run/sluice, which is the server's unprivileged user's.
inline constexpr char kRecordFolder[] = "/run/sluice-attach";

struct Record {
  pid_t pid = 0;
  std::string uri = {};
  std::string state = {};  // "attached", "reconnecting", "detaching"
  uint32_t connections = 0;
  uint32_t live_connections = 0;
  uint16_t flags = 0;  // transmission flags the device was made with

  bool operator==(const Record&) const = default;
};

// A device's place, taken by a keeper. Movable; gives the place up when destroyed, in whichever
// process of a fork has called Own() last. The record goes with it, but for a former keeper's when
// nothing was written over it: the next to come needs that.
class RecordFile {
 public:
  // AlreadyExists: a keeper lives there; tells its pid. PermissionDenied: not root.
  static absl::StatusOr<RecordFile> Take(uint32_t index, const std::string& folder = kRecordFolder);
  RecordFile(RecordFile&& other) noexcept;
  RecordFile& operator=(RecordFile&&) = delete;
  ~RecordFile();

  // What a former keeper that did not end in order left there.
  const std::optional<Record>& former() const { return former_; }
  // After a fork the child is the keeper: the parent's object then gives nothing up.
  void Own();
  // What the keeper is now.
  void Write(const Record& record);

 private:
  RecordFile(int fd, std::string path);
  void Put(const Record& record);

  int fd_ = -1;
  pid_t owner_ = 0;
  bool kept_ = false;  // the device is ours
  std::string path_;
  std::optional<Record> former_;
};

// The keeper of a device, if one lives. Removes what a dead one has left if `clean`.
std::optional<Record> FindKeeper(uint32_t index, bool clean,
                                 const std::string& folder = kRecordFolder);
// The devices that have a record, whether or not its keeper lives.
std::vector<uint32_t> RecordedDevices(const std::string& folder = kRecordFolder);

}  // namespace sluice::attach
