// SPDX-License-Identifier: Apache-2.0
// Opens the disks of a config -- chooses medium, strategy and options -- and knows where they live
// and end. Control thread, unless said otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/reactor.h"
#include "core/worker.h"
#include "server/config.h"
#include "storage/disk.h"
#include "storage/medium.h"
#include "storage/topology.h"

namespace sluice {

class ConfiguredDisks final : public DiskFactory {
 public:
  // What all disks share. The reactors and the worker outlive the disks.
  struct Shared {
    uint32_t io_timeout_s = 60;
    std::vector<uint32_t> flow_weights;
    uint32_t credits = 0;  // of each reactor
  };
  ConfiguredDisks(ReactorSet& reactors, Worker& worker, Shared shared)
      : reactors_(reactors), worker_(worker), shared_(std::move(shared)) {}

  absl::StatusOr<std::unique_ptr<Target>> Open(const DiskSpec& spec, uint16_t home) override;
  // The queue that `spec` asks for, empty. May block.
  absl::StatusOr<std::unique_ptr<Bufq>> MakeBufq(const DiskSpec& spec) const;
  // What `fair` charges by, of queues made from now on.
  void SetFlowWeights(std::vector<uint32_t> weights) { shared_.flow_weights = std::move(weights); }

  // Attaches the media to their reactors and returns when all are. From then on the reactors run:
  // disks are attached as they are opened. REQUIRES: no bio was submitted yet. Blocks.
  void Attach();
  // The reactors run no more: what still waits to be ended on them ends now. Blocks.
  void Stop();

  // The three of DiskFactory. RunOn() and Move() block, and are not for reactors.
  void RunOn(uint16_t home, absl::FunctionRef<void()> work) override;
  void Move(Target& target, uint16_t home) override;
  void Retire(std::unique_ptr<Target> target, std::vector<std::shared_ptr<Target>> legs) override;

  // Null for what is none of its disks: a volume, a guard, a null disk. Any thread.
  Disk* AsDisk(const Target* target) const;
  // Those that are open, null ones excepted. They stay while their topology does. Any thread.
  std::vector<Disk*> disks() const;
  // The same, each of which stays until `look` returns, which is short and calls nothing here. Any
  // thread.
  void ForEach(absl::FunctionRef<void(const Disk&)> look) const;

 private:
  struct Ending {
    std::unique_ptr<Target> target;
    std::vector<std::shared_ptr<Target>> legs;
  };
  absl::StatusOr<std::unique_ptr<Medium>> OpenMedium(const DiskSpec& spec);
  void End(std::list<Ending>::iterator ending);

  ReactorSet& reactors_;
  Worker& worker_;
  Shared shared_;
  std::atomic<bool> running_{false};
  mutable std::mutex mutex_;  // guards all below
  std::vector<Disk*> disks_;
  std::list<Ending> endings_;
};

}  // namespace sluice
