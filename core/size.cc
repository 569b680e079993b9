// SPDX-License-Identifier: Apache-2.0
#include "core/size.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace sluice {

absl::StatusOr<uint64_t> ParseSize(absl::string_view text) {
  const auto refused = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(text), "\" is no size: write bytes, 512M or 1GiB"));
  };
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[digits]))) {
    ++digits;
  }
  uint64_t number = 0;
  if (digits == 0 || !absl::SimpleAtoi(text.substr(0, digits), &number)) return refused();
  absl::string_view suffix = text.substr(digits);
  unsigned shift = 0;
  if (!suffix.empty() && suffix != "B") {
    constexpr absl::string_view kUnits = "KMGTPE";
    const size_t unit = kUnits.find(suffix[0]);
    if (unit == absl::string_view::npos) return refused();
    suffix.remove_prefix(1);
    if (!suffix.empty() && suffix != "iB") return refused();
    shift = 10 * (static_cast<unsigned>(unit) + 1);
  }
  if (number > (uint64_t{INT64_MAX} >> shift)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(text), "\" is too large: a size is below 2^63 bytes"));
  }
  return number << shift;
}

}  // namespace sluice
