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
  strategy_name_.store(bufq_->strategy_name().data());
  return bufq;
}

void Disk::SetDepth(uint32_t depth) {
  SLUICE_CHECK(depth > 0 && depth <= kDepthMax);
  depth_.store(depth, std::memory_order_relaxed);
  while (serving_ > depth && !free_.empty()) {
    Slot& slot = free_.front();
    free_.pop_front();
    spare_.push_front(slot);
    --serving_;
  }
  while (serving_ < depth && !spare_.empty()) {
    Slot& slot = spare_.front();
    spare_.pop_front();
    free_.push_front(slot);
    ++serving_;
  }
  if (serving_ < depth) {
    const size_t segments = medium_->limits().segments_max;
    vectors_.emplace_back((depth - serving_) * segments * sizeof(Segment));
    auto* vector = reinterpret_cast<Segment*>(vectors_.back().base());
    for (; serving_ < depth; ++serving_, vector += segments) {
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

void Disk::Grow(uint64_t medium_bytes) noexcept {
  SLUICE_CHECK(medium_bytes >= medium_->limits().size);
  medium_->SetSize(medium_bytes);
  limits_.size = LimitsOf(options_, medium_->limits()).size;
}

}  // namespace sluice
