// SPDX-License-Identifier: Apache-2.0
// Lets what changes a range go before what comes to it later, be that another change or a read, and
// changes in the order they came. What has not been answered is then never younger than what has,
// so that sending it again cannot undo anything; and no read of a higher number arrives, on another
// connection, before the change whose bytes it is about. A read that has entered holds nobody back;
// one that is held keeps its place before what comes later. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "client/sdk/transport.h"

SLUICE_SDK_BEGIN
namespace internal {

class RangeGuard {
 public:
  // False: it is held, and comes out of a later Leave().
  bool Enter(Op& op);
  // Frees the range of a change that has entered; those it held back that may go now have entered,
  // and are put behind `freed`.
  void Leave(uint64_t offset, std::vector<Op*>& freed);
  // All that are held, in their order; they are no longer.
  std::deque<Op*> TakeHeld();

 private:
  bool Busy(const Op& op) const;

  std::map<uint64_t, uint64_t> inside_;  // changes: offset -> end; disjoint
  std::deque<Op*> held_;
};

}  // namespace internal
SLUICE_SDK_END
