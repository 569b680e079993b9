// SPDX-License-Identifier: Apache-2.0
#include "core/log.h"

#include <cstdio>

namespace sluice {
namespace {

void ToStderr(LogLevel level, absl::string_view line) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  std::fprintf(stderr, "%s: %.*s\n", kNames[static_cast<int>(level)], static_cast<int>(line.size()),
               line.data());
}

LogSink g_sink = &ToStderr;

}  // namespace

void SetLogSink(LogSink sink) noexcept { g_sink = sink != nullptr ? sink : &ToStderr; }

void Log(LogLevel level, absl::string_view line) noexcept { g_sink(level, line); }

}  // namespace sluice
