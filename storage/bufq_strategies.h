// SPDX-License-Identifier: Apache-2.0
// The built-in strategies, one file each: bufq_<name>.cc, which opens with the policy.
#pragma once

#include "storage/bufq.h"

namespace sluice {

extern const BufqStrategy kBufqFcfs;
extern const BufqStrategy kBufqDisksort;
extern const BufqStrategy kBufqReadprio;
extern const BufqStrategy kBufqPriocscan;
extern const BufqStrategy kBufqDeadline;
extern const BufqStrategy kBufqFair;

}  // namespace sluice
