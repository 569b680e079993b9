// SPDX-License-Identifier: Apache-2.0
#include "client/control/table.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/control/words.h"

namespace sluice::control {
namespace {

// Columns of a terminal that UTF-8 takes, every code point counted as one.
size_t WidthOf(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

const char* ColourOf(Tone tone) {
  switch (tone) {
    case Tone::kGood:
      return "\033[32m";
    case Tone::kWarn:
      return "\033[33m";
    case Tone::kBad:
      return "\033[31m";
    case Tone::kFaint:
      return "\033[2m";
    case Tone::kPlain:
      break;
  }
  return "";
}

std::string Painted(const std::string& text, Tone tone, bool colour) {
  if (!colour || tone == Tone::kPlain) return text;
  return absl::StrCat(ColourOf(tone), text, "\033[0m");
}

}  // namespace

bool WantsColour() {
  const char* const none = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return (none == nullptr || *none == '\0') && terminal != nullptr &&
         std::strcmp(terminal, "dumb") != 0 && isatty(STDOUT_FILENO) != 0;
}

std::string Table::Text(bool colour) const {
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (const std::string& head : heads_) {
    right.push_back(head.starts_with('>'));
    widths.push_back(head.size() - (right.back() ? 1 : 0));
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], WidthOf(Harmless(row[i].text)));
    }
  }
  std::string out;
  const auto line = [&](const std::vector<Cell>& row) {
    std::string pending;  // blanks, written only when something follows
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string text = Harmless(row[i].text);
      const std::string pad(widths[i] - WidthOf(text), ' ');
      if (right[i]) pending += pad;
      if (!text.empty()) {
        out += pending + Painted(text, row[i].tone, colour);
        pending.clear();
      }
      if (!right[i]) pending += pad;
      pending += "  ";
    }
    out += "\n";
  };
  std::vector<Cell> heads;
  for (size_t i = 0; i < heads_.size(); ++i) {
    heads.emplace_back(right[i] ? heads_[i].substr(1) : heads_[i]);
  }
  line(heads);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string Facts::Text(bool colour) const {
  size_t width = 0;
  for (const auto& [name, value] : facts_) width = std::max(width, name.size());
  std::string out;
  for (const auto& [name, value] : facts_) {
    absl::StrAppend(&out, name, std::string(width - name.size() + 2, ' '),
                    Painted(Harmless(value.text), value.tone, colour), "\n");
  }
  return out;
}

}  // namespace sluice::control
