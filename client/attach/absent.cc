// SPDX-License-Identifier: Apache-2.0
// The commands in a build without the kernel's client (SLUICE_ATTACH=OFF).
#include <cstdio>

#include "client/attach/commands.h"

namespace sluice::attach {
namespace {

int Absent() {
  std::fputs(
      "sluice: this build cannot attach: configure with -DSLUICE_ATTACH=ON (libnl-genl-3), or use "
      "nbd-client\n",
      stderr);
  return 1;
}

}  // namespace

int Attach(const Options&) { return Absent(); }
int Detach(const Options&) { return Absent(); }
int Attached(const Options&) { return Absent(); }

}  // namespace sluice::attach
