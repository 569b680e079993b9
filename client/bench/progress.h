// SPDX-License-Identifier: Apache-2.0
// Watches a phase from the main thread: a live line on stderr if that is a terminal, and the
// signals that end a run.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include "client/bench/worker.h"

namespace sluice::bench {

class Progress {
 public:
  // Blocks SIGINT and SIGTERM in this thread, and so in those it starts, for its life.
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Before the workers start.
  void Begin(size_t workers) { running_ = workers; }
  // Each worker's last word; any thread.
  void WorkerDone();

  // Returns when every worker is done. The first signal stops them by `control`, the second ends
  // the process. `time_ns` 0: no limit is known.
  void Watch(const char* name, uint64_t time_ns, uint32_t block_size, Control& control,
             const std::function<uint64_t()>& answered);

  bool interrupted() const { return interrupted_; }

 private:
  void TakeSignal(Control& control);

  sigset_t former_mask_;
  int signals_ = -1;
  int done_ = -1;
  const bool terminal_;
  bool interrupted_ = false;
  std::atomic<size_t> running_ = 0;
};

}  // namespace sluice::bench
