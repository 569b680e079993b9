// SPDX-License-Identifier: Apache-2.0
#include "client/cli/tree.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace sluice::cli {
namespace {

// Positionals are shown by their names alone: what they are stands beside it.
class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_positional() ? "" : CLI::Formatter::make_option_opts(option);
  }
};

void DeclareServerOptions(CLI::App& root, control::ServerOptions& server) {
  constexpr char kGroup[] = "The server (before or behind a command)";
  root.add_option("--server", server.address, "whose gRPC door: unix:PATH, HOST:PORT, [V6]:PORT")
      ->option_text("ADDR [unix:/run/sluice/grpc.sock, $SLUICE_SERVER]")
      ->envname("SLUICE_SERVER")
      ->group(kGroup);
  root.add_option("--tls-ca", server.tls_ca, "PEM file: who may have signed the server")
      ->option_text("FILE [$SLUICE_TLS_CA]")
      ->envname("SLUICE_TLS_CA")
      ->group(kGroup);
  root.add_option("--tls-cert", server.tls_cert, "PEM file: our certificate")
      ->option_text("FILE [$SLUICE_TLS_CERT]")
      ->envname("SLUICE_TLS_CERT")
      ->group(kGroup);
  root.add_option("--tls-key", server.tls_key, "PEM file: its key")
      ->option_text("FILE [$SLUICE_TLS_KEY]")
      ->envname("SLUICE_TLS_KEY")
      ->group(kGroup);
  root.add_flag("--insecure-tcp", server.insecure_tcp,
                "HOST:PORT without TLS: whoever is on the way reads and changes it all")
      ->group(kGroup);
}

}  // namespace

Tree::Tree() : root_("Sluice: the client's side of a network block device server", "sluice") {
  root_.formatter(std::make_shared<HelpFormatter>());
  root_.set_version_flag("--version", absl::StrCat("sluice ", SLUICE_VERSION));
  root_.require_subcommand(1);
  root_.fallthrough();
  root_.footer(
      "A table is for people, --json for programs. Exit status: 0 all is well, 1 something failed\n"
      "or differs, 2 wrong use, 130 interrupted.");
  DeclareServerOptions(root_, command_.server);
  DeclareData(*this);
  DeclareBench(*this);
  DeclareServer(*this);
  DeclareDisks(*this);
  DeclareVolumes(*this);
  DeclareExports(*this);
  DeclareAttach(*this);
  for (const char* file : {"--tls-ca", "--tls-cert", "--tls-key"}) {
    SetHint(root_.get_option(file), {.files = true});
  }
}

CLI::App& Tree::Add(CLI::App& parent, const char* name, const char* help) {
  return *parent.add_subcommand(name, help)->footer("");  // not the parent's
}

void Tree::Control(CLI::App& app, std::function<int(const control::Link&)> run) {
  const std::string footer = app.get_footer();
  app.footer(absl::StrCat(footer, footer.empty() ? "" : "\n\n", "Whose server: --server ADDR or ",
                          "$SLUICE_SERVER (see sluice --help)."));
  Finish(app, [this, run = std::move(run)] {
    command_.kind = ClientCommand::Kind::kControl;
    command_.control = run;
    return absl::OkStatus();
  });
}

const Hint* Tree::HintOf(const CLI::Option* option) const {
  const auto found = hints_.find(option);
  return found == hints_.end() ? nullptr : &found->second;
}

absl::StatusOr<ClientCommand> Tree::Take() {
  for (const auto& [app, finish] : finishes_) {
    if (!app->parsed()) continue;
    if (absl::Status status = finish(); !status.ok()) return status;
    return std::move(command_);
  }
  return absl::InvalidArgumentError("nothing to do (see --help)");
}

std::vector<CLI::App*> CommandsOf(CLI::App& app) {
  return app.get_subcommands([](CLI::App*) { return true; });
}

std::string PathOf(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* up = app.get_parent(); up != nullptr; up = up->get_parent()) {
    path = absl::StrCat(up->get_name(), " ", path);
  }
  return path;
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

Place Walk(CLI::App& root, const std::vector<std::string>& words) {
  Place place{.app = &root};
  bool only_positionals = false;
  for (const std::string& word : words) {
    if (place.value != nullptr) {
      place.value = nullptr;
    } else if (!only_positionals && word == "--") {
      only_positionals = true;
    } else if (!only_positionals && word.size() > 1 && word[0] == '-') {
      const CLI::Option* option = nullptr;
      const std::string name = word.substr(0, word.find('='));
      for (CLI::App* app = place.app; app != nullptr && option == nullptr;
           app = app->get_parent()) {
        option = app->get_option_no_throw(name);
      }
      if (option == nullptr) {
        if (place.unknown.empty()) place.unknown = word;
      } else if (TakesValue(*option) && name == word) {
        place.value = option;
      }
    } else {
      const auto commands = CommandsOf(*place.app);
      const auto named = std::find_if(commands.begin(), commands.end(),
                                      [&](CLI::App* app) { return app->check_name(word); });
      if (named != commands.end()) {
        place.app = *named;
        place.positionals = 0;
      } else {
        if (!commands.empty() && place.unknown.empty()) place.unknown = word;
        ++place.positionals;
      }
    }
  }
  return place;
}

}  // namespace sluice::cli

namespace sluice {

absl::StatusOr<ClientCommand> ParseClientCommandLine(int argc, const char* const* argv) {
  cli::Tree tree;
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    tree.root().parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const bool asked = tree.root().exit(error, out, err) == 0;
    if (!asked) return cli::Explain(tree.root(), words, error);
    ClientCommand command;
    command.text = out.str();
    return command;
  }
  return tree.Take();
}

}  // namespace sluice
