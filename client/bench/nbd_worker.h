// SPDX-License-Identifier: Apache-2.0
// A thread and its NBD connections.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/bench/stream.h"
#include "client/bench/worker.h"

namespace sluice::bench {

class NbdWorker final : public Worker {
 public:
  explicit NbdWorker(const Options& options);
  ~NbdWorker() override;

  // Before the first phase.
  void Add(std::unique_ptr<Stream> stream);

  void Close() override;
  Load& load(size_t index) override { return streams_[index]->load(); }

 private:
  absl::Status Drive(Control& control) override;
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
};

}  // namespace sluice::bench
