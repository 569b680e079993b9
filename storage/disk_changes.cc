// SPDX-License-Identifier: Apache-2.0
// What changes about a disk while it serves.
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/units.h"
#include "storage/disk.h"

namespace sluice {

std::unique_ptr<Bufq> Disk::SwapBufq(std::unique_ptr<Bufq> bufq) noexcept {
  Bufq::Move(*bufq_, *bufq, home_->now_ns());
  bufq_.swap(bufq);
  return bufq;
}

void Disk::SetDepth(uint32_t depth) {
  SLUICE_CHECK(depth > 0 && depth <= kDepthMax);
  depth_ = depth;
  while (serving_ > depth_ && !free_.empty()) {
    Slot& slot = free_.front();
    free_.pop_front();
    spare_.push_front(slot);
    --serving_;
  }
  while (serving_ < depth_ && !spare_.empty()) {
    Slot& slot = spare_.front();
    spare_.pop_front();
    free_.push_front(slot);
    ++serving_;
  }
  if (serving_ < depth_) {
    const size_t segments = medium_->limits().segments_max;
    vectors_.emplace_back((depth_ - serving_) * segments * sizeof(Segment));
    auto* vector = reinterpret_cast<Segment*>(vectors_.back().base());
    for (; serving_ < depth_; ++serving_, vector += segments) {
      AddSlot(slots_.emplace_back(), vector);
    }
  }
  home_->AtDispatch(dispatch_);
}

size_t Disk::backlog() const noexcept {
  return bufq_->size() + in_flight_.size() + stalled_.size() + next_.size() +
         (deferred_ != nullptr ? 1 : 0);
}

void Disk::Leave() noexcept {
  SLUICE_CHECK(idle());
  home_->Disarm(timeout_);
  home_->Unlist(dispatch_);
  medium_->Detach();
}

void Disk::Arrive(Reactor& home) noexcept {
  SLUICE_CHECK(Reactor::Current() == &home);
  home_ = &home;
  home_id_.store(home.id(), std::memory_order_relaxed);
  medium_->Attach(home.id());
}

void Disk::Resize(uint64_t medium_bytes) noexcept {
  medium_->SetSize(medium_bytes);
  limits_.size = LimitsOf(options_, medium_->limits()).size;
}

}  // namespace sluice
