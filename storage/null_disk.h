// SPDX-License-Identifier: Apache-2.0
// A disk that is not there: writes vanish, reads are zeroes. It has no state, so any reactor may
// use it: what a benchmark of everything above the disks needs.
#pragma once

#include "core/target.h"

namespace sluice {

class NullDisk final : public Target {
 public:
  // `logical_block`: what clients are told, bytes.
  explicit NullDisk(uint64_t size, uint32_t logical_block = 512, bool read_only = false);
  uint16_t home() const noexcept override { return kNoHome; }
  const Limits& limits() const noexcept override { return limits_; }
  void Strategy(Bio& bio) noexcept override;
  void Cancel(Bio&) noexcept override {}
  void QueryExtents(ExtentQuery& query) noexcept override;

 private:
  Limits limits_;
};

}  // namespace sluice
