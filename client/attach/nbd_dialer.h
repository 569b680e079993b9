// SPDX-License-Identifier: Apache-2.0
// The way to a server over NBD.
#pragma once

#include <utility>

#include "client/attach/keeper.h"
#include "client/uri.h"

namespace sluice::attach {

// One thread. Every step blocks for at most kPatienceS seconds, but for the resolver.
class NbdDialer : public Dialer {
 public:
  explicit NbdDialer(NbdUri uri) : uri_(std::move(uri)) {}

  absl::StatusOr<Dialed> Dial() override;
  absl::StatusOr<Geometry> Ask() override;

 private:
  static constexpr int kPatienceS = 5;

  const NbdUri uri_;
};

}  // namespace sluice::attach
