// SPDX-License-Identifier: Apache-2.0
// Opens the disks of a config: chooses medium, strategy and options. Control thread.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

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

  // Attaches the media to their reactors and returns when all are. REQUIRES: the reactors run, no
  // bio was submitted yet, and the disks live. Blocks.
  void Attach();

  // Those opened so far, null ones excepted; the topology owns them.
  const std::vector<Disk*>& disks() const { return disks_; }

 private:
  absl::StatusOr<std::unique_ptr<Medium>> OpenMedium(const DiskSpec& spec);

  ReactorSet& reactors_;
  Worker& worker_;
  const Shared shared_;
  std::vector<Disk*> disks_;
};

}  // namespace sluice
