// SPDX-License-Identifier: Apache-2.0
// What takes longer than a call, and how far it is. An ended one is remembered for ten minutes at
// least.
//
// Any thread; takes a lock. A reactor posts to the worker instead of calling it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/clock.h"

namespace sluice {

struct Operation {
  // Numbered as OperationState of proto/sluice/v1/operation.proto.
  enum class State : uint8_t { kRunning = 1, kDone = 2, kFailed = 3, kCancelled = 4 };

  std::string id;     // unique while the server runs
  std::string title;  // as in `drain disk "d0"`
  State state = State::kRunning;
  uint64_t done = 0;  // work units, of `total`; both 0: not known
  uint64_t total = 0;
  absl::Status error;  // why it failed
  int64_t began_unix_ns = 0;
  int64_t ended_unix_ns = 0;  // 0: not yet
};

class Operations {
 public:
  static constexpr size_t kKept = 1024;
  static constexpr uint64_t kKeptNs = 600'000'000'000;

  // `changed` is told of each that began or ended, on the thread that did it, without the lock.
  Operations(Clock& clock, absl::AnyInvocable<void(const Operation&)> changed);

  // `cancel` asks it to end early; it is called at most once, before End(). ResourceExhausted:
  // as many are remembered as there may be.
  absl::StatusOr<Operation> Begin(std::string title, absl::AnyInvocable<void()> cancel);
  void Progress(const std::string& id, uint64_t done, uint64_t total);
  // Cancelled counts as that; any other error as failed. Once.
  void End(const std::string& id, const absl::Status& status);

  // NotFound; this one and the next two.
  absl::StatusOr<Operation> Get(const std::string& id) const;
  // Returns when it has ended or the time is over. Blocks.
  absl::StatusOr<Operation> Wait(const std::string& id, uint32_t timeout_ms) const;
  // As it is now; it may end in another way than asked.
  absl::StatusOr<Operation> Cancel(const std::string& id);
  // The newest first.
  std::vector<Operation> List() const;

 private:
  struct Entry {
    Operation operation;
    absl::AnyInvocable<void()> cancel;
    uint64_t ended_ns = 0;
  };
  void ForgetOld();
  absl::StatusOr<Operation> Find(const std::string& id) const;

  Clock& clock_;
  absl::AnyInvocable<void(const Operation&)> changed_;
  mutable std::mutex mutex_;  // guards all below
  mutable std::condition_variable ended_;
  std::map<uint64_t, Entry> entries_;
  uint64_t next_id_ = 1;
};

}  // namespace sluice
