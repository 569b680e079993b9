// SPDX-License-Identifier: Apache-2.0
// A file or block device that nobody else may use as a disk while it is open here. Control path,
// any thread.
//
// A block device is opened with O_EXCL, so one that is mounted, or held by device-mapper or another
// server, is refused (open(2)). A file takes an open-file-description lock (fcntl(2)): exclusive,
// or shared when it is only read. And one inode is one disk: a second disk of this process on it is
// refused whatever the mode.
//
// One in use is waited for a little (core/patience.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace sluice {

class ExclusiveFile {
 public:
  struct Options {
    std::string path;
    bool read_only = false;
    // > 0: a missing file is made, sparse and durably, with so many bytes; one that exists must
    // have that size.
    uint64_t create_bytes = 0;
    // `path` is absolute, and a symbolic link at any place in it is refused: where it leads was
    // judged by its text.
    bool no_links = false;
  };

  // Falls back to reading when writing is forbidden. Unavailable: somebody else uses it.
  // FailedPrecondition: it exists with another size. Errors name the path. Blocks.
  static absl::StatusOr<ExclusiveFile> Open(const Options& options);

  ExclusiveFile(ExclusiveFile&& other) noexcept { *this = std::move(other); }
  ExclusiveFile& operator=(ExclusiveFile&& other) noexcept;
  ~ExclusiveFile();

  int fd() const { return fd_; }
  bool read_only() const { return read_only_; }

 private:
  // What is told apart: a device by its number, a file by its file system and inode.
  using Identity = std::pair<std::pair<bool, dev_t>, ino_t>;
  class Registry;

  ExclusiveFile() = default;
  absl::Status OpenExisting(const Options& options);
  absl::Status Create(const Options& options);
  absl::Status Claim(const std::string& path);

  int fd_ = -1;
  bool read_only_ = false;
  bool registered_ = false;
  Identity identity_{};
};

}  // namespace sluice
