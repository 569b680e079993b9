// SPDX-License-Identifier: Apache-2.0
#include "client/control/words.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace sluice::control {

std::string TimeText(int64_t unix_ns) {
  if (unix_ns == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixNanos(unix_ns), absl::LocalTimeZone());
}

std::string AgeText(int64_t then_ns, int64_t now_ns) {
  if (then_ns == 0) return "-";
  const int64_t seconds = now_ns > then_ns ? (now_ns - then_ns) / 1'000'000'000 : 0;
  if (seconds < 120) return absl::StrCat(seconds, " s");
  if (seconds < 120 * 60) return absl::StrCat(seconds / 60, " min");
  if (seconds < 48 * 3600) return absl::StrCat(seconds / 3600, " h");
  return absl::StrCat(seconds / 86400, " d");
}

int64_t UnixNow() { return absl::ToUnixNanos(absl::Now()); }

std::string JoinText(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return names.empty() ? "-" : absl::StrJoin(names, ", ");
}

std::string Harmless(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // The second byte of U+0080 to U+009F, behind 0xc2.
    const bool c1 = i > 0 && text[i - 1] == '\xc2' && byte >= 0x80 && byte < 0xa0;
    if (byte < 0x20 || byte == 0x7f || c1) {
      absl::StrAppendFormat(&out, "\\x%02x", byte);
    } else {
      out += text[i];
    }
  }
  return out;
}

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

int Fail(const Status& status) {
  std::fprintf(stderr, "sluice: %s\n", Harmless(status.message()).c_str());
  return 1;
}

}  // namespace sluice::control
