// SPDX-License-Identifier: Apache-2.0
#include "client/attach/record.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/attach/device.h"

namespace sluice::attach {
namespace {

constexpr size_t kMaxRecordBytes = 16384;
constexpr int kLookers = 10;

std::string PathOf(uint32_t index, const std::string& folder) {
  return absl::StrCat(folder, "/nbd", index);
}

std::string TextOf(const Record& record) {
  return absl::StrCat("pid ", record.pid, "\nuri ", record.uri, "\nstate ", record.state,
                      "\nconnections ", record.connections, "\nlive ", record.live_connections,
                      "\nflags ", record.flags, "\n");
}

// None: no record, or only a part of one.
std::optional<Record> ParseRecord(absl::string_view text) {
  Record record;
  uint32_t flags = 0;
  int known = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const auto& [key, value] = pair;
    if (key == "pid") known += absl::SimpleAtoi(value, &record.pid) ? 1 : 0;
    if (key == "uri") record.uri = std::string(value);
    if (key == "state") record.state = std::string(value);
    if (key == "connections") known += absl::SimpleAtoi(value, &record.connections) ? 1 : 0;
    if (key == "live") known += absl::SimpleAtoi(value, &record.live_connections) ? 1 : 0;
    if (key == "flags") known += absl::SimpleAtoi(value, &flags) ? 1 : 0;
  }
  record.flags = static_cast<uint16_t>(flags);
  if (known != 4 || record.pid <= 0 || record.uri.empty()) return std::nullopt;
  return record;
}

std::optional<Record> ReadRecord(int fd) {
  std::array<char, kMaxRecordBytes> text{};
  const ssize_t got = pread(fd, text.data(), text.size(), 0);
  if (got <= 0) return std::nullopt;
  return ParseRecord(absl::string_view(text.data(), static_cast<size_t>(got)));
}

absl::Status CannotKeep(const std::string& path, int error) {
  const std::string text = absl::StrCat("cannot write ", path, ": ", std::strerror(error));
  return error == EACCES || error == EPERM
             ? absl::PermissionDeniedError(absl::StrCat(text, ": run it as root"))
             : absl::UnavailableError(text);
}

}  // namespace

RecordFile::RecordFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {
  former_ = ReadRecord(fd_);
  Own();
  if (!former_) return;
  // The former keeper's pid may be another process's by now, and is not to be signalled.
  Record ours = *former_;
  ours.pid = owner_;
  Put(ours);
}

RecordFile::RecordFile(RecordFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      owner_(other.owner_),
      kept_(other.kept_),
      path_(std::move(other.path_)),
      former_(std::move(other.former_)) {}

RecordFile::~RecordFile() {
  if (fd_ < 0) return;
  if (owner_ == getpid() && (kept_ || !former_)) unlink(path_.c_str());
  close(fd_);
}

absl::StatusOr<RecordFile> RecordFile::Take(uint32_t index, const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return CannotKeep(folder, error.value());
  const std::string path = PathOf(index, folder);
  for (int tries = 1;; ++tries) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return CannotKeep(path, errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const auto keeper = ReadRecord(fd);
      close(fd);
      // Somebody may just be looking whether a keeper lives.
      if (tries < kLookers) {
        absl::SleepFor(absl::Milliseconds(5));
        continue;
      }
      return absl::AlreadyExistsError(
          absl::StrCat(DevicePath(index), " has a keeper",
                       keeper ? absl::StrCat(", process ", keeper->pid, " for ", keeper->uri) : "",
                       ": name another device or none, or `sluice detach nbd", index, "` first"));
    }
    struct stat seen {};
    // Whoever held the lock before us may have removed the file meanwhile.
    if (fstat(fd, &seen) == 0 && seen.st_nlink > 0) return RecordFile(fd, path);
    close(fd);
  }
}

void RecordFile::Own() { owner_ = getpid(); }

void RecordFile::Write(const Record& record) {
  kept_ = true;
  Put(record);
}

void RecordFile::Put(const Record& record) {
  const std::string text = TextOf(record);
  // A record that cannot be written costs `attached` a line and the device nothing.
  if (pwrite(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) {
    static_cast<void>(ftruncate(fd_, static_cast<off_t>(text.size())));
  }
}

std::optional<Record> FindKeeper(uint32_t index, bool clean, const std::string& folder) {
  const std::string path = PathOf(index, folder);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::optional<Record> record;
  if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
    record = ReadRecord(fd);
  } else if (clean) {
    unlink(path.c_str());
  }
  close(fd);
  return record;
}

std::vector<uint32_t> RecordedDevices(const std::string& folder) {
  std::vector<uint32_t> devices;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const auto index = ParseDevice(entry.path().filename().string());
    if (index.ok()) devices.push_back(*index);
  }
  return devices;
}

}  // namespace sluice::attach
