// SPDX-License-Identifier: Apache-2.0
// A session on the gRPC door under load: its connections are the streams of one session of the
// SDK's, driven on the SDK's I/O thread, where requests that are ready together leave in one
// message. The requests are made once and used again; the clock is read once for each answer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/bench/worker.h"
#include "client/sdk/engine.h"
#include "client/sdk/transport.h"

namespace sluice::bench {

class GrpcWorker final : public Worker, private internal::OpOwner {
 public:
  // Opens the export with `connections` streams. Writers stand beside others.
  static absl::StatusOr<std::unique_ptr<GrpcWorker>> Connect(const Options& options,
                                                             uint32_t connections);
  ~GrpcWorker() override;

  const internal::Transport& transport() const { return *transport_; }
  // Before the first phase: the loads of its connections.
  void Prepare(const Region& region, Coverage* coverage);

  void Close() override {}  // the session ends with the worker
  Load& load(size_t index) override { return *lanes_[index].load; }

 private:
  struct Lane;
  // A request's op; the request and what is read lie at the same place of their arrays.
  struct SlotOp : internal::Op {
    Lane* lane = nullptr;
    Request* request = nullptr;
  };
  struct Lane {
    std::unique_ptr<Load> load;
    std::vector<SlotOp> ops;
    std::vector<std::byte> data;  // a block for each
  };

  GrpcWorker(const Options& options, uint32_t connections, std::shared_ptr<internal::Engine> engine,
             std::unique_ptr<internal::Transport> transport);

  absl::Status Drive(Control& control) override;

  // The rest on the SDK's I/O thread.
  void Begin();
  void StopAll();
  void Pump(Lane& lane, uint64_t now_ns);
  void OnEnd(internal::Op& op, Status status) override;
  void CheckFinished();

  const Options& options_;
  std::vector<Lane> lanes_;
  const std::shared_ptr<internal::Engine> engine_;
  const std::unique_ptr<internal::Transport> transport_;

  uint64_t deadline_ns_ = UINT64_MAX;
  uint64_t cpu_ns_ = 0;
  bool pumping_ = false;                   // ops may end inside Start()
  std::atomic<uint64_t> progress_ns_ = 0;  // when an answer came last
  std::mutex mutex_;
  std::condition_variable wake_;
  bool finished_ = false;  // guarded by mutex_
  std::string lost_;       // why nothing can go on; guarded by mutex_
};

}  // namespace sluice::bench
