// SPDX-License-Identifier: Apache-2.0
// The disk that is nothing: writes vanish, reads bring zeroes (memory that was given is cleared:
// old payloads must not leak, S5). No state, so any reactor may use it at any time.
#pragma once

#include <cstdint>

#include "storage/medium.h"

namespace sluice {

class NullMedium final : public Medium {
 public:
  explicit NullMedium(uint64_t size);  // bytes, a multiple of 512

  const MediumLimits& limits() const noexcept override { return limits_; }
  bool any_reactor() const noexcept override { return true; }
  void Attach(uint16_t) noexcept override {}
  Started Start(MediumIo& io) noexcept override;
  void QueryExtents(ExtentQuery& query) noexcept override;

 private:
  MediumLimits limits_;
};

}  // namespace sluice
