// SPDX-License-Identifier: Apache-2.0
// A limit on how many may be inside. Any thread; the turnstile outlives its tickets.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace sluice {

class Turnstile {
 public:
  // The right to be inside, given back when it dies. An empty one is no right.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept : turnstile_(std::exchange(other.turnstile_, nullptr)) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(turnstile_, other.turnstile_);
      return *this;
    }
    ~Ticket() {
      if (turnstile_ != nullptr) turnstile_->Leave();
    }
    explicit operator bool() const { return turnstile_ != nullptr; }

   private:
    friend class Turnstile;
    explicit Ticket(Turnstile* turnstile) : turnstile_(turnstile) {}
    Turnstile* turnstile_ = nullptr;
  };

  // `room` (if any) is called, on the leaver's thread, when somebody leaves after somebody was
  // turned away.
  explicit Turnstile(uint32_t limit, absl::AnyInvocable<void()> room = nullptr)
      : limit_(limit), room_(std::move(room)) {}
  Turnstile(const Turnstile&) = delete;
  Turnstile& operator=(const Turnstile&) = delete;

  Ticket Enter() noexcept {
    // Twice: whoever leaves between a look and the mark may not have seen the mark.
    for (int look = 0; look < 2; ++look) {
      uint32_t inside = inside_.load();
      while (inside < limit_) {
        if (inside_.compare_exchange_weak(inside, inside + 1)) return Ticket(this);
      }
      turned_away_.store(true);
    }
    return Ticket();
  }

  uint32_t inside() const noexcept { return inside_.load(); }
  uint32_t limit() const noexcept { return limit_; }

 private:
  void Leave() noexcept {
    inside_.fetch_sub(1);
    if (turned_away_.exchange(false) && room_ != nullptr) room_();
  }

  const uint32_t limit_;
  absl::AnyInvocable<void()> room_;
  std::atomic<uint32_t> inside_{0};
  std::atomic<bool> turned_away_{false};
};

}  // namespace sluice
