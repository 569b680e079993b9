// SPDX-License-Identifier: Apache-2.0
#include "server/notify.h"

#ifdef SLUICE_SYSTEMD
#include <systemd/sd-daemon.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/units.h"
#endif

namespace sluice {

#ifdef SLUICE_SYSTEMD

void NotifyManager(absl::string_view state) {
  const int result = sd_notify(0, std::string(state).c_str());
  if (result >= 0) return;
  Log(LogLevel::kWarning,
      absl::StrCat("the service manager did not hear us: ", std::strerror(-result)));
}

uint64_t WatchdogTimeoutNs() {
  uint64_t timeout_us = 0;
  return sd_watchdog_enabled(0, &timeout_us) > 0 ? timeout_us * kMicrosecond : 0;
}

absl::StatusOr<std::vector<InheritedFd>> TakeInheritedFds() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(1, &names);
  if (count < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the sockets of the service manager cannot be taken (LISTEN_FDS, "
                     "LISTEN_FDNAMES): ",
                     std::strerror(-count), "; correct its socket unit"));
  }
  std::vector<InheritedFd> inherited;
  for (int i = 0; i < count; ++i) {
    inherited.push_back({SD_LISTEN_FDS_START + i, names[i]});
    std::free(names[i]);
  }
  std::free(names);
  return inherited;
}

#else

void NotifyManager(absl::string_view) {}
uint64_t WatchdogTimeoutNs() { return 0; }
absl::StatusOr<std::vector<InheritedFd>> TakeInheritedFds() { return std::vector<InheritedFd>(); }

#endif

}  // namespace sluice
