// SPDX-License-Identifier: Apache-2.0
#include "client/command/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace sluice::command {
namespace {

Status Failure(const std::string& path) {
  return Status(StatusCode::kIoError, absl::StrCat(path, ": ", std::strerror(errno)));
}

bool WriteDurably(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return false;
  const bool good = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                    fdatasync(fd) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  return good;
}

}  // namespace

std::string Journal::TextOf(uint64_t done_bytes) const {
  return absl::StrCat("sluice copy 1\nsource ", absl::CHexEscape(identity_.source), "\ntarget ",
                      absl::CHexEscape(identity_.target), "\nsize ", identity_.size_bytes,
                      "\ngeneration ", identity_.generation, "\ndone ", done_bytes, "\n");
}

Result<uint64_t> Journal::Load() const {
  if (path_.empty()) return uint64_t{0};
  std::ifstream file(path_, std::ios::binary);
  if (!file) {
    if (errno == ENOENT) return uint64_t{0};
    return Failure(path_);
  }
  std::ostringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  const size_t last = text.rfind("\ndone ");
  uint64_t done = 0;
  const bool good =
      last != std::string::npos &&
      absl::SimpleAtoi(absl::string_view(text).substr(last + sizeof("\ndone ") - 1), &done) &&
      done <= identity_.size_bytes && TextOf(done) == text;
  if (good) return done;
  return Status(StatusCode::kFailedPrecondition,
                absl::StrCat(path_,
                             " is the journal of another copy, or its source has changed since: "
                             "remove it to copy all anew"));
}

Status Journal::Save(uint64_t done_bytes) const {
  if (path_.empty()) return {};
  const std::string fresh = path_ + ".new";
  if (!WriteDurably(fresh, TextOf(done_bytes))) return Failure(fresh);
  return std::rename(fresh.c_str(), path_.c_str()) == 0 ? Status() : Failure(path_);
}

void Journal::Remove() const {
  if (!path_.empty()) unlink(path_.c_str());
}

}  // namespace sluice::command
