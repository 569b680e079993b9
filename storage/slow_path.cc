// SPDX-License-Identifier: Apache-2.0
#include "storage/slow_path.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/reactor.h"
#include "core/units.h"

namespace sluice {
namespace {

// A medium may end each operation at once, and a zero may be a gibibyte long: operations after
// which the others of the reactor have their turn.
constexpr int kStartsMax = 8;

}  // namespace

SlowPath::SlowPath(Medium& medium, Counter* device_ops, TurnTask& dispatch, Ended ended,
                   void* context)
    : medium_(medium),
      device_ops_(device_ops),
      dispatch_(dispatch),
      ended_(ended),
      context_(context),
      block_(medium.limits().block),
      bounce_(kMaxTransfer + 2 * size_t{medium.limits().block}) {
  io_.context = this;
  io_.done = [](MediumIo& io) noexcept {
    auto* self = static_cast<SlowPath*>(io.context);
    self->in_flight_ = false;
    self->OnDone();
    self->Run();
  };
}

bool SlowPath::Fits(const MediumLimits& limits, const MediumIo& io) noexcept {
  if (!IsAligned(io.offset | io.length, limits.block)) return false;
  for (uint32_t i = 0; i < io.seg_count; ++i) {
    if (!IsAligned(reinterpret_cast<uintptr_t>(io.segs[i].iov_base), limits.mem_align))
      return false;
    if (!IsAligned(io.segs[i].iov_len, limits.block)) return false;
  }
  return true;
}

void SlowPath::Add(Bio& bio) noexcept {
  SLUICE_CHECK((bio.flags & kCarrier) == 0);
  bio.where = Where::kDevice;
  queue_.push_back(bio);
}

void SlowPath::Run() noexcept {
  for (int starts = 0; !in_flight_;) {
    if (ready_) {
      if (starts++ == kStartsMax) return Reactor::Current()->AtDispatch(dispatch_);
      if (!Start()) return;
      continue;
    }
    if (current_ == nullptr) {
      if (queue_.empty()) return;
      current_ = &queue_.front();
      queue_.pop_front();
      started_ns_ = Reactor::Current()->now_ns();
      at_ = current_->offset;
      zero_by_writing_ = !medium_.limits().can_zero;
      if (current_->op == Op::kZero && zero_by_writing_ && (current_->flags & kFastZero) != 0) {
        End(ENOTSUP);
        continue;
      }
    }
    if (NextChunk()) {
      Advance();
    } else {
      End(0);
    }
  }
}

// Cuts the next chunk off what is left: whole blocks in the middle of a zero go to the medium as
// they are, however long; everything else passes through the bounce buffer.
bool SlowPath::NextChunk() noexcept {
  const uint64_t end = current_->offset + current_->length;
  if (at_ == end) return false;
  chunk_.from = at_;
  chunk_.offset = AlignDown(at_, block_);
  if (current_->op == Op::kZero && !zero_by_writing_) {
    if (chunk_.offset == at_ && end - at_ >= block_) {
      chunk_.to = AlignDown(end, block_);
    } else {
      chunk_.to = std::min(end, chunk_.offset + block_);
    }
  } else {
    chunk_.to = std::min(end, chunk_.offset + kMaxTransfer);
  }
  chunk_.length = static_cast<uint32_t>(AlignUp(chunk_.to, block_) - chunk_.offset);
  at_ = chunk_.to;
  step_ = Step::kNext;
  return true;
}

void SlowPath::Begin(Step step, Op what, uint64_t offset, uint32_t length, char* memory) noexcept {
  step_ = step;
  io_.what = what;
  io_.flags = 0;
  if (what == Op::kZero) io_.flags = current_->flags & (kNoHole | kFastZero);
  // A zero that is written is made stable by the flush behind it, like any zero.
  const bool stable = current_->op == Op::kWrite && medium_.limits().native_fua;
  if (what == Op::kWrite && stable) io_.flags = current_->flags & kFua;
  io_.offset = offset;
  io_.length = length;
  segment_ = {memory, length};
  io_.segs = memory == nullptr ? nullptr : &segment_;
  io_.seg_count = memory == nullptr ? 0 : 1;
  io_.result = 0;
  transient_ = 0;
  ready_ = true;
}

// Decides what the chunk needs next.
void SlowPath::Advance() noexcept {
  char* bounce = bounce_.base();
  const bool ragged_head = chunk_.from != chunk_.offset;
  const bool ragged_tail = chunk_.to != chunk_.offset + chunk_.length;
  switch (step_) {
    case Step::kNext:
      if (current_->op == Op::kRead) {
        return Begin(Step::kTransfer, Op::kRead, chunk_.offset, chunk_.length, bounce);
      }
      if (current_->op == Op::kZero && !zero_by_writing_ && !ragged_head && !ragged_tail) {
        return Begin(Step::kTransfer, Op::kZero, chunk_.offset, chunk_.length, nullptr);
      }
      if (ragged_head) return Begin(Step::kReadHead, Op::kRead, chunk_.offset, block_, bounce);
      [[fallthrough]];
    case Step::kReadHead:
      if (ragged_tail && (chunk_.length > block_ || !ragged_head)) {
        const uint32_t tail = chunk_.length - block_;
        return Begin(Step::kReadTail, Op::kRead, chunk_.offset + tail, block_, bounce + tail);
      }
      [[fallthrough]];
    case Step::kReadTail:
      return WriteChunk();
    case Step::kTransfer:
      if (current_->op == Op::kRead) {
        CopyToBio(*current_, static_cast<uint32_t>(chunk_.from - current_->offset),
                  bounce + (chunk_.from - chunk_.offset), chunk_.to - chunk_.from);
      }
      return;
  }
}

void SlowPath::WriteChunk() noexcept {
  char* part = bounce_.base() + (chunk_.from - chunk_.offset);
  if (current_->op == Op::kZero) {
    std::memset(part, 0, chunk_.to - chunk_.from);
  } else {
    CopyFromBio(*current_, static_cast<uint32_t>(chunk_.from - current_->offset), part,
                chunk_.to - chunk_.from);
  }
  Begin(Step::kTransfer, Op::kWrite, chunk_.offset, chunk_.length, bounce_.base());
}

// False: the medium is full.
bool SlowPath::Start() noexcept {
  const Started started = medium_.Start(io_);
  if (started == Started::kFull) return false;
  device_ops_[static_cast<int>(io_.what)].Add(1);
  ready_ = false;
  if (started == Started::kPending) {
    in_flight_ = true;
  } else {
    OnDone();
  }
  return true;
}

void SlowPath::OnDone() noexcept {
  if (expired_) return End(EIO);
  if (IsTransient(io_.result)) {
    if (++transient_ > kTransientMax) return End(EIO);
    ready_ = true;
    return;
  }
  if (io_.what == Op::kZero) {
    if (io_.result == -EOPNOTSUPP && (current_->flags & kFastZero) == 0) {
      zero_by_writing_ = true;
      at_ = chunk_.from;  // the same range again, by writing
      return;
    }
    return io_.result < 0 ? End(static_cast<int>(-io_.result)) : void();
  }
  if (io_.result <= 0) return End(io_.result == 0 ? EIO : static_cast<int>(-io_.result));
  const auto transferred = static_cast<uint32_t>(io_.result);
  if (transferred < io_.length) {
    // A medium that stops inside a block starts that block anew.
    const uint32_t whole = static_cast<uint32_t>(AlignDown(transferred, block_));
    if (whole == 0) return End(EIO);
    io_.offset += whole;
    io_.length -= whole;
    segment_ = {static_cast<char*>(segment_.iov_base) + whole, io_.length};
    ready_ = true;
    return;
  }
  Advance();
}

void SlowPath::End(int error) noexcept {
  Bio& bio = *current_;
  current_ = nullptr;
  ready_ = false;
  expired_ = false;
  ended_(bio, error, context_);
}

bool SlowPath::ExpireBefore(uint64_t before_ns, Ended expire) noexcept {
  if (!in_flight_ || started_ns_ >= before_ns) return false;
  if (!expired_) {
    expired_ = true;
    expire(*current_, ETIMEDOUT, context_);
  }
  FailWaiting();
  return true;
}

void SlowPath::FailWaiting() noexcept {
  if (current_ != nullptr && !in_flight_) End(EIO);
  while (!queue_.empty()) {
    Bio& bio = queue_.front();
    queue_.pop_front();
    ended_(bio, EIO, context_);
  }
}

}  // namespace sluice
