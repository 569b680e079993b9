// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace sluice::rpc {

// Calls `done` when as many ended as began, its maker's own included. One thread.
class Steps {
 public:
  explicit Steps(absl::AnyInvocable<void()> done) : done_(std::move(done)) {}
  void Begin() { ++left_; }
  void End() {
    if (--left_ == 0) done_();
  }

 private:
  size_t left_ = 1;
  absl::AnyInvocable<void()> done_;
};

}  // namespace sluice::rpc
