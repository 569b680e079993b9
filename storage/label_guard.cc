// SPDX-License-Identifier: Apache-2.0
#include "storage/label_guard.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/units.h"

namespace sluice {
namespace {

absl::Span<const uint8_t> BytesAt(const char* memory, size_t size) {
  return {reinterpret_cast<const uint8_t*>(memory), size};
}

bool Same(const LabelImage& a, const LabelImage& b) { return a.head == b.head && a.tail == b.tail; }

}  // namespace

LabelGuard::Label::Label(const Limits& disk)
    : head_end(std::min(kLabelHeadBytes, disk.size)),
      tail_begin(disk.size - std::min(kLabelTailBytes, disk.size)),
      head{0, static_cast<uint32_t>(AlignUp(head_end, disk.block)), 0},
      tail{AlignDown(tail_begin, disk.block),
           static_cast<uint32_t>(disk.size - AlignDown(tail_begin, disk.block)),
           static_cast<uint32_t>(AlignUp(head.length, 4096))},
      now(tail.image + tail.length),
      next(tail.image + tail.length) {
  SLUICE_CHECK(IsAligned(disk.size, disk.block));
}

LabelGuard::LabelGuard(Target& disk, std::vector<Place> used)
    : disk_(disk), label_(std::make_unique<Label>(disk.limits())), used_(std::move(used)) {
  SLUICE_CHECK(disk.home() != kNoHome);
  step_.guard = this;
}

void LabelGuard::Follow() {
  SLUICE_CHECK(idle());
  label_ = std::make_unique<Label>(limits());
}

LabelGuard::~LabelGuard() { SLUICE_CHECK(examined_ == nullptr && waiting_.empty()); }

bool LabelGuard::ReachesLabel(const Bio& bio) const noexcept {
  return bio.length > 0 &&
         (bio.offset < label_->head_end || bio.offset + bio.length > label_->tail_begin);
}

void LabelGuard::Strategy(Bio& bio) noexcept {
  SLUICE_CHECK(InRange(bio.offset, bio.length, limits().size));
  if (!IsWriteType(bio.op) || !ReachesLabel(bio) || used_.empty()) return disk_.Strategy(bio);
  bio.where = Where::kWaiting;
  waiting_.push_back(bio);
  Next();
}

void LabelGuard::Next() noexcept {
  if (examined_ != nullptr || waiting_.empty()) return;
  examined_ = &waiting_.front();
  waiting_.pop_front();
  examined_->where = Where::kNested;
  cancelled_ = false;
  Read(label_->head, State::kReadingHead);
}

void LabelGuard::Read(const Region& region, State state) noexcept {
  state_ = state;
  step_.segment = {label_->now.base() + region.image, region.length};
  Bio& bio = step_.bio;
  bio = Bio{};
  bio.op = Op::kRead;
  bio.flags = kNoGather;
  bio.prio = examined_->prio;
  bio.flow = examined_->flow;
  bio.offset = region.offset;
  bio.length = region.length;
  bio.segs = &step_.segment;
  bio.seg_count = 1;
  bio.target = &disk_;
  bio.release = Release;
  Submit(bio);
}

void LabelGuard::Release(Bio& bio) noexcept {
  static_assert(offsetof(Step, bio) == 0);
  reinterpret_cast<Step&>(bio).guard->StepEnded();
}

void LabelGuard::StepEnded() noexcept {
  const int error = step_.bio.error;
  switch (state_) {
    case State::kReadingHead:
    case State::kReadingTail:
      if (cancelled_) return Refuse(ECANCELED);
      if (error != 0) return Refuse(error);
      if (state_ == State::kReadingHead) return Read(label_->tail, State::kReadingTail);
      return Examine();
    case State::kWriting:
      examined_ = nullptr;
      state_ = State::kIdle;
      return Next();
    case State::kIdle:
      SLUICE_CHECK(false);
  }
}

LabelImage LabelGuard::ImageIn(const Arena& arena) const noexcept {
  const uint64_t size = limits().size;
  const char* tail = arena.base() + label_->tail.image + (label_->tail_begin - label_->tail.offset);
  return {size, BytesAt(arena.base() + label_->head.image, label_->head_end),
          BytesAt(tail, size - label_->tail_begin)};
}

void LabelGuard::Examine() noexcept {
  const Bio& bio = *examined_;
  for (const Region& region : {label_->head, label_->tail}) {
    char* image = label_->next.base() + region.image;
    std::memcpy(image, label_->now.base() + region.image, region.length);
    const uint64_t begin = std::max(bio.offset, region.offset);
    const uint64_t end = std::min(bio.offset + bio.length, region.offset + region.length);
    if (begin >= end) continue;
    if (bio.op == Op::kWrite) {
      CopyFromBio(bio, static_cast<uint32_t>(begin - bio.offset), image + (begin - region.offset),
                  end - begin);
    } else {
      std::memset(image + (begin - region.offset), 0, end - begin);
    }
  }
  const LabelImage now = ImageIn(label_->now);
  const LabelImage next = ImageIn(label_->next);
  if (Same(now, next) || LabelChangeAllowed(now, next, used_)) return PassOn();
  Refuse(EPERM);
}

void LabelGuard::PassOn() noexcept {
  state_ = State::kWriting;
  Bio& bio = step_.bio;
  bio = Bio{};
  Nest(*examined_, bio);
  bio.offset = examined_->offset;
  bio.length = examined_->length;
  bio.segs = examined_->segs;
  bio.seg_skip = examined_->seg_skip;
  bio.seg_count = examined_->seg_count;
  bio.target = &disk_;
  bio.release = Release;
  Submit(bio);
  Done(*examined_, 0);
}

void LabelGuard::Refuse(int error) noexcept {
  Bio& bio = *examined_;
  examined_ = nullptr;
  state_ = State::kIdle;
  Done(bio, error);
  Next();
}

void LabelGuard::Cancel(Bio& bio) noexcept {
  if (&bio == examined_) {
    cancelled_ = true;
    if (state_ == State::kWriting && step_.bio.where != Where::kDone) disk_.Cancel(step_.bio);
    return;
  }
  const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                  [&](const Bio& waiting) { return &waiting == &bio; });
  if (found == waiting_.end()) return disk_.Cancel(bio);
  waiting_.erase(found);
  Done(bio, ECANCELED);
}

}  // namespace sluice
