// SPDX-License-Identifier: Apache-2.0
// disksort: one elevator for reads and writes alike, a cyclic scan in one direction. Requests are
// served in ascending order from where the last one ended; behind the highest it starts again at
// the lowest. What arrives behind the scan waits for the next round, so none waits longer than two.
// For disks that seek. Source: NetBSD's bufq_disksort, bufq(9).
#include "storage/bufq_order.h"
#include "storage/bufq_strategies.h"

namespace sluice {
namespace {

class Disksort final : public BufqPolicy {
 public:
  explicit Disksort(const BufqOptions& options) : sweep_(options) {}

  void Put(Bio& bio) noexcept override { sweep_.Put(bio); }
  Bio* Peek(uint64_t) noexcept override { return sweep_.Peek(); }
  Bio* Get(uint64_t) noexcept override { return sweep_.Get(); }
  void Cancel(Bio& bio) noexcept override { BufqSweep::Cancel(bio); }

 private:
  BufqSweep sweep_;
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions& options) {
  return std::make_unique<Disksort>(options);
}

}  // namespace

const BufqStrategy kBufqDisksort = {"disksort", "one elevator, cyclic, in one direction", Make};

}  // namespace sluice
