// SPDX-License-Identifier: Apache-2.0
// One thread of load: drives its connections through a phase until each is finished.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "client/bench/load.h"
#include "client/bench/tally.h"

namespace sluice::bench {

// What the workers of a phase share.
struct Control {
  std::atomic<bool> stop = false;  // set by any thread: send nothing new, await what is in flight
  uint64_t deadline_ns = UINT64_MAX;
};

class Worker {
 public:
  Worker() = default;
  virtual ~Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // To completion, on the calling thread; the loads have begun with tally(). On an error the
  // other workers are told to stop.
  absl::Status Run(Control& control);
  // Says goodbye to the server. After a phase that went well.
  virtual void Close() = 0;

  // The load of its `index`th connection.
  virtual Load& load(size_t index) = 0;

  Tally& tally() { return tally_; }
  void ResetTally();
  // Any thread, while a phase runs.
  uint64_t answered_so_far() const { return answered_.load(std::memory_order_relaxed); }

 protected:
  // Counts the CPU time of the calling thread; a worker that has another one adds it.
  virtual absl::Status Drive(Control& control) = 0;
  void Publish() { answered_.store(tally_.answered, std::memory_order_relaxed); }

 private:
  Tally tally_;
  std::atomic<uint64_t> answered_ = 0;
};

// DeadlineExceeded: nothing came for --timeout while `due` requests are.
absl::Status Impatient(const Options& options, uint64_t due);

}  // namespace sluice::bench
