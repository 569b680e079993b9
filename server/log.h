// SPDX-License-Identifier: Apache-2.0
// The process's log: one line an event on stderr, by spdlog, behind core/log.h's sink. Peers' bytes
// come in only escaped (server/text.h); the sink escapes whatever control characters are left, so
// that one event stays one line.
#pragma once

#include "core/log.h"

namespace sluice {

// Makes Log() write through spdlog. Once, in main, before any other thread starts.
void StartLog();

// From now on nothing less severe than `least` is logged; it begins with kInfo. Returns what
// it was before. Any thread.
LogLevel SetLeastLogged(LogLevel least);

}  // namespace sluice
