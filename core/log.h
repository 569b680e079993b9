// SPDX-License-Identifier: Apache-2.0
// Where core and storage say what happened. The process installs the sink (server/log.cc); without
// one, lines go to stderr. Control path only: a caller on the data path limits its own rate. Texts
// carry no payload bytes, and peers' bytes only escaped.
#pragma once

#include "absl/strings/string_view.h"

namespace sluice {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogSink = void (*)(LogLevel level, absl::string_view line);

// Before any other thread is started. Null: stderr again.
void SetLogSink(LogSink sink) noexcept;

// Any thread.
void Log(LogLevel level, absl::string_view line) noexcept;

}  // namespace sluice
