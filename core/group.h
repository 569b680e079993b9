// SPDX-License-Identifier: Apache-2.0
// Waits for any or for all of several bios: a compound event. One reactor's thread; the bios' home.
//
//   BioGroup group;
//   group.Add(bio, callback) ... for each, before or after Submit(), but before control returns to
//   the reactor group.WhenAll(fn, context);            or:  co_await group.All();
//
// The group outlives the callbacks of its members; a member that is abandoned never counts.
#pragma once

#include <coroutine>
#include <cstdint>

#include "core/bio.h"
#include "core/check.h"

namespace sluice {

class BioGroup {
 public:
  using Event = void (*)(BioGroup& group, void* context) noexcept;

  BioGroup() = default;
  BioGroup(const BioGroup&) = delete;
  BioGroup& operator=(const BioGroup&) = delete;

  // `callback` is the member's own record; it lives until the bio is done.
  void Add(Bio& bio, Callback& callback) noexcept {
    ++added_;
    callback.run = [](Bio& done, void* group) noexcept {
      static_cast<BioGroup*>(group)->Count(done);
    };
    callback.context = this;
    PushCallback(bio, callback);
  }

  // `fn` runs once: when the next member is done / when all are, those added meanwhile included. At
  // once if that is so already (no member left).
  void WhenAny(Event fn, void* context) noexcept { Wait(fn, context, finished_ + 1); }
  void WhenAll(Event fn, void* context) noexcept { Wait(fn, context, kAll); }

  uint32_t added() const noexcept { return added_; }
  uint32_t finished() const noexcept { return finished_; }
  int error() const noexcept { return error_; }  // the first, 0 if none
  uint64_t error_offset() const noexcept {
    return error_offset_;
  }  // of the bio that failed first, in its target
  Bio* last() const noexcept {
    return last_;
  }  // the member that ended last; valid inside the event

  class Awaiter {
   public:
    Awaiter(BioGroup& group, uint32_t until) : group_(group), until_(until) {}
    bool await_ready() const noexcept { return group_.IsOver(until_); }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
      group_.Wait(
          [](BioGroup&, void* frame) noexcept {
            std::coroutine_handle<>::from_address(frame).resume();
          },
          handle.address(), until_);
    }
    int await_resume() const noexcept { return group_.error(); }

   private:
    BioGroup& group_;
    uint32_t until_;
  };
  Awaiter Any() noexcept { return Awaiter(*this, finished_ + 1); }
  Awaiter All() noexcept { return Awaiter(*this, kAll); }

 private:
  static constexpr uint32_t kAll = UINT32_MAX;

  bool IsOver(uint32_t until) const noexcept { return finished_ >= until || finished_ == added_; }

  void Wait(Event fn, void* context, uint32_t until) noexcept {
    SLUICE_CHECK(event_ == nullptr);
    if (IsOver(until)) return fn(*this, context);
    event_ = fn;
    context_ = context;
    until_ = until;
  }

  void Count(Bio& bio) noexcept {
    if (error_ == 0 && bio.error != 0) {
      error_ = bio.error;
      error_offset_ = bio.offset;
    }
    last_ = &bio;
    ++finished_;
    if (event_ == nullptr || !IsOver(until_)) return;
    const Event fn = event_;
    event_ = nullptr;
    fn(*this, context_);
  }

  uint32_t added_ = 0;
  uint32_t finished_ = 0;
  uint32_t until_ = 0;
  int error_ = 0;
  uint64_t error_offset_ = 0;
  Bio* last_ = nullptr;
  Event event_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace sluice
