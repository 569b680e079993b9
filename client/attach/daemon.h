// SPDX-License-Identifier: Apache-2.0
// A keeper as a process: in the background or for a service manager, hardened against running out
// of memory because of the very device it keeps, driven by signals.
//
//   SIGTERM, SIGINT, SIGHUP   detach as soon as nobody uses the device
//   SIGQUIT                   detach now
#pragma once

#include <cstdint>
#include <string>

#include "client/attach/keeper.h"
#include "client/attach/netlink.h"
#include "client/attach/record.h"
#include "client/attach/watch.h"

namespace sluice::attach {

// Where the keeper's lines go: stderr, or syslog once it is in the background.
class Voice {
 public:
  explicit Voice(std::string name) : name_(std::move(name)) {}
  void ToSyslog();
  void Say(const std::string& text) const;

 private:
  std::string name_;  // "nbd0": each line begins with it
  bool syslog_ = false;
};

// The keeper's clock: it goes on while the machine sleeps, for a server's absence counts then too.
uint64_t NowNs();

// The signals above are held back from here on, for RunKeeper().
void HoldSignals();

// Forks; true in the process that goes on as the keeper: the child, without a terminal, or, if
// there can be none, this one.
bool GoToBackground();

// Runs until the keeper is done, keeps `record` true and, if `foreground`, the service manager
// informed (sd_notify(3)). `watch` may be null. The process's exit status: 0 detached, 1 gave up.
int RunKeeper(Keeper& keeper, const NetlinkKernel& kernel, Watch* watch, RecordFile& file,
              Record record, bool foreground);

}  // namespace sluice::attach
