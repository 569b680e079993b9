// SPDX-License-Identifier: Apache-2.0
// Keeps what is logged while it lives. One at a time, and no other thread may log.
#pragma once

#include <string>
#include <vector>

#include "core/log.h"

namespace sluice::sim {

class LogLines {
 public:
  LogLines() {
    Lines().clear();
    SetLogSink([](LogLevel, absl::string_view line) { Lines().emplace_back(line); });
  }
  ~LogLines() { SetLogSink(nullptr); }
  const std::vector<std::string>& lines() const { return Lines(); }

 private:
  static std::vector<std::string>& Lines() {
    static std::vector<std::string> lines;
    return lines;
  }
};

}  // namespace sluice::sim
