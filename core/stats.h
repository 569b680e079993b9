// SPDX-License-Identifier: Apache-2.0
// Counters that one thread writes and any thread reads: a relaxed load and a relaxed store, no
// read-modify-write.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "core/bio.h"

namespace sluice {

class Counter {
 public:
  void Add(uint64_t n) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// What there is now: it rises and falls.
class Gauge {
 public:
  void Add(uint64_t n) noexcept { Set(value() + n); }
  void Sub(uint64_t n) noexcept { Set(value() - n); }
  void Set(uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Bucket i counts values in [2^(i-1), 2^i); bucket 0 counts zeroes. The last one all larger ones.
class Histogram {
 public:
  static constexpr int kBuckets = 40;
  void Add(uint64_t value) noexcept {
    const int bucket = static_cast<int>(std::bit_width(value));
    buckets_[bucket < kBuckets ? bucket : kBuckets - 1].Add(1);
    sum_.Add(value);
  }
  uint64_t bucket(int i) const noexcept { return buckets_[i].value(); }
  uint64_t sum() const noexcept { return sum_.value(); }
  uint64_t count() const noexcept {
    uint64_t all = 0;
    for (const Counter& bucket : buckets_) all += bucket.value();
    return all;
  }

 private:
  Counter buckets_[kBuckets];
  Counter sum_;
};

// Errors by a small number: an errno, or a door's own code. The last one is all larger ones.
class ErrorCounts {
 public:
  static constexpr int kCodes = 136;  // Linux has errnos up to 133
  void Add(int code) noexcept { by_code_[code >= 0 && code < kCodes ? code : kCodes - 1].Add(1); }
  uint64_t of(int code) const noexcept { return by_code_[code].value(); }
  uint64_t total() const noexcept {
    uint64_t all = 0;
    for (const Counter& counter : by_code_) all += counter.value();
    return all;
  }

 private:
  Counter by_code_[kCodes];
};

// The stages of a request; each histogram holds the nanoseconds that the stage took.
enum class Stage : uint8_t {
  kQueue,     // parsed -> in its disk's gather (mailbox and guard included)
  kDispatch,  // -> handed to the medium
  kDevice,    // -> back from it
  kAnswer,    // -> the reply given to the socket
};
inline constexpr int kStages = 4;

struct StageTimes {
  Histogram by_op[kOps][kStages];

  // The stage of `bio` ends at `now_ns`. REQUIRES: the thread that owns the bio now and writes this
  // object.
  void End(Bio& bio, Stage stage, uint64_t now_ns) noexcept {
    const uint64_t since_birth = now_ns > bio.born_ns ? now_ns - bio.born_ns : 0;
    const uint32_t now = since_birth > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(since_birth);
    by_op[static_cast<int>(bio.op)][static_cast<int>(stage)].Add(
        now - (now < bio.stage_ns ? now : bio.stage_ns));
    bio.stage_ns = now;
  }
};

}  // namespace sluice
