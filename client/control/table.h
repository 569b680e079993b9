// SPDX-License-Identifier: Apache-2.0
// Tables and lists of facts for people: columns as wide as what stands in them, numbers to the
// right, colour only where it is wanted.
#pragma once

#include <string>
#include <vector>

namespace sluice::control {

// What a cell means; coloured on a terminal.
enum class Tone : unsigned char { kPlain, kGood, kWarn, kBad, kFaint };

struct Cell {
  Cell(std::string what) : text(std::move(what)) {}
  Cell(const char* what) : text(what) {}
  Cell(std::string what, Tone how) : text(std::move(what)), tone(how) {}
  std::string text;  // control characters are shown escaped
  Tone tone = Tone::kPlain;
};

// True for stdout on a terminal that can do it, unless $NO_COLOR is set (no-color.org).
bool WantsColour();

class Table {
 public:
  // A head that begins with '>' is a column of numbers, to the right.
  explicit Table(std::vector<std::string> heads) : heads_(std::move(heads)) {}

  // REQUIRES: as many cells as heads.
  void Add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }

  // With the last newline. No line ends with blanks.
  std::string Text(bool colour) const;

 private:
  std::vector<std::string> heads_;
  std::vector<std::vector<Cell>> rows_;
};

// "size          1.0 GiB" a line, the names padded alike.
class Facts {
 public:
  void Add(std::string name, Cell value) { facts_.emplace_back(std::move(name), std::move(value)); }
  std::string Text(bool colour) const;

 private:
  std::vector<std::pair<std::string, Cell>> facts_;
};

}  // namespace sluice::control
