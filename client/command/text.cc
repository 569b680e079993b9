// SPDX-License-Identifier: Apache-2.0
#include "client/command/text.h"

#include <cstdio>
#include <iterator>

#include "absl/strings/str_format.h"

namespace sluice::command {

std::string JsonText(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string SizeText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrFormat("%d B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return absl::StrFormat("%.*f %s", value < 100 ? 1 : 0, value, kUnits[unit]);
}

int Failed(absl::string_view what, const Status& status) {
  std::fprintf(stderr, "sluice: %s: %s\n", std::string(what).c_str(), status.message().c_str());
  return 1;
}

}  // namespace sluice::command
