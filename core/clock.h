// SPDX-License-Identifier: Apache-2.0
// Monotonic time in nanoseconds, behind a seam so that tests own it.
#pragma once

#include <sched.h>

#include <cstdint>
#include <ctime>

namespace sluice {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t NowNs() noexcept = 0;
  // CPU time that the calling thread has used; 0 where nobody measures it.
  virtual uint64_t ThreadCpuNs() noexcept { return 0; }
  // Time passes for the calling thread: whoever else wants its CPU goes first.
  virtual void Yield() noexcept {}
};

// CLOCK_MONOTONIC. Any thread.
class SystemClock final : public Clock {
 public:
  uint64_t NowNs() noexcept override { return Read(CLOCK_MONOTONIC); }
  uint64_t ThreadCpuNs() noexcept override { return Read(CLOCK_THREAD_CPUTIME_ID); }
  void Yield() noexcept override { sched_yield(); }

 private:
  static uint64_t Read(clockid_t id) noexcept {
    timespec now{};
    clock_gettime(id, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }
};

// Stands still until it is moved. One thread.
class ManualClock final : public Clock {
 public:
  uint64_t NowNs() noexcept override { return now_ns_; }
  void Advance(uint64_t ns) { now_ns_ += ns; }

 private:
  uint64_t now_ns_ = 1;
};

}  // namespace sluice
