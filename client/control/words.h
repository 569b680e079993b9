// SPDX-License-Identifier: Apache-2.0
// How management commands say times and results.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>
#include <string>

#include "sluice/status.h"

namespace sluice::control {

// "2026-03-01 12:00:00" in local time; "-" for 0.
std::string TimeText(int64_t unix_ns);
// "42 s", "3 min", "5 h", "12 d"; "-" for 0. From `then_ns` to `now_ns`.
std::string AgeText(int64_t then_ns, int64_t now_ns);
int64_t UnixNow();

// "a, b"; "-" when empty.
std::string JoinText(const google::protobuf::RepeatedPtrField<std::string>& names);

// Texts come from servers: control characters are shown as \xNN, so that none steers a terminal.
std::string Harmless(const std::string& text);

void Print(const std::string& text);
// Puts "sluice: message" on stderr; 1.
int Fail(const Status& status);

}  // namespace sluice::control
