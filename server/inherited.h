// SPDX-License-Identifier: Apache-2.0
// Sockets that a service manager made before it started us (socket activation).
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "server/config.h"
#include "server/notify.h"

namespace sluice {

// Gives each socket to the door that its name says ("nbd", "grpc", "http"). A door that is given
// any listens on those alone: its `listen` is replaced, and each address there carries its socket.
// Then the config is completed and checked anew, so that what a door refuses to be told in a
// config it refuses to be handed. Errors name the socket and the cure.
absl::Status UseInherited(const std::vector<InheritedFd>& inherited, Config& config);

}  // namespace sluice
