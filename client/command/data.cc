// SPDX-License-Identifier: Apache-2.0
// `sluice read` and `sluice write`: a range of a volume to stdout or a file, and back.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/command/commands.h"
#include "client/command/endpoint.h"
#include "client/command/parallel.h"
#include "client/command/text.h"
#include "sluice/client.h"

namespace sluice::command {
namespace {

// A file, or what "-" stands for, which stays open.
class Stream {
 public:
  Stream(const std::string& path, int flags, int standard)
      : own_(path != "-"), fd_(own_ ? open(path.c_str(), flags | O_CLOEXEC, 0666) : standard) {}
  ~Stream() {
    if (own_ && fd_ >= 0) close(fd_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  bool ok() const { return fd_ >= 0; }

  bool Put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t put = write(fd_, bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return false;
      bytes = bytes.subspan(static_cast<size_t>(put));
    }
    return true;
  }

  // As much as there is, up to all of `room`; negative: an error, with errno.
  ssize_t Fill(std::span<std::byte> room) {
    size_t filled = 0;
    while (filled < room.size()) {
      const ssize_t got = read(fd_, room.data() + filled, room.size() - filled);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return -1;
      if (got == 0) break;
      filled += static_cast<size_t>(got);
    }
    return static_cast<ssize_t>(filled);
  }

 private:
  const bool own_;
  const int fd_;
};

Status SystemError() { return Status(StatusCode::kIoError, std::strerror(errno)); }

}  // namespace

int Read(const Options& options) {
  const auto client = Client::Create();
  if (!client.ok()) return Failed("start", client.status());
  const auto volume = OpenToRead(*client, options.source, options);
  if (!volume.ok()) return Failed(options.source, volume.status());
  const uint64_t size = volume->info().size_bytes;
  uint64_t left = options.length.value_or(size - std::min(size, options.offset));
  Stream out(options.file, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
  if (!out.ok()) return Failed(options.file, SystemError());
  const Buffer buffer = client->buffers().Allocate(kPieceBytes);
  for (uint64_t at = options.offset; left > 0;) {
    const auto piece = buffer.span().first(std::min<uint64_t>(left, buffer.size()));
    if (Status s = volume->Read(at, piece); !s.ok()) return Failed(options.source, s);
    if (!out.Put(piece)) return Failed(options.file, SystemError());
    at += piece.size();
    left -= piece.size();
  }
  return 0;
}

int Write(const Options& options) {
  const auto client = Client::Create();
  if (!client.ok()) return Failed("start", client.status());
  const auto volume = OpenToWrite(*client, options.target, options);
  if (!volume.ok()) return Failed(options.target, volume.status());
  Stream in(options.file, O_RDONLY, STDIN_FILENO);
  if (!in.ok()) return Failed(options.file, SystemError());
  const Buffer buffer = client->buffers().Allocate(kPieceBytes);
  uint64_t left = options.length.value_or(UINT64_MAX);
  uint64_t at = options.offset;
  while (left > 0) {
    const auto room = buffer.span().first(std::min<uint64_t>(left, buffer.size()));
    const ssize_t got = in.Fill(room);
    if (got < 0) return Failed(options.file, SystemError());
    const auto piece = room.first(static_cast<size_t>(got));
    if (Status s = volume->Write(at, piece, options.fua ? kFua : kNone); !s.ok()) {
      return Failed(options.target, s);
    }
    at += piece.size();
    left -= piece.size();
    if (piece.size() < room.size()) break;
  }
  if (options.length && left > 0) {
    return Failed(options.file, Status(StatusCode::kOutOfRange,
                                       absl::StrCat("ends ", left, " bytes before --length")));
  }
  if (!options.flush) return 0;
  const Status status = volume->Flush();
  return status.ok() ? 0 : Failed(options.target, status);
}

}  // namespace sluice::command
