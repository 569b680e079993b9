// SPDX-License-Identifier: Apache-2.0
#include "storage/exclusive_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/log.h"
#include "core/patience.h"

namespace sluice {
namespace {

absl::Status Failed(const std::string& path, absl::string_view what, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": ", what, ": ", strerror(error)));
}

// The error means that writing is forbidden, not that the file is out of reach.
bool ForbidsWriting(int error) {
  return error == EACCES || error == EROFS || error == EPERM || error == ETXTBSY;
}

bool IsDisk(const struct stat& facts) { return S_ISREG(facts.st_mode) || S_ISBLK(facts.st_mode); }

absl::Status NoDisk(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": is neither a regular file nor a block device"));
}

// Goes down from the root one folder at a time: openat2(2) would do it at once, but a service
// manager that forbids set-user-ID files (RestrictSUIDSGID=) takes it away.
int OpenWithoutLinks(const std::string& path, int flags, mode_t mode) {
  const std::vector<std::string> names = absl::StrSplit(path, '/', absl::SkipEmpty());
  int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  for (size_t i = 0; i < names.size() && fd >= 0; ++i) {
    const bool last = i + 1 == names.size();
    const int how = last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC;
    const int next = openat(fd, names[i].c_str(), how | O_NOFOLLOW, mode);
    const int error = errno;
    close(fd);
    errno = error;
    fd = next;
  }
  return fd;
}

int OpenFile(const ExclusiveFile::Options& options, int flags, mode_t mode = 0) {
  return options.no_links ? OpenWithoutLinks(options.path, flags, mode)
                          : open(options.path.c_str(), flags, mode);
}

// A block device that is locked against writing is refused here, not at its first write.
int OpenForWriting(const ExclusiveFile::Options& options, int flags) {
  const int fd = OpenFile(options, flags | O_RDWR);
  int locked = 0;  // BLKROGET is for block devices alone: it fails on a file
  if (fd < 0 || ioctl(fd, BLKROGET, &locked) != 0 || locked == 0) return fd;
  close(fd);
  errno = EROFS;
  return -1;
}

absl::Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed(folder, "open", errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : Failed(folder, "fsync", error);
}

}  // namespace

class ExclusiveFile::Registry {
 public:
  static Registry& Get() {
    static Registry& registry = *new Registry;
    return registry;
  }
  bool Add(const Identity& identity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return open_.insert(identity).second;
  }
  void Remove(const Identity& identity) {
    const std::lock_guard<std::mutex> lock(mutex_);
    open_.erase(identity);
  }

 private:
  std::mutex mutex_;
  std::set<Identity> open_;  // under mutex_
};

ExclusiveFile& ExclusiveFile::operator=(ExclusiveFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(read_only_, other.read_only_);
  std::swap(registered_, other.registered_);
  std::swap(identity_, other.identity_);
  return *this;
}

ExclusiveFile::~ExclusiveFile() {
  if (fd_ >= 0) close(fd_);  // gives up the lock as well
  if (registered_) Registry::Get().Remove(identity_);
}

absl::StatusOr<ExclusiveFile> ExclusiveFile::Open(const Options& options) {
  ExclusiveFile file;
  absl::Status status = options.create_bytes > 0 ? file.Create(options) : absl::OkStatus();
  const bool created = file.fd_ >= 0;
  if (status.ok() && !created) status = file.OpenExisting(options);
  if (status.ok()) status = file.Claim(options.path);
  if (status.ok() && options.create_bytes > 0 && !created) {
    const off_t size = lseek(file.fd_, 0, SEEK_END);
    if (size < 0) return Failed(options.path, "size", errno);
    if (static_cast<uint64_t>(size) != options.create_bytes) {
      return absl::FailedPreconditionError(absl::StrCat(options.path, ": exists with ", size,
                                                        " bytes, not the ", options.create_bytes,
                                                        " it was to be made with"));
    }
  }
  if (!status.ok()) return status;
  return file;
}

absl::Status ExclusiveFile::OpenExisting(const Options& options) {
  const std::string& path = options.path;
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) return Failed(path, "open", errno);
  // Opening a FIFO would wait for its other end.
  if (!IsDisk(facts)) return NoDisk(path);
  const int flags = O_CLOEXEC | (S_ISBLK(facts.st_mode) ? O_EXCL : 0);
  read_only_ = options.read_only;
  WaitForPredecessor([&] {
    fd_ = read_only_ ? OpenFile(options, flags | O_RDONLY) : OpenForWriting(options, flags);
    return fd_ >= 0 || errno != EBUSY;
  });
  if (fd_ < 0 && !read_only_ && ForbidsWriting(errno)) {
    Log(LogLevel::kWarning, absl::StrCat(path, ": cannot be opened for writing (", strerror(errno),
                                         "): the disk is read-only"));
    read_only_ = true;
    fd_ = OpenFile(options, flags | O_RDONLY);
  }
  if (fd_ >= 0) return absl::OkStatus();
  if (errno != EBUSY) return Failed(path, "open", errno);
  return absl::UnavailableError(absl::StrCat(path, ": is mounted or in use by another process"));
}

absl::Status ExclusiveFile::Create(const Options& options) {
  if (options.create_bytes > static_cast<uint64_t>(INT64_MAX)) {
    return Failed(options.path, "create", EFBIG);
  }
  fd_ = OpenFile(options, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd_ < 0) return errno == EEXIST ? absl::OkStatus() : Failed(options.path, "create", errno);
  int error = 0;
  if (ftruncate(fd_, static_cast<off_t>(options.create_bytes)) != 0 || fsync(fd_) != 0) {
    error = errno;
  }
  absl::Status status =
      error == 0 ? SyncFolderOf(options.path) : Failed(options.path, "create", error);
  if (!status.ok()) unlink(options.path.c_str());
  return status;
}

absl::Status ExclusiveFile::Claim(const std::string& path) {
  struct stat facts {};
  if (fstat(fd_, &facts) != 0) return Failed(path, "stat", errno);
  const bool device = S_ISBLK(facts.st_mode);
  if (!IsDisk(facts)) return NoDisk(path);
  identity_ = {{device, device ? facts.st_rdev : facts.st_dev}, device ? 0 : facts.st_ino};
  registered_ = Registry::Get().Add(identity_);
  if (!registered_) {
    return absl::UnavailableError(absl::StrCat(path, ": is already a disk of this server"));
  }
  if (device) return absl::OkStatus();
  struct flock lock {};
  lock.l_type = read_only_ ? F_RDLCK : F_WRLCK;
  lock.l_whence = SEEK_SET;
  bool locked = false;
  WaitForPredecessor([&] {
    locked = fcntl(fd_, F_OFD_SETLK, &lock) == 0;
    return locked || (errno != EAGAIN && errno != EACCES);
  });
  if (locked) return absl::OkStatus();
  if (errno == EAGAIN || errno == EACCES) {
    return absl::UnavailableError(absl::StrCat(path, ": is in use by another process"));
  }
  Log(LogLevel::kWarning, absl::StrCat(path, ": its file system cannot lock (", strerror(errno),
                                       "): nothing stops another process from using it"));
  return absl::OkStatus();
}

}  // namespace sluice
