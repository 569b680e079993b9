// SPDX-License-Identifier: Apache-2.0
// How far something long has come: a bar, the rate and the time left, on stderr if that is a
// terminal.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace sluice::command {

class Meter {
 public:
  // `done_bytes` of `total_bytes` were done before.
  Meter(const char* what, uint64_t total_bytes, uint64_t done_bytes, bool quiet);
  // Takes the bar off the terminal.
  ~Meter();
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  // Any thread. Negative: what is done again.
  void Add(int64_t bytes) { done_ += bytes; }
  double seconds() const;

 private:
  void Draw();

  const std::string what_;
  const uint64_t total_;
  const uint64_t before_;
  const uint64_t begin_ns_;
  std::atomic<int64_t> done_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool end_ = false;  // guarded by mutex_
  std::thread drawing_;
};

// "copy [#####     ]  50 %  1.0 MiB/s  0:10 left"
std::string MeterText(const std::string& what, uint64_t done, uint64_t total, double per_second);

}  // namespace sluice::command
