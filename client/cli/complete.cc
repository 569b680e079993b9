// SPDX-License-Identifier: Apache-2.0
// What the shell completes: the words of the tree, and names asked of the server.
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/cli/tree.h"

namespace sluice::cli {
namespace {

constexpr char kFiles[] = ":files\n";

// The scripts give the words so far, the last one as far as it is written, to `sluice complete`.
constexpr char kBash[] = R"sh(# bash completion for sluice
_sluice() {
  local word rest
  COMPREPLY=()
  while IFS=$'\t' read -r word rest; do
    if [[ $word == :files ]]; then
      compopt -o default 2>/dev/null
    elif [[ $word == "${COMP_WORDS[COMP_CWORD]}"* ]]; then
      printf -v word %q "$word"
      COMPREPLY+=("$word")
      [[ $word == *: ]] && compopt -o nospace 2>/dev/null
    fi
  done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _sluice sluice
)sh";
constexpr char kZsh[] = R"sh(#compdef sluice
# zsh completion for sluice
_sluice() {
  local line files program=${(Q)words[1]}
  local -a found
  for line in ${(f)"$($program complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)"}; do
    if [[ $line == :files ]]; then
      files=1
    else
      found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    fi
  done
  (( files )) && _files
  (( $#found == 0 )) || _describe -t words sluice found
}
if [[ $funcstack[1] == _sluice ]]; then _sluice "$@"; else compdef _sluice sluice; fi
)sh";
constexpr char kFish[] = R"sh(# fish completion for sluice
function __sluice_complete
  set -l words (commandline -opc) (commandline -ct)
  for line in (command $words[1] complete -- $words[2..-1] 2>/dev/null)
    if test "$line" = :files
      __fish_complete_path (commandline -ct)
    else
      echo $line
    end
  end
end
complete -c sluice -f -a '(__sluice_complete)'
)sh";

std::string LineOf(const std::string& word, std::string help) {
  help = help.substr(0, help.find('\n'));
  return absl::StrCat(word, "\t", absl::StrReplaceAll(help, {{"\t", " "}}), "\n");
}

std::string CommandLines(CLI::App& app) {
  std::string lines;
  for (CLI::App* command : CommandsOf(app)) {
    if (command->get_group().empty()) continue;
    lines += LineOf(command->get_name(), command->get_description());
  }
  return lines;
}

// Those of the command, and of the commands it stands under but for their own help.
std::string OptionLines(CLI::App& app) {
  std::string lines;
  for (CLI::App* up = &app; up != nullptr; up = up->get_parent()) {
    for (const CLI::Option* option : up->get_options()) {
      if (up != &app && (option == up->get_help_ptr() || option->check_lname("version"))) continue;
      for (const std::string& name : option->get_lnames()) {
        lines += LineOf("--" + name, option->get_description());
      }
    }
  }
  return lines;
}

const CLI::Option* PositionalAt(const CLI::App& app, size_t index) {
  const CLI::Option* last = nullptr;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    last = option;
    if (index-- == 0) return option;
  }
  return last != nullptr && last->get_items_expected_max() > 1 ? last : nullptr;
}

// The value of --server and its like among the words, else of the environment.
std::string ValueOf(const std::vector<std::string>& words, const std::string& flag,
                    const char* variable) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == flag && i + 1 < words.size()) return words[i + 1];
    if (absl::StartsWith(words[i], flag + "=")) return words[i].substr(flag.size() + 1);
  }
  const char* const value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

std::vector<std::string> Ask(const std::vector<std::string>& words, control::Named named) {
  control::ServerOptions options;
  if (const std::string a = ValueOf(words, "--server", "SLUICE_SERVER"); !a.empty()) {
    options.address = a;
  }
  options.tls_ca = ValueOf(words, "--tls-ca", "SLUICE_TLS_CA");
  options.tls_cert = ValueOf(words, "--tls-cert", "SLUICE_TLS_CERT");
  options.tls_key = ValueOf(words, "--tls-key", "SLUICE_TLS_KEY");
  for (const std::string& word : words) options.insecure_tcp |= word == "--insecure-tcp";
  const auto link = control::Link::Open(options);
  return link.ok() ? control::NamesOf(*link, named) : std::vector<std::string>();
}

std::string ValueLines(const Hint* hint, const std::vector<std::string>& words) {
  std::string lines;
  if (hint == nullptr) return lines;
  for (const std::string& choice : hint->choices) lines += LineOf(choice, "");
  if (hint->named) {
    for (const std::string& name : Ask(words, *hint->named)) lines += LineOf(name, "");
  }
  if (hint->files) lines += kFiles;
  return lines;
}

}  // namespace

std::string Candidates(Tree& tree, const std::vector<std::string>& words) {
  if (words.empty()) return CommandLines(tree.root());
  const std::vector<std::string> before(words.begin(), words.end() - 1);
  const Place place = Walk(tree.root(), before);
  if (place.value != nullptr) return ValueLines(tree.HintOf(place.value), before);
  if (absl::StartsWith(words.back(), "-")) return OptionLines(*place.app);
  if (!CommandsOf(*place.app).empty()) return CommandLines(*place.app);
  const CLI::Option* const next = PositionalAt(*place.app, place.positionals);
  return next == nullptr ? OptionLines(*place.app) : ValueLines(tree.HintOf(next), before);
}

std::string CompletionScript(const std::string& shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return "";
}

}  // namespace sluice::cli
