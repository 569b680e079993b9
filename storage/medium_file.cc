// SPDX-License-Identifier: Apache-2.0
#include "storage/medium_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/reactor.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr uint32_t kAttemptsMax = 8;
constexpr uint32_t kExtentsMax = 4096;

constexpr uint32_t EffectBit(Effect effect) { return 1U << static_cast<int>(effect); }

int FallocateMode(Effect effect) {
  return FALLOC_FL_KEEP_SIZE |
         (effect == Effect::kPunch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

// Fills in the map of [offset, offset + length) as lseek(2) tells it. What cannot be told is data.
void FindExtents(int fd, ExtentQuery& query) {
  const size_t extents_max = std::min(query.extents_max, kExtentsMax);
  const uint64_t end = query.offset + query.length;
  for (uint64_t at = query.offset; at < end && query.extents.size() < extents_max;) {
    const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    uint64_t data_begin = at;
    if (data >= 0) data_begin = std::min(static_cast<uint64_t>(data), end);
    if (data < 0 && errno == ENXIO) data_begin = end;  // nothing but a hole from here on
    if (data_begin > at) {
      AppendExtent(query.extents, {data_begin - at, true, true});
      at = data_begin;
      continue;
    }
    const off_t hole = data < 0 ? -1 : lseek(fd, static_cast<off_t>(at), SEEK_HOLE);
    const uint64_t data_end = hole < 0 ? end : std::clamp(static_cast<uint64_t>(hole), at + 1, end);
    AppendExtent(query.extents, {data_end - at, false, false});
    at = data_end;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileMedium>> FileMedium::Open(const FileOptions& options,
                                                             Worker& worker) {
  auto file = ExclusiveFile::Open({.path = options.path,
                                   .read_only = options.read_only,
                                   .create_bytes = options.create_bytes,
                                   .no_links = options.no_links});
  if (!file.ok()) return file.status();
  auto facts = ProbeFile(
      file->fd(),
      {.read_only = file->read_only(), .buffered = options.buffered, .depth = options.depth});
  if (!facts.ok()) {
    return absl::Status(facts.status().code(),
                        absl::StrCat(options.path, ": ", facts.status().message()));
  }
  if (!facts->why_buffered.empty()) {
    const std::string tail = facts->tail_bytes == 0
                                 ? ""
                                 : absl::StrCat("; its last ", facts->tail_bytes,
                                                " bytes, less than a sector, are not served");
    Log(LogLevel::kWarning, absl::StrCat(options.path, ": is read and written through the page ",
                                         "cache: ", facts->why_buffered, tail));
  }
  return std::unique_ptr<FileMedium>(new FileMedium(*std::move(file), *std::move(facts), worker));
}

void FileMedium::Attach(uint16_t) noexcept {
  SLUICE_CHECK(reactor_ == nullptr);
  reactor_ = Reactor::Current();
  ring_ = static_cast<RingPoller*>(&reactor_->poller());
  target_ = ring_->AddFile(file_.fd());
}

FileMedium::~FileMedium() {
  if (target_.slot < 0) return;
  reactor_->Post([ring = ring_, target = target_]() mutable { ring->RemoveFile(target); });
}

void FileMedium::Detach() noexcept {
  ring_->RemoveFile(target_);
  reactor_ = nullptr;
  ring_ = nullptr;
}

int64_t FileMedium::FindSize() noexcept {
  const off_t size = lseek(file_.fd(), 0, SEEK_END);  // block devices tell it too
  if (size < 0) return -errno;
  return static_cast<int64_t>(AlignDown(static_cast<uint64_t>(size), facts_.limits.block));
}

Started FileMedium::Start(MediumIo& io) noexcept {
  SLUICE_CHECK(InRange(io.offset, io.length, limits().size));
  SLUICE_CHECK(!IsWriteType(io.what) || !limits().read_only);
  SLUICE_CHECK((io.flags & kBorrow) == 0);
  SLUICE_CHECK((io.flags & kFua) == 0 || (io.what == Op::kWrite && limits().native_fua));
  io.medium = this;
  io.attempts = 1;
  io.op.done = [](RingOp& op) noexcept {
    MediumIo& ended = MediumIoOf(op);
    static_cast<FileMedium*>(ended.medium)->Ended(ended, op.result);
  };
  return facts_.tmpfs && (io.what == Op::kRead || io.what == Op::kWrite) ? Move(io) : Issue(io);
}

Started FileMedium::Move(MediumIo& io) noexcept {
  const int count = static_cast<int>(io.seg_count);
  const auto offset = static_cast<off_t>(io.offset);
  ssize_t moved = -1;
  do {
    moved = io.what == Op::kRead ? preadv(file_.fd(), io.segs, count, offset)
                                 : pwritev(file_.fd(), io.segs, count, offset);
  } while (moved < 0 && errno == EINTR && ++io.attempts < kAttemptsMax);
  io.result = moved < 0 ? -errno : static_cast<int32_t>(moved);
  return Started::kDone;
}

Started FileMedium::Issue(MediumIo& io) noexcept {
  switch (io.what) {
    case Op::kRead:
      ring_->Readv(io.op, target_, io.segs, io.seg_count, io.offset);
      return Started::kPending;
    case Op::kWrite:
      ring_->Writev(io.op, target_, io.segs, io.seg_count, io.offset,
                    (io.flags & kFua) != 0 ? RWF_DSYNC : 0);
      return Started::kPending;
    case Op::kFlush:
      ring_->Fdatasync(io.op, target_);
      return Started::kPending;
    case Op::kCache:
      if (facts_.direct) break;
      ring_->Fadvise(io.op, target_, io.offset, io.length, POSIX_FADV_WILLNEED);
      return Started::kPending;
    case Op::kTrim:
    case Op::kZero:
      return IssueEffect(io, EffectOf(io));
  }
  io.result = 0;
  return Started::kDone;
}

Effect FileMedium::EffectOf(const MediumIo& io) const noexcept {
  if (io.what == Op::kTrim) return facts_.trim;
  const bool no_hole = (io.flags & kNoHole) != 0;
  if ((io.flags & kFastZero) != 0) {
    return no_hole ? facts_.fast_zero_no_hole : facts_.fast_zero;
  }
  return no_hole ? facts_.zero_no_hole : facts_.zero;
}

Started FileMedium::IssueEffect(MediumIo& io, Effect effect) noexcept {
  if (effect == Effect::kNone || (refused_ & EffectBit(effect)) != 0) {
    io.result = -EOPNOTSUPP;
    return Started::kDone;
  }
  if (effect == Effect::kDiscard) {
    Discard(io);
  } else {
    ring_->Fallocate(io.op, target_, FallocateMode(effect), io.offset, io.length);
  }
  return Started::kPending;
}

void FileMedium::Discard(MediumIo& io) noexcept {
  worker_.Run([this, &io] {
    uint64_t range[2] = {io.offset, io.length};
    const int32_t result = ioctl(file_.fd(), BLKDISCARD, range) == 0 ? 0 : -errno;
    io.op.result = result;
    reactor_->Post([&io] { io.op.done(io.op); });
  });
}

bool FileMedium::MayRetry(const MediumIo& io, int32_t result) const noexcept {
  if ((result != -EAGAIN && result != -EINTR) || io.attempts >= kAttemptsMax) return false;
  if (io.what == Op::kFlush) return false;
  return (io.flags & kFua) == 0 || !limits().page_cache;
}

void FileMedium::Ended(MediumIo& io, int32_t result) noexcept {
  if (MayRetry(io, result)) {
    ++io.attempts;
    retries_.Add(1);
    if (Issue(io) == Started::kPending) return;
  } else {
    io.result = result;
  }
  if (io.result == -EOPNOTSUPP && (io.what == Op::kTrim || io.what == Op::kZero)) {
    refused_ |= EffectBit(EffectOf(io));
  }
  io.done(io);
}

void FileMedium::QueryExtents(ExtentQuery& query) noexcept {
  SLUICE_CHECK(query.length > 0 && InRange(query.offset, query.length, limits().size));
  if (facts_.device) {
    AppendExtent(query.extents, {query.length, false, false});
    reactor_->Post([&query] { query.done(query); });
    return;
  }
  // lseek moves a position that nobody else uses: the ring's reads and writes name theirs.
  worker_.Run([this, &query] {
    FindExtents(file_.fd(), query);
    reactor_->Post([&query] { query.done(query); });
  });
}

}  // namespace sluice
