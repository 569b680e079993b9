// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/task.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/units.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr uint32_t kMaxChunkBytes = 1u << 20;

std::string RangeText(uint64_t offset, uint64_t length) {
  return std::to_string(length) + " bytes at " + std::to_string(offset);
}

// Both tell the same: neighbours become one.
void Join(std::vector<Extent>& extents) {
  size_t last = 0;
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].hole == extents[last].hole && extents[i].zero == extents[last].zero) {
      extents[last].length += extents[i].length;
    } else {
      extents[++last] = extents[i];
    }
  }
  if (!extents.empty()) extents.resize(last + 1);
}

}  // namespace

Status Task::Check(OpKind kind, uint64_t offset, uint64_t length, uint32_t flags) const {
  const VolumeInfo& info = transport_.info();
  const uint64_t size_bytes = transport_.size_bytes();
  if (!InRange(offset, length, size_bytes)) {
    return Status(StatusCode::kOutOfRange, RangeText(offset, length) + " are past the end of " +
                                               std::to_string(size_bytes) + " bytes");
  }
  if (!IsAligned(offset, info.block_bytes) || !IsAligned(length, info.block_bytes)) {
    return Status(StatusCode::kInvalidArgument, RangeText(offset, length) +
                                                    ": give multiples of the volume's block, " +
                                                    std::to_string(info.block_bytes));
  }
  const bool reads =
      kind == OpKind::kRead || kind == OpKind::kExtents || kind == OpKind::kChecksums;
  if (info.read_only && !reads) return Status(StatusCode::kReadOnly, "the volume is read-only");
  if (kind == OpKind::kChecksums && !info.can_checksum) {
    return Status(StatusCode::kUnsupported,
                  "NBD has no checksums: open the volume over gRPC (sluice://), or read it");
  }
  const bool can = kind == OpKind::kExtents       ? info.can_tell_extents
                   : kind == OpKind::kDiscard     ? info.can_discard
                   : kind == OpKind::kWriteZeroes ? info.can_write_zeroes
                                                  : true;
  if (!can) return Status(StatusCode::kUnsupported, "the server does not offer that");
  if ((flags & kFua) != 0 && !info.can_fua && !info.can_flush) {
    return Status(StatusCode::kUnsupported, "the server has neither FUA nor FLUSH");
  }
  return {};
}

void Task::Add(OpKind kind, uint64_t offset, uint64_t length, const void* data, uint32_t flags) {
  if (!status_.ok()) return;
  const VolumeInfo& info = transport_.info();
  if (kind == OpKind::kFlush) {
    // A read-only volume has nothing to flush.
    if (info.read_only) return;
    if (!info.can_flush) {
      status_ = Status(StatusCode::kUnsupported, "the server has no FLUSH");
    } else {
      AddFlush();
    }
    return;
  }
  status_ = Check(kind, offset, length, flags);
  if (!status_.ok()) return;
  const bool flush_behind = (flags & kFua) != 0 && !info.can_fua;
  if (flush_behind) flags &= ~uint32_t{kFua};
  const uint64_t longest = transport_.max_length(kind);
  // A write's memory is only read.
  std::byte* at = const_cast<std::byte*>(static_cast<const std::byte*>(data));
  while (length > 0) {
    Op& op = ops_.emplace_back();
    op.kind = kind;
    op.flags = flags;
    op.offset = offset;
    op.length = static_cast<uint32_t>(std::min(length, longest));
    op.data = at;
    if (at != nullptr) at += op.length;
    offset += op.length;
    length -= op.length;
  }
  if (flush_behind) AddFlush();
}

void Task::AddChecksums(uint64_t offset, uint64_t length, uint32_t chunk_bytes) {
  const uint32_t block_bytes = transport_.info().block_bytes;
  if (!IsPowerOfTwo(chunk_bytes) || chunk_bytes < block_bytes || chunk_bytes > kMaxChunkBytes) {
    status_ = Status(StatusCode::kInvalidArgument,
                     std::to_string(chunk_bytes) + " bytes are no chunk: give a power of two, " +
                         std::to_string(block_bytes) + " to " + std::to_string(kMaxChunkBytes));
    return;
  }
  Add(OpKind::kChecksums, offset, length, nullptr, 0);
  for (Op& op : ops_) op.chunk_bytes = chunk_bytes;
}

void Task::AddFlush() { ops_.emplace_back().kind = OpKind::kFlush; }

void Task::Launch(std::unique_ptr<Task> task) {
  Task& launched = *task.release();
  launched.transport_.thread().Post(launched);
}

void Task::Launch(std::unique_ptr<Task> task, Callback done) {
  task->done_ = std::move(done);
  Launch(std::move(task));
}

void Task::LaunchExtents(std::unique_ptr<Task> task, ExtentsCallback done) {
  task->extents_done_ = std::move(done);
  Launch(std::move(task));
}

void Task::LaunchChecksums(std::unique_ptr<Task> task, ChecksumsCallback done) {
  task->checksums_done_ = std::move(done);
  Launch(std::move(task));
}

void Task::RunStages() {
  running_ = true;
  while (status_.ok() && next_ < ops_.size()) {
    Op& op = ops_[next_];
    const bool behind_flush = next_ > 0 && ops_[next_ - 1].kind == OpKind::kFlush;
    // What is told of a range comes in its order.
    const bool alone = op.kind == OpKind::kFlush || op.asks() || behind_flush;
    if (alone && pending_ > 0) break;
    ++next_;
    ++pending_;
    op.owner = this;
    op.extents = &extents_;
    op.checksums = &checksums_;
    transport_.Start(op);
  }
  running_ = false;
  if (pending_ == 0) Finish();
}

void Task::OnEnd(Op& op, Status status) {
  --pending_;
  if (!status.ok() && status_.ok()) status_ = std::move(status);
  // A server may tell of less than it was asked about: the rest is asked for next.
  if (op.asks() && status_.ok() && op.covered < op.length) {
    op.offset += op.covered;
    op.length -= op.covered;
    --next_;
  }
  if (!running_ && pending_ == 0) RunStages();
}

void Task::Finish() {
  const std::unique_ptr<Task> self(this);
  if (extents_done_) {
    Join(extents_);
    if (status_.ok()) {
      extents_done_(std::move(extents_));
    } else {
      extents_done_(status_);
    }
  } else if (checksums_done_) {
    if (status_.ok()) {
      checksums_done_(std::move(checksums_));
    } else {
      checksums_done_(status_);
    }
  } else if (done_) {
    done_(status_);
  }
}

}  // namespace internal
SLUICE_SDK_END
