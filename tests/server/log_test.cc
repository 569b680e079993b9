// SPDX-License-Identifier: Apache-2.0
#include "server/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

std::string LoggedAt(LogLevel least) {
  SetLeastLogged(least);
  testing::internal::CaptureStderr();
  Log(LogLevel::kDebug, "a detail");
  Log(LogLevel::kInfo, "a fact");
  Log(LogLevel::kWarning, "a warning");
  Log(LogLevel::kError, "an error");
  std::string seen;
  const std::string text = testing::internal::GetCapturedStderr();
  for (const char* line : {"a detail", "a fact", "a warning", "an error"}) {
    if (text.find(line) != std::string::npos)
      seen += seen.empty() ? line : std::string(", ") + line;
  }
  return seen;
}

TEST(Log, WhatIsLessSevereThanTheLeastIsNotLogged) {
  StartLog();
  EXPECT_EQ(LoggedAt(LogLevel::kInfo), "a fact, a warning, an error");
  EXPECT_EQ(LoggedAt(LogLevel::kDebug), "a detail, a fact, a warning, an error");
  EXPECT_EQ(LoggedAt(LogLevel::kWarning), "a warning, an error");
  EXPECT_EQ(LoggedAt(LogLevel::kError), "an error");
  EXPECT_EQ(SetLeastLogged(LogLevel::kInfo), LogLevel::kError);
  SetLogSink(nullptr);
}

}  // namespace
}  // namespace sluice
