// SPDX-License-Identifier: Apache-2.0
// Who may be at an export: many NBD connections, or one session that wants it for itself (kin.h).
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace sluice {

class Exclusion {
 public:
  // One NBD connection's right to be there, given back when it dies. An empty one is no right.
  class Seat {
   public:
    Seat() = default;
    Seat(Seat&& other) noexcept : exclusion_(std::exchange(other.exclusion_, nullptr)) {}
    Seat& operator=(Seat&& other) noexcept {
      std::swap(exclusion_, other.exclusion_);
      return *this;
    }
    ~Seat() {
      if (exclusion_ != nullptr) exclusion_->state_.fetch_sub(1);
    }
    explicit operator bool() const { return exclusion_ != nullptr; }

   private:
    friend class Exclusion;
    explicit Seat(Exclusion* exclusion) : exclusion_(exclusion) {}
    Exclusion* exclusion_ = nullptr;
  };

  // Empty while somebody has the export for himself.
  Seat Sit() noexcept {
    uint32_t state = state_.load();
    while ((state & kOne) == 0) {
      if (state_.compare_exchange_weak(state, state + 1)) return Seat(this);
    }
    return Seat();
  }

  // Lets nobody else sit down. False: somebody has it for himself already.
  bool Take() noexcept { return (state_.fetch_or(kOne) & kOne) == 0; }
  void Release() noexcept { state_.fetch_and(~kOne); }

  bool taken() const noexcept { return (state_.load() & kOne) != 0; }
  uint32_t seated() const noexcept { return state_.load() & ~kOne; }

 private:
  static constexpr uint32_t kOne = uint32_t{1} << 31;
  std::atomic<uint32_t> state_{0};
};

}  // namespace sluice
