// SPDX-License-Identifier: Apache-2.0
// What is wrong with a command line, and what was probably meant.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/tree.h"

namespace sluice::cli {
namespace {

// Letters to be inserted, dropped, replaced or swapped with their neighbours until `a` is `b`.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> best(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) best[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) best[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      best[i][j] = std::min({best[i - 1][j] + 1, best[i][j - 1] + 1,
                             best[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        best[i][j] = std::min(best[i][j], best[i - 2][j - 2] + 1);
      }
    }
  }
  return best[a.size()][b.size()];
}

// The nearest of `known`, if it is near; "": none is.
std::string Nearest(const std::string& word, const std::vector<std::string>& known) {
  std::string nearest;
  size_t least = word.size() / 3 + 2;  // more than that are other words
  for (const std::string& candidate : known) {
    const bool begins = word.size() > 1 && absl::StartsWith(candidate, word);
    const size_t distance = begins ? 1 : Distance(word, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::vector<std::string> CommandNames(CLI::App& app) {
  std::vector<std::string> names;
  for (CLI::App* command : CommandsOf(app)) {
    if (!command->get_group().empty()) names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> OptionNames(CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

}  // namespace

absl::Status Explain(CLI::App& root, const std::vector<std::string>& words,
                     const CLI::ParseError& error) {
  const Place place = Walk(root, words);
  const std::string path = PathOf(*place.app);
  // Every message begins with the program's name.
  const bool top = place.app == &root;
  const std::string where = top ? "" : absl::StrCat(path.substr(root.get_name().size() + 1), ": ");
  std::string text = error.what();
  const std::vector<std::string> commands = CommandNames(*place.app);
  if (!place.unknown.empty()) {
    const bool option = place.unknown[0] == '-';
    const std::string name = place.unknown.substr(0, place.unknown.find('='));
    text = absl::StrCat(where, option ? "no option " : "no command ", name);
    const std::string meant = Nearest(name, option ? OptionNames(place.app) : commands);
    if (!meant.empty()) {
      absl::StrAppend(&text, ": did you mean ", meant, "?");
    } else if (!option) {
      absl::StrAppend(&text, "; there is ", absl::StrJoin(commands, ", "));
    }
  } else if (!commands.empty() && place.value == nullptr) {
    text = absl::StrCat(where, "give a command: ", absl::StrJoin(commands, ", "));
  }
  return absl::InvalidArgumentError(absl::StrCat(text, " (see ", path, " --help)"));
}

}  // namespace sluice::cli
