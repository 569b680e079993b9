// SPDX-License-Identifier: Apache-2.0
// The commands on the server as a whole: `sluice top events operation server drain completion`.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/tree.h"
#include "core/units.h"

namespace sluice::cli {
namespace {

using control::Link;
using control::Named;

constexpr char kServerGroup[] = "The server";
constexpr char kWatchGroup[] = "Load and measurement";

void DeclareTop(Tree& tree) {
  CLI::App& top = tree.Add(tree.root(), "top", "what exports and disks are doing, live");
  top.group(kWatchGroup);
  auto options = std::make_shared<control::TopOptions>();
  AddText(top, "--interval", "TIME [1s]", "from table to table, 100ms to 1h",
          [options](const std::string& text) {
            uint64_t ns = 0;
            const absl::Status status = TakeTime("--interval", text, ns);
            if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
            if (ns < 100 * kMillisecond || ns > 3600 * kSecond) {
              throw CLI::ValidationError("--interval: give 100ms to 1h");
            }
            options->interval_ms = static_cast<uint32_t>(ns / kMillisecond);
          });
  top.add_flag_callback(
      "--once", [options] { options->count = 1; }, "one table over one interval, and end");
  AddNumber(top, "--count", "N [no end]", "so many tables, and end", 1, UINT32_MAX,
            [options](uint64_t n) { options->count = n; });
  const auto json = AddJson(top);
  top.footer(
      "IOPS are answers per second. P50 and P99 are latencies from receipt to answer, estimated\n"
      "from counters whose steps are powers of two. QUEUED waits in the disk's strategy. RUNS are\n"
      "what the device was sent, MERGE how many requests were in one of them: 1.00 when nothing\n"
      "was aggregated. ERRORS are those of the interval. q or Ctrl-C ends it, space shows anew.\n"
      "Where the cursor cannot be moved, one table follows the other; with --json one object a\n"
      "line, in which \"total\" counts since the server began.\n\n"
      "Examples:\n  sluice top\n  sluice top --once --json | jq '.disks[].iops'");
  tree.Control(top, [options, json](const Link& l) {
    options->json = *json;
    return control::Top(l, *options);
  });
}

void DeclareEvents(Tree& tree) {
  CLI::App& events = tree.Add(tree.root(), "events", "what has happened, and what happens");
  events.group(kWatchGroup);
  auto options = std::make_shared<control::EventOptions>();
  AddNumber(events, "--since", "REV [all that is kept]", "those after this revision", 1, UINT64_MAX,
            [options](uint64_t revision) { options->since = revision; });
  events.add_flag_callback(
      "--follow,-f", [options] { options->follow = true; },
      "go on until interrupted; without --since, from now on");
  const auto json = AddJson(events);
  events.footer(
      "A line ends with its revision. \"gap\" says that events after the revision asked for are "
      "no\n"
      "longer kept. With --json one object a line.\n\n"
      "Examples:\n  sluice events --follow --json");
  tree.Control(events, [options, json](const Link& l) {
    options->json = *json;
    return control::ShowEvents(l, *options);
  });
}

std::shared_ptr<std::string> AddId(Tree& tree, CLI::App& app) {
  auto id = std::make_shared<std::string>();
  tree.SetHint(AddPlace(app, "ID", "as sluice operation list tells it",
                        [id](const std::string& text) { *id = text; }),
               {.named = Named::kOperation});
  return id;
}

void DeclareOperations(Tree& tree) {
  CLI::App& operation = tree.Add(tree.root(), "operation", "what takes longer than a call");
  operation.group("The server's parts")->require_subcommand(1);
  CLI::App& list = tree.Add(operation, "list", "all that run or ended lately, the newest first");
  list.alias("ls");
  const auto list_json = AddJson(list);
  tree.Control(list, [list_json](const Link& l) { return control::ListOperations(l, *list_json); });

  CLI::App& show = tree.Add(operation, "show", "one of them");
  const auto shown = AddId(tree, show);
  const auto show_json = AddJson(show);
  tree.Control(show, [shown, show_json](const Link& l) {
    return control::ShowOperation(l, *shown, *show_json);
  });

  CLI::App& wait = tree.Add(operation, "wait", "until it has ended; 1 if it failed");
  const auto awaited = AddId(tree, wait);
  auto patience_ms = std::make_shared<uint64_t>(0);
  AddText(wait, "--timeout", "TIME [no end]", "wait no longer than this",
          [patience_ms](const std::string& text) {
            uint64_t ns = 0;
            const absl::Status status = TakeTime("--timeout", text, ns);
            if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
            *patience_ms = std::max<uint64_t>(ns / kMillisecond, 1);
          });
  const auto wait_json = AddJson(wait);
  tree.Control(wait, [awaited, patience_ms, wait_json](const Link& l) {
    return control::WaitOperation(l, *awaited, *patience_ms, *wait_json);
  });

  CLI::App& cancel = tree.Add(operation, "cancel", "ask it to end early");
  const auto cancelled = AddId(tree, cancel);
  const auto cancel_json = AddJson(cancel);
  tree.Control(cancel, [cancelled, cancel_json](const Link& l) {
    return control::CancelOperation(l, *cancelled, *cancel_json);
  });
}

void DeclareDrain(Tree& tree, CLI::App& parent, const char* group) {
  CLI::App& drain =
      tree.Add(parent, "drain", "finish what is in flight, take nothing new, and end the server");
  drain.group(group);
  auto timeout_ms = std::make_shared<uint32_t>(0);
  AddText(drain, "--timeout", "TIME [the config's]", "that requests in flight have to end",
          [timeout_ms](const std::string& text) {
            uint64_t ns = 0;
            const absl::Status status = TakeTime("--timeout", text, ns);
            if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
            if (ns < kMillisecond || ns > 3600 * kSecond) {
              throw CLI::ValidationError("--timeout: give 1ms to 1h");
            }
            *timeout_ms = static_cast<uint32_t>(ns / kMillisecond);
          });
  drain.footer("As SIGTERM to sluiced. sluice disk drain drains one disk.");
  tree.Control(drain, [timeout_ms](const Link& l) { return control::DrainServer(l, *timeout_ms); });
}

void DeclareServerItself(Tree& tree) {
  CLI::App& server = tree.Add(tree.root(), "server", "the process itself");
  server.group(kServerGroup)->require_subcommand(1);
  CLI::App& info = tree.Add(server, "info", "version, age, limits and features");
  const auto json = AddJson(info);
  tree.Control(info, [json](const Link& l) { return control::ShowServer(l, *json); });

  CLI::App& level = tree.Add(server, "log-level", "the least severe that is logged, until it ends");
  auto least = std::make_shared<v1::Severity>(v1::SEVERITY_INFO);
  CLI::Option* const severity =
      AddPlace(level, "LEVEL", "debug, info, warning or error", [least](const std::string& text) {
        const std::pair<const char*, v1::Severity> kLevels[] = {{"debug", v1::SEVERITY_DEBUG},
                                                                {"info", v1::SEVERITY_INFO},
                                                                {"warning", v1::SEVERITY_WARNING},
                                                                {"error", v1::SEVERITY_ERROR}};
        for (const auto& [name, value] : kLevels) {
          if (text == name) {
            *least = value;
            return;
          }
        }
        throw CLI::ValidationError("LEVEL: write debug, info, warning or error");
      });
  tree.SetHint(severity, {.choices = {"debug", "info", "warning", "error"}});
  tree.Control(level, [least](const Link& l) { return control::SetLogLevel(l, *least); });
  DeclareDrain(tree, server, "Subcommands");
}

void DeclareCompletion(Tree& tree) {
  CLI::App& completion = tree.Add(tree.root(), "completion", "the shell's part of completion");
  completion.group(kServerGroup);
  auto shell = std::make_shared<std::string>();
  tree.SetHint(AddPlace(completion, "SHELL", "bash, zsh or fish",
                        [shell](const std::string& text) { *shell = text; }),
               {.choices = {"bash", "zsh", "fish"}});
  completion.footer(
      "Installed with the package. By hand, in bash:\n\n"
      "Examples:\n  source <(sluice completion bash)");
  tree.Finish(completion, [&tree, shell] {
    tree.command().text = CompletionScript(*shell);
    return tree.command().text.empty() ? Wrong("SHELL", "write bash, zsh or fish")
                                       : absl::OkStatus();
  });

  // What those scripts call.
  CLI::App& complete = tree.Add(tree.root(), "complete", "");
  complete.group("");
  auto words = std::make_shared<std::vector<std::string>>();
  complete.add_option("WORD", *words, "");
  tree.Finish(complete, [&tree, words] {
    tree.command().text = Candidates(tree, *words);
    return absl::OkStatus();
  });
}

}  // namespace

void DeclareServer(Tree& tree) {
  DeclareTop(tree);
  DeclareEvents(tree);
  DeclareOperations(tree);
  DeclareServerItself(tree);
  DeclareDrain(tree, tree.root(), kServerGroup);
  DeclareCompletion(tree);
}

}  // namespace sluice::cli
