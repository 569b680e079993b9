// SPDX-License-Identifier: Apache-2.0
// The tree of commands: declared once, then used to parse, to help, and to complete.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/cli.h"
#include "client/control/commands.h"

namespace sluice::cli {

// What may stand where an option or a positional wants a value.
struct Hint {
  std::optional<control::Named> named = {};  // asked of the server
  std::vector<std::string> choices = {};
  bool files = false;
};

class Tree {
 public:
  Tree();
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  CLI::App& root() { return root_; }
  // What the parsed options go into.
  ClientCommand& command() { return command_; }

  // A command below `parent`.
  CLI::App& Add(CLI::App& parent, const char* name, const char* help);
  // `finish`: what is done with the command once its line is parsed.
  void Finish(CLI::App& app, std::function<absl::Status()> finish) {
    finishes_.emplace_back(&app, std::move(finish));
  }
  // A command that calls the server.
  void Control(CLI::App& app, std::function<int(const control::Link&)> run);
  void SetHint(const CLI::Option* option, Hint hint) { hints_[option] = std::move(hint); }
  const Hint* HintOf(const CLI::Option* option) const;

  // After parsing: what is to be done.
  absl::StatusOr<ClientCommand> Take();

 private:
  CLI::App root_;
  ClientCommand command_;
  std::vector<std::pair<CLI::App*, std::function<absl::Status()>>> finishes_;
  std::map<const CLI::Option*, Hint> hints_;
};

// A word's place in the tree: what the words before it have named.
struct Place {
  CLI::App* app = nullptr;             // the deepest command
  const CLI::Option* value = nullptr;  // its value is due
  size_t positionals = 0;              // so many were given to `app`
  std::string unknown = {};            // the first word that is no command and no option
};
Place Walk(CLI::App& root, const std::vector<std::string>& words);
bool TakesValue(const CLI::Option& option);
std::vector<CLI::App*> CommandsOf(CLI::App& app);
// "sluice disk add"
std::string PathOf(const CLI::App& app);

// One line for a line that could not be parsed.
absl::Status Explain(CLI::App& root, const std::vector<std::string>& words,
                     const CLI::ParseError& error);

// What may stand in the place of the last of `words`: a line each, "WORD\tHELP"; ":files" among
// them says that files may.
std::string Candidates(Tree& tree, const std::vector<std::string>& words);
// The shell's side of it. Empty: no such shell.
std::string CompletionScript(const std::string& shell);

// The families of commands.
void DeclareBench(Tree& tree);
void DeclareData(Tree& tree);
void DeclareDisks(Tree& tree);
void DeclareVolumes(Tree& tree);
void DeclareExports(Tree& tree);
void DeclareServer(Tree& tree);
void DeclareAttach(Tree& tree);

// How options are declared. `shape` is what help shows for the value, with the default in brackets.
CLI::Option* AddText(CLI::App& app, const char* name, const char* shape, const char* help,
                     std::function<void(const std::string&)> set);
CLI::Option* AddSize(CLI::App& app, const char* name, const char* shape, const char* help,
                     std::function<void(uint64_t)> set);
CLI::Option* AddNumber(CLI::App& app, const char* name, const char* shape, const char* help,
                       uint64_t least, uint64_t most, std::function<void(uint64_t)> set);
// A positional, named in capitals.
CLI::Option* AddPlace(CLI::App& app, const char* name, const char* help,
                      std::function<void(const std::string&)> set);
std::shared_ptr<bool> AddJson(CLI::App& app);
// --etag and --request-id of a mutating call; `request` has these fields.
template <typename Request>
void AddChange(CLI::App& app, const std::shared_ptr<Request>& request) {
  if constexpr (requires { request->set_etag(std::string()); }) {
    AddText(app, "--etag", "ETAG", "refuse unless it still has this etag (show tells it)",
            [request](const std::string& etag) { request->set_etag(etag); });
  }
  AddText(app, "--request-id", "ID [random]",
          "the same ID again, within ten minutes, is answered alike and done once",
          [request](const std::string& id) { request->set_request_id(id); });
}

absl::Status Wrong(absl::string_view flag, absl::string_view text);
absl::Status TakeTime(absl::string_view flag, absl::string_view text, uint64_t& out_ns);
absl::Status TakeSize(absl::string_view flag, std::string text, uint64_t& out_bytes);

}  // namespace sluice::cli
