// SPDX-License-Identifier: Apache-2.0
// Monotonic time in nanoseconds, behind a seam so that tests own it.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <ctime>

namespace sluice {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t NowNs() noexcept = 0;
  // CPU time that the calling thread has used; 0 where nobody measures it.
  virtual uint64_t ThreadCpuNs() noexcept { return 0; }
  // Times that the calling thread was made to leave its CPU to another; 0 where nobody counts.
  virtual uint64_t ThreadPreemptions() noexcept { return 0; }
};

// CLOCK_MONOTONIC. Any thread.
class SystemClock final : public Clock {
 public:
  uint64_t NowNs() noexcept override { return Read(CLOCK_MONOTONIC); }
  uint64_t ThreadCpuNs() noexcept override { return Read(CLOCK_THREAD_CPUTIME_ID); }
  uint64_t ThreadPreemptions() noexcept override {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return static_cast<uint64_t>(usage.ru_nivcsw);
  }

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
