// SPDX-License-Identifier: Apache-2.0
// The service manager, by libsystemd (this file alone includes it): it hears how we are, expects a
// sign of life, and may hand us sockets on which it listened before us. Built without libsystemd
// (SLUICE_SYSTEMD=OFF), or started by anything else, none of this happens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

// `state` as in "READY=1" or "STOPPING=1" (sd_notify(3)), several a line each. Any thread that
// nobody waits for.
void NotifyManager(absl::string_view state);

// The manager ends us unless "WATCHDOG=1" comes within so many nanoseconds; 0: it does not look
// (sd_watchdog_enabled(3)).
uint64_t WatchdogTimeoutNs();

struct InheritedFd {
  int fd;            // close-on-exec
  std::string name;  // FileDescriptorName= of its unit; "unknown" if it said none
};

// The descriptors that were handed over (sd_listen_fds_with_names(3)), the caller's from now on.
// Once, before other threads, for the environment is changed. Fails when what was handed over
// cannot be read.
absl::StatusOr<std::vector<InheritedFd>> TakeInheritedFds();

}  // namespace sluice
