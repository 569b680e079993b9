// SPDX-License-Identifier: Apache-2.0
// The newest epoch granted on each export: a number that only rises, on stable storage before it is
// granted, so that a client fenced before a crash stays fenced after it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/reactor.h"
#include "core/worker.h"
#include "server/state_dir.h"

namespace sluice::rpc {

// The seam. One reactor's thread.
class Epochs {
 public:
  virtual ~Epochs() = default;
  // 0: none was ever granted.
  virtual uint64_t Current(const std::string& export_name) const = 0;
  // Raises these, by export's name. `done` is called later on the same reactor, when all are
  // durable or cannot be. REQUIRES: each is larger than Current().
  using Done = absl::AnyInvocable<void(absl::Status)>;
  virtual void Raise(const std::map<std::string, uint64_t>& epochs, Done done) = 0;
};

// In the file `epochs` of the server's state folder, which the worker's thread writes.
class DurableEpochs final : public Epochs {
 public:
  // Blocks. All that is referred to outlives it.
  static absl::StatusOr<std::unique_ptr<DurableEpochs>> Load(StateDir& folder, Worker& worker,
                                                             Reactor& reactor);

  uint64_t Current(const std::string& export_name) const override;
  void Raise(const std::map<std::string, uint64_t>& epochs, Done done) override;

  // For a server that admits writers and grants no epochs: none that was granted before is the
  // newest any more. Blocks.
  static absl::Status SpendAll(StateDir& folder);

 private:
  DurableEpochs(StateDir& folder, Worker& worker, Reactor& reactor)
      : folder_(folder), worker_(worker), reactor_(reactor) {}

  StateDir& folder_;
  Worker& worker_;
  Reactor& reactor_;
  std::map<std::string, uint64_t> epochs_;
};

// The file's body: a line `EPOCH "NAME"` for each export, the name escaped as in C. A body that is
// not that is DataLoss.
std::string RenderEpochs(const std::map<std::string, uint64_t>& epochs);
absl::StatusOr<std::map<std::string, uint64_t>> ParseEpochs(absl::string_view body);

}  // namespace sluice::rpc
