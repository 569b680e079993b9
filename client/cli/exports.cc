// SPDX-License-Identifier: Apache-2.0
// `sluice export ...` and `sluice session ...`
#include "client/cli/tree.h"

namespace sluice::cli {
namespace {

using control::Link;
using control::Named;

constexpr char kDescription[] = "told to clients that list exports";
constexpr char kReadOnly[] = "refuse everything that writes";
constexpr char kPriority[] = "class, 0 first to 2 last, for strategies that know it";
constexpr char kWeight[] = "share of the disk under the strategy fair";

void DeclareCreate(Tree& tree, CLI::App& exports) {
  CLI::App& create = tree.Add(exports, "create", "let clients ask for a volume or disk");
  auto request = std::make_shared<v1::CreateExportRequest>();
  v1::Export& spec = *request->mutable_export_();
  AddPlace(create, "NAME", "what clients ask for",
           [&spec](const std::string& name) { spec.set_name(name); });
  tree.SetHint(AddPlace(create, "VOLUME", "the volume or disk behind it",
                        [&spec](const std::string& name) { spec.set_volume(name); }),
               {.named = Named::kTarget});
  create.add_flag_callback(
      "--read-only", [&spec] { spec.set_read_only(true); }, kReadOnly);
  AddText(create, "--description", "TEXT", kDescription,
          [&spec](const std::string& text) { spec.set_description(text); });
  AddNumber(create, "--priority", "N [1]", kPriority, 0, 2,
            [&spec](uint64_t n) { spec.set_priority(static_cast<uint32_t>(n)); });
  AddNumber(create, "--weight", "N [100]", kWeight, 1, 1000,
            [&spec](uint64_t n) { spec.set_weight(static_cast<uint32_t>(n)); });
  CLI::Option* const exclusive = AddText(
      create, "--exclusive", "WHOM [everybody]",
      "whom a writing gRPC session keeps out: everybody else who\n"
      "writes, or sessions only",
      [&spec](const std::string& whom) {
        if (whom != "everybody" && whom != "sessions") {
          throw CLI::ValidationError("--exclusive: write everybody or sessions");
        }
        spec.set_exclusive(whom == "sessions" ? v1::EXCLUSIVE_SESSIONS : v1::EXCLUSIVE_EVERYBODY);
      });
  tree.SetHint(exclusive, {.choices = {"everybody", "sessions"}});
  AddChange(create, request);
  const auto json = AddJson(create);
  create.footer("Examples:\n  sluice export create data fast --description \"the database\"");
  tree.Control(
      create, [request, json](const Link& l) { return control::CreateExport(l, *request, *json); });
}

void DeclareUpdate(Tree& tree, CLI::App& exports) {
  CLI::App& update = tree.Add(exports, "update", "change what is said of one");
  auto request = std::make_shared<v1::UpdateExportRequest>();
  tree.SetHint(AddPlace(update, "NAME", "the export",
                        [request](const std::string& name) { request->set_name(name); }),
               {.named = Named::kExport});
  AddText(update, "--description", "TEXT", kDescription,
          [request](const std::string& text) { request->set_description(text); });
  CLI::Option* const read_only = update.add_flag_callback(
      "--read-only", [request] { request->set_read_only(true); }, kReadOnly);
  update
      .add_flag_callback(
          "--read-write", [request] { request->set_read_only(false); }, "let clients write")
      ->excludes(read_only);
  AddNumber(update, "--priority", "N", kPriority, 0, 2,
            [request](uint64_t n) { request->set_priority(static_cast<uint32_t>(n)); });
  AddNumber(update, "--weight", "N", kWeight, 1, 1000,
            [request](uint64_t n) { request->set_weight(static_cast<uint32_t>(n)); });
  AddChange(update, request);
  const auto json = AddJson(update);
  update.footer(
      "What is left out stays. Nobody may have it open, and the config file's exports are\n"
      "changed there.\n\n"
      "Examples:\n  sluice export update data --read-only --description \"the old database\"");
  update.callback([request] {
    if (request->has_description() || request->has_read_only() || request->has_priority() ||
        request->has_weight()) {
      return;
    }
    throw CLI::ValidationError(
        "say what changes: --description, --read-only, --read-write, --priority or --weight");
  });
  tree.Control(
      update, [request, json](const Link& l) { return control::UpdateExport(l, *request, *json); });
}

void DeclareDelete(Tree& tree, CLI::App& exports) {
  CLI::App& remove = tree.Add(exports, "delete", "no client can ask for it any more");
  remove.alias("rm");
  auto request = std::make_shared<v1::DeleteExportRequest>();
  tree.SetHint(AddPlace(remove, "NAME", "the export",
                        [request](const std::string& name) { request->set_name(name); }),
               {.named = Named::kExport});
  remove.add_flag_callback(
      "--force", [request] { request->set_force(true); }, "cut off whoever has it open");
  AddChange(remove, request);
  remove.footer("The data stays where it is.");
  tree.Control(remove, [request](const Link& l) { return control::DeleteExport(l, *request); });
}

}  // namespace

void DeclareExports(Tree& tree) {
  CLI::App& exports = tree.Add(tree.root(), "export", "what clients can ask for");
  exports.group("The server's parts")->require_subcommand(1);
  CLI::App& list = tree.Add(exports, "list", "all of them");
  list.alias("ls");
  const auto list_json = AddJson(list);
  tree.Control(list, [list_json](const Link& l) { return control::ListExports(l, *list_json); });
  CLI::App& show = tree.Add(exports, "show", "one of them, with all that is known");
  auto name = std::make_shared<std::string>();
  tree.SetHint(AddPlace(show, "NAME", "the export", [name](const std::string& n) { *name = n; }),
               {.named = Named::kExport});
  const auto show_json = AddJson(show);
  tree.Control(
      show, [name, show_json](const Link& l) { return control::ShowExport(l, *name, *show_json); });
  DeclareCreate(tree, exports);
  DeclareUpdate(tree, exports);
  DeclareDelete(tree, exports);

  CLI::App& session = tree.Add(tree.root(), "session", "who uses exports, over either door");
  session.group("The server's parts")->require_subcommand(1);
  CLI::App& users = tree.Add(session, "list", "all of them");
  users.alias("ls");
  auto of = std::make_shared<std::string>();
  tree.SetHint(AddText(users, "--export", "NAME [all]", "only those of one export",
                       [of](const std::string& n) { *of = n; }),
               {.named = Named::kExport});
  const auto users_json = AddJson(users);
  tree.Control(users, [of, users_json](const Link& l) {
    return control::ListSessions(l, *of, *users_json);
  });
  CLI::App& revoke =
      tree.Add(session, "revoke", "fence one: it ends, and nothing of it comes later");
  auto revoked = std::make_shared<v1::RevokeSessionRequest>();
  tree.SetHint(AddPlace(revoke, "HANDLE", "as sluice session list tells it",
                        [revoked](const std::string& h) { revoked->set_handle(h); }),
               {.named = Named::kSession});
  AddChange(revoke, revoked);
  tree.Control(revoke, [revoked](const Link& l) { return control::RevokeSession(l, *revoked); });
}

}  // namespace sluice::cli
