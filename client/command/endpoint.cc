// SPDX-License-Identifier: Apache-2.0
#include "client/command/endpoint.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/units.h"

namespace sluice::command {
namespace {

// For those who cannot zero otherwise.
constexpr uint64_t kZeroBytes = 1 << 20;
const std::byte kZeroes[kZeroBytes] = {};

Status FromErrno(const std::string& what, int error) {
  const StatusCode code = error == ENOENT   ? StatusCode::kNotFound
                          : error == ENOSPC ? StatusCode::kNoSpace
                          : error == EROFS  ? StatusCode::kReadOnly
                                            : StatusCode::kIoError;
  return Status(code, absl::StrCat(what, ": ", std::strerror(error)));
}

Status ZeroByWriting(Endpoint& endpoint, uint64_t offset, uint64_t length) {
  while (length > 0) {
    const uint64_t piece = std::min(length, kZeroBytes);
    if (Status s = endpoint.Write(offset, std::span(kZeroes, piece)); !s.ok()) return s;
    offset += piece;
    length -= piece;
  }
  return {};
}

class FileEndpoint final : public Endpoint {
 public:
  FileEndpoint(std::string path, int fd, uint64_t size, bool blank, std::string generation)
      : path_(std::move(path)),
        fd_(fd),
        size_(size),
        blank_(blank),
        generation_(std::move(generation)) {}
  ~FileEndpoint() override { close(fd_); }

  uint64_t size_bytes() const override { return size_; }
  std::string generation() const override { return generation_; }
  bool blank() const override { return blank_; }

  Status Read(uint64_t offset, std::span<std::byte> into) override {
    while (!into.empty()) {
      const ssize_t got = pread(fd_, into.data(), into.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return FromErrno(path_, errno);
      if (got == 0) return Status(StatusCode::kOutOfRange, path_ + " shrinks while it is read");
      offset += static_cast<uint64_t>(got);
      into = into.subspan(static_cast<size_t>(got));
    }
    return {};
  }

  Status Write(uint64_t offset, std::span<const std::byte> from) override {
    while (!from.empty()) {
      const ssize_t put = pwrite(fd_, from.data(), from.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return FromErrno(path_, errno);
      offset += static_cast<uint64_t>(put);
      from = from.subspan(static_cast<size_t>(put));
    }
    return {};
  }

  // fallocate(2): what a file system or device cannot do of it is done by writing.
  Status Zero(uint64_t offset, uint64_t length) override {
    const auto at = static_cast<off_t>(offset);
    const auto count = static_cast<off_t>(length);
    if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, count) == 0) return {};
    return ZeroByWriting(*this, offset, length);
  }

  Status Flush() override { return fdatasync(fd_) == 0 ? Status() : FromErrno(path_, errno); }

  // lseek(2), SEEK_DATA and SEEK_HOLE; devices and some file systems know neither.
  Result<std::vector<Extent>> Extents(uint64_t offset, uint64_t length) override {
    std::vector<Extent> extents;
    const uint64_t end = offset + length;
    while (offset < end) {
      const off_t data = lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
      if (data < 0 && errno != ENXIO) {
        extents.push_back({offset, end - offset, false, false});
        break;
      }
      const uint64_t data_at = data < 0 ? end : std::min(end, static_cast<uint64_t>(data));
      if (data_at > offset) extents.push_back({offset, data_at - offset, true, true});
      if (data_at == end) break;
      const off_t hole = lseek(fd_, static_cast<off_t>(data_at), SEEK_HOLE);
      const uint64_t hole_at = hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole));
      if (hole_at <= data_at) return FromErrno(path_, EIO);
      extents.push_back({data_at, hole_at - data_at, false, false});
      offset = hole_at;
    }
    return extents;
  }

 private:
  const std::string path_;
  const int fd_;
  const uint64_t size_;
  const bool blank_;
  const std::string generation_;
};

class VolumeEndpoint final : public Endpoint {
 public:
  explicit VolumeEndpoint(Volume volume) : volume_(std::move(volume)) {}

  uint64_t size_bytes() const override { return volume_.info().size_bytes; }
  uint32_t block_bytes() const override { return volume_.info().block_bytes; }

  Status Read(uint64_t offset, std::span<std::byte> into) override {
    return volume_.Read(offset, into);
  }
  Status Write(uint64_t offset, std::span<const std::byte> from) override {
    return volume_.Write(offset, from);
  }
  Status Zero(uint64_t offset, uint64_t length) override {
    if (volume_.info().can_write_zeroes) return volume_.WriteZeroes(offset, length);
    return ZeroByWriting(*this, offset, length);
  }
  Status Flush() override { return volume_.info().can_flush ? volume_.Flush() : Status(); }
  Result<std::vector<Extent>> Extents(uint64_t offset, uint64_t length) override {
    if (volume_.info().can_tell_extents) return volume_.Extents(offset, length);
    return std::vector<Extent>{{offset, length, false, false}};
  }
  bool can_checksum() const override { return volume_.info().can_checksum; }
  Result<std::vector<Checksum>> Checksums(uint64_t offset, uint64_t length) override {
    return volume_.Checksums(offset, length);
  }

 private:
  const Volume volume_;
};

Result<std::unique_ptr<Endpoint>> EndpointOf(Result<Volume> volume) {
  if (!volume.ok()) return volume.status();
  return std::unique_ptr<Endpoint>(std::make_unique<VolumeEndpoint>(*std::move(volume)));
}

Result<Volume> Open(const Client& client, const std::string& uri, const Options& options,
                    Access access, bool force) {
  if (Status status = control::CheckSecurity(uri, options.server); !status.ok()) return status;
  sluice::Options how;
  how.connections = options.connections;
  how.access = access;
  how.force = force;
  how.tls = {options.server.tls_ca, options.server.tls_cert, options.server.tls_key, ""};
  how.insecure_tcp = options.server.insecure_tcp;
  return client.Open(uri, how);
}

Result<std::unique_ptr<Endpoint>> OpenFile(const std::string& path, int flags, uint64_t size_bytes,
                                           bool keep) {
  const bool target = (flags & O_ACCMODE) != O_RDONLY;
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (fd < 0) return FromErrno(path, errno);
  const auto refuse = [fd](Status status) {
    close(fd);
    return status;
  };
  struct stat about {};
  if (fstat(fd, &about) != 0) return refuse(FromErrno(path, errno));
  const bool regular = S_ISREG(about.st_mode);
  if (!regular && !S_ISBLK(about.st_mode)) {
    return refuse(Status(StatusCode::kInvalidArgument, path + " is no file and no block device"));
  }
  if (target && regular) {
    const bool emptied = keep || ftruncate(fd, 0) == 0;
    if (!emptied || ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) {
      return refuse(FromErrno(path, errno));
    }
  }
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0) return refuse(FromErrno(path, errno));
  const std::string generation = absl::StrCat(about.st_dev, ":", about.st_ino, ":",
                                              about.st_mtim.tv_sec, ".", about.st_mtim.tv_nsec);
  return std::unique_ptr<Endpoint>(std::make_unique<FileEndpoint>(
      path, fd, static_cast<uint64_t>(end), target && regular && !keep, generation));
}

}  // namespace

Result<std::vector<Checksum>> Endpoint::Checksums(uint64_t, uint64_t) {
  return Status(StatusCode::kUnsupported, "no sums are made there");
}

Result<Volume> OpenToRead(const Client& client, const std::string& uri, const Options& options) {
  return Open(client, uri, options, Access::kReadOnly, false);
}

Result<Volume> OpenToWrite(const Client& client, const std::string& uri, const Options& options) {
  const Access access = options.shared ? Access::kShared : Access::kReadWrite;
  return Open(client, uri, options, access, options.force);
}

bool IsUri(const std::string& text) { return text.find("://") != std::string::npos; }

Result<std::unique_ptr<Endpoint>> OpenSource(const Client& client, const std::string& text,
                                             const Options& options) {
  return IsUri(text) ? EndpointOf(OpenToRead(client, text, options))
                     : OpenFile(text, O_RDONLY, 0, true);
}

Result<std::unique_ptr<Endpoint>> OpenTarget(const Client& client, const std::string& text,
                                             uint64_t size_bytes, bool keep,
                                             const Options& options) {
  auto target = IsUri(text) ? EndpointOf(OpenToWrite(client, text, options))
                            : OpenFile(text, keep ? O_RDWR : O_RDWR | O_CREAT, size_bytes, keep);
  if (!target.ok()) return target;
  if ((*target)->size_bytes() < size_bytes) {
    return Status(StatusCode::kOutOfRange,
                  absl::StrCat("it has ", (*target)->size_bytes(), " bytes, the source ",
                               size_bytes, ": give a target that is at least as large"));
  }
  if (!IsAligned(size_bytes, (*target)->block_bytes())) {
    return Status(StatusCode::kInvalidArgument,
                  absl::StrCat("the source's ", size_bytes, " bytes are no multiple of its block, ",
                               (*target)->block_bytes(), ": pad the source by truncate -s"));
  }
  return target;
}

}  // namespace sluice::command
