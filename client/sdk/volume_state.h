// SPDX-License-Identifier: Apache-2.0
// What the handles of an open volume share. Any thread; the last handle closes it.
#pragma once

#include <memory>

#include "client/sdk/engine.h"
#include "client/sdk/task.h"
#include "client/sdk/transport.h"

SLUICE_SDK_BEGIN
namespace internal {

class VolumeState {
 public:
  VolumeState(std::shared_ptr<Engine> engine, std::unique_ptr<Transport> transport)
      : engine_(std::move(engine)), transport_(std::move(transport)) {}
  ~VolumeState();
  VolumeState(const VolumeState&) = delete;
  VolumeState& operator=(const VolumeState&) = delete;

  Engine& engine() { return *engine_; }
  Transport& transport() { return *transport_; }

  std::unique_ptr<Task> NewTask() { return std::make_unique<Task>(*transport_); }
  void Launch(std::unique_ptr<Task> task, Callback done) {
    Task::Launch(std::move(task), std::move(done));
  }
  // Launches and waits; refused on the I/O thread.
  Status Complete(std::unique_ptr<Task> task);
  Status MayBlock() const;

 private:
  const std::shared_ptr<Engine> engine_;
  const std::unique_ptr<Transport> transport_;
};

}  // namespace internal
SLUICE_SDK_END
