// SPDX-License-Identifier: Apache-2.0
// co_await over a volume, for any coroutine type:
//
//   Status status = co_await Await(volume).Write(0, bytes);
//
// The coroutine goes on on the client's I/O thread, where a callback would run and with the same
// rules: it must not block there. Memory stays the caller's until the co_await is over.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "sluice/export.h"
#include "sluice/volume.h"

SLUICE_SDK_BEGIN

// Starts when it is awaited; awaited once. `Start` takes a callback of a T.
template <typename T, typename Start>
class [[nodiscard]] Awaiter {
 public:
  explicit Awaiter(Start start) : start_(std::move(start)) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    // The coroutine, and this in its frame, may be gone before the call below returns.
    Start start = std::move(start_);
    start([this, waiting](T outcome) {
      outcome_ = std::move(outcome);
      waiting.resume();
    });
  }
  T await_resume() { return std::move(outcome_); }

 private:
  Start start_;
  T outcome_{Status()};
};

class Await {
 public:
  // The volume outlives the operation.
  explicit Await(const Volume& volume) : volume_(volume) {}

  auto Read(uint64_t offset, std::span<std::byte> into) const {
    return Of([volume = &volume_, offset, into](Callback done) {
      volume->AsyncRead(offset, into, std::move(done));
    });
  }
  auto Write(uint64_t offset, std::span<const std::byte> from, uint32_t flags = kNone) const {
    return Of([volume = &volume_, offset, from, flags](Callback done) {
      volume->AsyncWrite(offset, from, flags, std::move(done));
    });
  }
  auto WriteZeroes(uint64_t offset, uint64_t length, uint32_t flags = kNone) const {
    return Of([volume = &volume_, offset, length, flags](Callback done) {
      volume->AsyncWriteZeroes(offset, length, flags, std::move(done));
    });
  }
  auto Discard(uint64_t offset, uint64_t length, uint32_t flags = kNone) const {
    return Of([volume = &volume_, offset, length, flags](Callback done) {
      volume->AsyncDiscard(offset, length, flags, std::move(done));
    });
  }
  auto Flush() const {
    return Of([volume = &volume_](Callback done) { volume->AsyncFlush(std::move(done)); });
  }

 private:
  template <typename Start>
  static Awaiter<Status, Start> Of(Start start) {
    return Awaiter<Status, Start>(std::move(start));
  }

  const Volume& volume_;
};

SLUICE_SDK_END
