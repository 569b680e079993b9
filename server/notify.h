// SPDX-License-Identifier: Apache-2.0
// Tells the service manager how we are: sd_notify(3)'s protocol, one datagram to $NOTIFY_SOCKET.
#pragma once

#include "absl/strings/string_view.h"

namespace sluice {

// `state` as in "READY=1" or "STOPPING=1". Nothing happens without a service manager. Any thread
// that nobody waits for.
void NotifyManager(absl::string_view state);

}  // namespace sluice
