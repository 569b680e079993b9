// SPDX-License-Identifier: Apache-2.0
#include "server/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <string>

namespace sluice {
namespace {

spdlog::level::level_enum LevelOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

void ToSpdlog(LogLevel level, absl::string_view line) {
  std::string clean;
  clean.reserve(line.size());
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      clean += c;
      continue;
    }
    constexpr char kHex[] = "0123456789abcdef";
    clean += "\\x";
    clean += kHex[byte >> 4];
    clean += kHex[byte & 15];
  }
  spdlog::default_logger_raw()->log(LevelOf(level), "{}", clean);
}

}  // namespace

void StartLog() {
  auto logger = std::make_shared<spdlog::logger>("sluiced",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
  SetLogSink(&ToSpdlog);
}

LogLevel SetLeastLogged(LogLevel least) {
  static std::atomic<LogLevel> now{LogLevel::kInfo};
  spdlog::default_logger_raw()->set_level(LevelOf(least));
  return now.exchange(least);
}

}  // namespace sluice
