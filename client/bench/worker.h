// SPDX-License-Identifier: Apache-2.0
// One thread of load: drives its streams through a phase until each is finished.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/bench/stream.h"
#include "client/bench/tally.h"

namespace sluice::bench {

// What the workers of a phase share.
struct Control {
  std::atomic<bool> stop = false;  // set by any thread: send nothing new, await what is in flight
  uint64_t deadline_ns = UINT64_MAX;
};

class Worker {
 public:
  explicit Worker(const Options& options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Before the first phase.
  void Add(std::unique_ptr<Stream> stream);
  std::vector<std::unique_ptr<Stream>>& streams() { return streams_; }

  // To completion, on the calling thread; the streams have begun with tally(). On an error the
  // other workers are told to stop.
  absl::Status Run(Control& control);

  Tally& tally() { return tally_; }
  void ResetTally();
  // Any thread, while a phase runs.
  uint64_t answered_so_far() const { return answered_.load(std::memory_order_relaxed); }

 private:
  absl::Status Drive(Control& control);
  // Receives, measures, refills. True if something came.
  absl::StatusOr<bool> Step(Stream& stream, bool wait, const Control& control);
  // Asks all streams again and again for --poll. True if something came.
  absl::StatusOr<bool> Poll(const Control& control);
  absl::Status Sleep(const Control& control);
  void Watch(size_t index);
  absl::Status CheckPatience() const;

  const Options& options_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<bool> watched_for_room_;
  int epoll_ = -1;
  size_t finished_ = 0;
  uint64_t progress_ns_ = 0;  // when something came last
  Tally tally_;
  std::atomic<uint64_t> answered_ = 0;
};

}  // namespace sluice::bench
