// SPDX-License-Identifier: Apache-2.0
// What one reactor has for another: a single-producer single-consumer ring of bios, each with what
// is to be done with it.
//
// Push() writes without being seen; Publish(), once a turn, shows everything at once. Order is
// kept, which is what makes Abandon() and Expire() safe: a message about a bio never overtakes the
// message that passed the bio on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/bio.h"
#include "core/check.h"

namespace sluice {

enum class Mail : uint8_t { kSubmit, kComplete, kAbandon, kAbandonAck, kExpire };

class Mailbox {
 public:
  // `capacity` bounds what can be under way at all, so Push() never finds it full: two messages for
  // each bio that the two reactors may have reserved. Rounded up to a power of two; memory is
  // touched as it is used.
  explicit Mailbox(size_t capacity);

  // Producer's thread.
  void Push(Mail mail, Bio& bio) noexcept {
    SLUICE_CHECK(tail_ - head_.load(std::memory_order_acquire) <= mask_);
    slots_[tail_ & mask_] = reinterpret_cast<uintptr_t>(&bio) | static_cast<uintptr_t>(mail);
    ++tail_;
  }
  // True if there was something new. Sequentially consistent, as Empty() is: a consumer that says
  // it sleeps and then sees nothing here was seen sleeping by whoever publishes next.
  bool Publish() noexcept {
    if (published_.load(std::memory_order_relaxed) == tail_) return false;
    published_.store(tail_, std::memory_order_seq_cst);
    return true;
  }

  // Consumer's thread.
  bool Empty() const noexcept {
    return head_.load(std::memory_order_relaxed) == published_.load(std::memory_order_seq_cst);
  }
  // Calls deliver(Mail, Bio&) for what is published now.
  template <typename F>
  size_t Drain(F&& deliver) noexcept {
    const uint64_t end = published_.load(std::memory_order_acquire);
    const uint64_t begin = head_.load(std::memory_order_relaxed);
    for (uint64_t i = begin; i != end; ++i) {
      const uintptr_t word = slots_[i & mask_];
      head_.store(i + 1, std::memory_order_release);
      deliver(static_cast<Mail>(word & kMailMask), *reinterpret_cast<Bio*>(word & ~kMailMask));
    }
    return end - begin;
  }

 private:
  static constexpr uintptr_t kMailMask = alignof(Bio) - 1;

  uint64_t mask_;
  std::unique_ptr<uintptr_t[]> slots_;
  uint64_t tail_ = 0;                               // producer's
  alignas(64) std::atomic<uint64_t> published_{0};  // producer -> consumer
  alignas(64) std::atomic<uint64_t> head_{0};       // consumer -> producer
};

}  // namespace sluice
