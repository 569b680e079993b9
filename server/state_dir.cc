// SPDX-License-Identifier: Apache-2.0
#include "server/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/check.h"
#include "core/patience.h"

namespace sluice {
namespace {

constexpr char kMagic[] = "sluice-state";
constexpr size_t kLineMax = 200;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// CRC-32C (Castagnoli, reflected), a bit at a time: state is small.
uint32_t Crc32c(uint32_t crc, absl::string_view bytes) {
  crc = ~crc;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
  }
  return ~crc;
}

std::string LineStart(const std::string& name, uint32_t version, size_t bytes) {
  return absl::StrCat(kMagic, " ", version, " ", name, " ", bytes, " ");
}

std::string Sum(absl::string_view line_start, absl::string_view body) {
  return absl::StrCat(absl::Hex(Crc32c(Crc32c(0, line_start), body), absl::kZeroPad8));
}

absl::Status MakeFolders(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return absl::ErrnoToStatus(
          errno, absl::StrCat(part, ": cannot be made: ", std::strerror(errno),
                              "; make it, or name another folder with state_dir (--state-dir)"));
    }
    if (end == std::string::npos) return absl::OkStatus();
  }
}

// All of it, or an errno.
int WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return wrote < 0 ? errno : EIO;
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  return 0;
}

int ReadAll(int fd, std::string& bytes, size_t most) {
  for (;;) {
    char buffer[64 * 1024];
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return 0;
    bytes.append(buffer, static_cast<size_t>(got));
    if (bytes.size() > most) return EFBIG;
  }
}

}  // namespace

std::string StateDir::DefaultPath() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string managed = variable("STATE_DIRECTORY");
  if (!managed.empty()) return managed.substr(0, managed.find(':'));
  if (geteuid() == 0) return "/var/lib/sluice";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.local/state/sluice";
}

absl::StatusOr<std::unique_ptr<StateDir>> StateDir::Open(const std::string& path) {
  if (absl::Status status = MakeFolders(path); !status.ok()) return status;
  Descriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": open: ", std::strerror(errno)));
  }
  bool locked = false;
  WaitForPredecessor([&] {
    locked = flock(folder.get(), LOCK_EX | LOCK_NB) == 0;
    return locked || errno != EWOULDBLOCK;
  });
  if (!locked) {
    return absl::UnavailableError(
        absl::StrCat(path, ": another sluiced keeps its state there (", std::strerror(errno),
                     "): stop it, or give each server a state_dir (--state-dir) of its own"));
  }
  return std::unique_ptr<StateDir>(new StateDir(path, folder.Release()));
}

StateDir::~StateDir() { close(folder_); }

absl::Status StateDir::Failed(const std::string& name, absl::string_view what) const {
  const int error = errno;
  return absl::ErrnoToStatus(
      error, absl::StrCat(path_, "/", name, ": ", what, ": ", std::strerror(error)));
}

absl::StatusOr<std::optional<std::string>> StateDir::Load(const std::string& name,
                                                          uint32_t version) {
  const std::lock_guard lock(mutex_);
  Descriptor file(openat(folder_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno != ENOENT) return Failed(name, "open");
    loaded_[name].clear();
    return std::nullopt;
  }
  const auto corrupt = [&](absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat(path_, "/", name, ": is corrupt (", what,
                     "): put a good copy back, or move it away to go on without what it held"));
  };
  std::string text;
  errno = ReadAll(file.get(), text, kBytesMax + kLineMax);
  if (errno == EFBIG) return corrupt("too long");
  if (errno != 0) return Failed(name, "read");
  const size_t end = text.find('\n');
  if (end == std::string::npos || end > kLineMax) return corrupt("no first line");
  const std::string line = text.substr(0, end);
  const std::string body = text.substr(end + 1);
  const std::vector<std::string> words = absl::StrSplit(line, ' ');
  uint32_t written = 0;
  if (words.size() < 2 || words[0] != kMagic || !absl::SimpleAtoi(words[1], &written)) {
    return corrupt("no state of sluiced");
  }
  // What a newer one writes behind its number is not ours to judge.
  if (written > version) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, "/", name, ": was written by a newer sluiced (version ", written,
                     " of it, this one reads ", version, "): run that one"));
  }
  const std::string start = LineStart(name, written, body.size());
  if (line != start + Sum(start, body)) return corrupt("its sum or length is wrong");
  loaded_[name] = std::move(text);
  return body;
}

absl::Status StateDir::WriteNew(const std::string& name, absl::string_view text) {
  Descriptor file(
      openat(folder_, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.get() < 0) return Failed(name, "open");
  errno = WriteAll(file.get(), text);
  if (errno != 0) return Failed(name, "write");
  if (fsync(file.get()) != 0) return Failed(name, "fsync");
  if (close(file.Release()) != 0) return Failed(name, "close");
  return absl::OkStatus();
}

absl::Status StateDir::Install(const std::string& fresh, const std::string& name) {
  if (renameat(folder_, fresh.c_str(), folder_, name.c_str()) != 0) return Failed(name, "rename");
  if (fsync(folder_) != 0) return Failed(name, "fsync of the folder");
  return absl::OkStatus();
}

absl::Status StateDir::Save(const std::string& name, uint32_t version, absl::string_view body) {
  const std::lock_guard lock(mutex_);
  SLUICE_CHECK(loaded_.contains(name));
  if (body.size() > kBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat(path_, "/", name, ": would have ", body.size(),
                                                     " bytes, more than the ", kBytesMax,
                                                     " that are read back"));
  }
  const std::string start = LineStart(name, version, body.size());
  std::string text = absl::StrCat(start, Sum(start, body), "\n", body);
  const std::string fresh = name + ".new";
  absl::Status status = WriteNew(fresh, text);
  if (!status.ok()) return status;
  status = Install(fresh, name);
  std::string& there = loaded_[name];
  if (status.ok()) {
    there = std::move(text);
  } else if (!there.empty()) {
    // It may have been renamed before that. What was refused must not be found at the next start.
    if (WriteNew(fresh, there).ok()) Install(fresh, name).IgnoreError();
  } else if (unlinkat(folder_, name.c_str(), 0) == 0) {
    fsync(folder_);
  }
  return status;
}

}  // namespace sluice
